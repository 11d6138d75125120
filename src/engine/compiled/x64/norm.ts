import { badInput } from '../../../base/errors.js'
import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { as, type General, Label, r9, r10, r11, r12, r13, r14, r15, rbx, rcx, rsi, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { type QuantizeShape, quantizeCall, quantizeLocals, quantizeRows, type RowCodes } from './quantize.js'
import { emitColumns, emitReduce, emitRows, emitStore, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * `input`, `output`: float32 [rows, groups * columns], strides in bytes; `weight`, `bias`: float32 [columns]; `codes`: of the output, and what
 * follows as `quantizeParameters` has it.
 */
export const normParameters = new Parameters([
  'input',
  'inputStride',
  'rows',
  'output',
  'outputStride',
  'weight',
  'bias',
  'codes',
  'codesStride',
  'factors',
  'parameters',
  'parametersStride',
])

/** What the code of a norm depends on. */
export interface NormShape {
  readonly vectors: VectorMachine['name']
  /** Columns of a group. */
  readonly columns: number
  readonly groups: number
  readonly centered: boolean
  readonly bias: boolean
  readonly epsilon: number
  /** Whether the last vector of a row may be written whole. */
  readonly overrun: boolean
  /** How codes of the output are made, of one group only. */
  readonly codes?: QuantizeShape
}

/** Vectors that are summed up side by side. */
const together = 4

/**
 * Code of LayerNorm or RMSNorm: mean, then mean square of what differs from it, then the result; three passes over a row that stays in the
 * cache nearest to the processor. Called with `normParameters`.
 */
export function norm(machine: VectorMachine, shape: NormShape): Uint8Array {
  const p = normParameters
  const constants = new VectorConstants(machine)
  const [groupIn, groupOut] = [r9, r10]
  const { codes } = shape
  const body = (a: Assembler) => {
    const registers = { input: rcx, output: r13, factors: r14, parameters: r15 }
    const rowCodes = codes && quantizeRows(a, machine, codes, registers, constants)
    if (codes?.factors) a.mov(registers.factors, p.at('factors'))
    a.mov(r11, p.at('weight'))
    a.mov(r12, p.at('bias'))
    const pointers = [
      rowPointer(p, 'input', rsi),
      rowPointer(p, 'output', rcx),
      ...(codes ? [rowPointer(p, 'codes', registers.output)] : []),
      ...(codes && !codes.static ? [rowPointer(p, 'parameters', registers.parameters)] : []),
    ]
    emitRows(a, p.at('rows'), pointers, () => {
      if (shape.groups === 1) {
        emitGroup(a, machine, shape, rsi, rcx, constants, rowCodes?.emitVectors)
        if (!rowCodes?.emitVectors) rowCodes?.emitRow()
        return
      }
      const next = new Label()
      a.mov(groupIn, rsi)
      a.mov(groupOut, rcx)
      a.mov(rbx, shape.groups)
      a.bind(next)
      emitGroup(a, machine, shape, groupIn, groupOut, constants)
      a.add(groupIn, 4 * shape.columns)
      a.add(groupOut, 4 * shape.columns)
      a.dec(rbx)
      a.jne(next)
    })
  }
  return kernel(codes ? quantizeLocals : 0, body, (a) => constants.place(a))
}

function emitGroup(
  a: Assembler,
  machine: VectorMachine,
  { columns, groups, centered, bias, epsilon, overrun }: NormShape,
  input: General,
  output: General,
  constants: VectorConstants,
  afterVectors: RowCodes['emitVectors'] = () => {},
): void {
  const sums = machine.registers.slice(0, together)
  const values = machine.registers.slice(together, 2 * together)
  const [mean, factor, temporary] = machine.registers.slice(2 * together)
  /** Sums up over all columns, and divides by their number: the result is in every lane of the first sum. */
  const emitMean = (accumulate: (sum: Vector, value: Vector, part: number | undefined) => void) => {
    for (const sum of sums) a.vxorps(sum, sum, sum)
    emitColumns(a, machine, columns, together, (vectors) => {
      for (const { place, of } of vectors) a.vmovups(values[place], of(input))
      for (const { place, part } of vectors) accumulate(sums[place], values[place], part)
    })
    a.vaddps(sums[0], sums[0], sums[1])
    a.vaddps(sums[2], sums[2], sums[3])
    a.vaddps(sums[0], sums[0], sums[2])
    emitReduce(a, sums[0], temporary, (to, left, right) => a.vaddps(to, left, right))
    a.vbroadcastss(sums[0], as('xmm', sums[0]))
    a.vmulps(sums[0], sums[0], constants.float(1 / columns))
  }
  if (centered) {
    emitMean((sum, value, part) => {
      if (part !== undefined) a.vandps(value, value, constants.firstLanes(part))
      a.vaddps(sum, sum, value)
    })
    a.vmovaps(mean, sums[0])
  }
  emitMean((sum, value, part) => {
    if (centered) a.vsubps(value, value, mean)
    if (part !== undefined) a.vandps(value, value, constants.firstLanes(part))
    a.vfmadd231ps(sum, value, value)
  })
  a.vaddps(factor, sums[0], constants.float(epsilon))
  a.vsqrtps(factor, factor)
  a.vmovups(temporary, constants.float(1))
  a.vdivps(factor, temporary, factor)
  emitColumns(a, machine, columns, together, (vectors) => {
    for (const { place, of } of vectors) {
      const value = values[place]
      a.vmovups(value, of(input))
      if (centered) a.vsubps(value, value, mean)
      a.vmulps(value, value, factor)
      if (bias) {
        a.vmovups(sums[place], of(r11))
        a.vfmadd213ps(value, sums[place], of(r12))
      } else a.vmulps(value, value, of(r11))
    }
    for (const { place, part, of } of vectors)
      emitStore(a, of(output), values[place], overrun && groups === 1 ? undefined : part, temporary, constants)
    afterVectors(vectors, values)
  })
}

/** The kernel of a norm. */
export async function normKernels(step: StepOf<'norm'>, context: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const { vectors } = context
  const { input, centered, epsilon, output, codes } = step
  const [weight, bias] = [await step.weight.read(), step.bias && (await step.bias.read())]
  const columns = weight.length
  if (input.columns % columns) throw badInput(`A norm of ${columns} columns does not divide ${input.columns}`, { where: step.name })
  const quantization = codes && (await quantizeCall(codes.quantizer, codes.output, context))
  const shape: NormShape = {
    vectors: vectors.name,
    columns,
    groups: input.columns / columns,
    centered,
    bias: bias !== undefined,
    epsilon,
    overrun: mayOverrun(output, vectors.lanes),
    codes: quantization?.shape,
  }
  return [
    stepKernel({
      name: 'norm',
      shape,
      code: () => norm(vectors, shape),
      parameters: normParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
        weight: { constant: weight as Float32Array },
        bias: bias ? { constant: bias as Float32Array } : 0,
        ...rowWords('codes', codes?.output),
        ...(quantization?.words ?? { factors: 0, parameters: 0, parametersStride: 0 }),
      },
    }),
  ]
}
