import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import { smallestScale } from '../reference/quantize.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { as, at, eax, k, Label, r9, r10, rcx, rsi, rsp, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { type ColumnVector, emitColumns, emitReduce, emitRows, mayOverrun } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * `input`: float32 [rows, columns]; `output`: uint8 like it, strides in bytes; `factors`: float32 [columns], what a column is multiplied with (divided by the scale where that is static);
 * `parameters`: two float32 for each row: scale and minus the zero point.
 */
export const quantizeParameters = new Parameters([
  'input',
  'inputStride',
  'rows',
  'output',
  'outputStride',
  'factors',
  'parameters',
  'parametersStride',
])

/** What the code of a quantization depends on. */
export interface QuantizeShape {
  readonly vectors: VectorMachine['name']
  readonly columns: number
  readonly highest: 127 | 255
  readonly factors: boolean
  /** Of a whole buffer; where undefined, scale and zero point of each row are found. */
  readonly static?: { readonly inverseScale: number; readonly zeroPoint: number }
  /** Whether the last codes of a row may be written together with others behind them. */
  readonly overrun: boolean
}

/** Vectors that are packed together. */
const together = 4

/** Code of quantization to uint8, one multiplication and one rounding each. NaN becomes 0. Called with `quantizeParameters`. */
export function quantize(machine: VectorMachine, shape: QuantizeShape): Uint8Array {
  const p = quantizeParameters
  const constants = new VectorConstants(machine)
  const pointers = [
    { register: rsi, address: p.at('input'), stride: p.at('inputStride') },
    { register: rcx, address: p.at('output'), stride: p.at('outputStride') },
    ...(shape.static ? [] : [{ register: r10, address: p.at('parameters'), stride: p.at('parametersStride') }]),
  ]
  const body = (a: Assembler) => {
    a.mov(r9, p.at('factors'))
    const ranges = rangeRegisters(machine)
    if (shape.static) emitStaticRange(a, shape.highest, shape.static, ranges, constants)
    emitRows(a, p.at('rows'), pointers, () => {
      if (!shape.static) emitRowRange(a, machine, shape, ranges, constants)
      emitCodes(a, machine, shape, ranges, constants)
    })
  }
  return kernel(64, body, (a) => constants.place(a))
}

/** What numbers are multiplied with, the lowest and highest code less the zero point, and the zero point, an integer. */
interface Range {
  readonly inverse: Vector
  readonly low: Vector
  readonly high: Vector
  readonly zeroPoint: Vector
}

function rangeRegisters({ registers }: VectorMachine): Range {
  const [inverse, low, high, zeroPoint] = registers.slice(12)
  return { inverse, low, high, zeroPoint }
}

function emitStaticRange(
  a: Assembler,
  highest: number,
  { inverseScale, zeroPoint }: NonNullable<QuantizeShape['static']>,
  range: Range,
  constants: VectorConstants,
): void {
  a.vmovups(range.inverse, constants.float(inverseScale))
  a.vmovups(range.low, constants.float(-zeroPoint))
  a.vmovups(range.high, constants.float(highest - zeroPoint))
  a.vmovups(range.zeroPoint, constants.word(zeroPoint))
}

/** Finds the range of a row, 0 included, and writes its scale and minus its zero point. */
function emitRowRange(
  a: Assembler,
  machine: VectorMachine,
  { columns, factors, highest }: QuantizeShape,
  range: Range,
  constants: VectorConstants,
): void {
  const [values, lows, highs] = [0, 1, 2].map((i) => machine.registers.slice(i * together, (i + 1) * together))
  for (const register of [...lows, ...highs]) a.vxorps(register, register, register)
  emitColumns(a, machine, columns, together, (vectors) => {
    for (const { place, of, part } of vectors) {
      const value = values[place]
      a.vmovups(value, of(rsi))
      if (factors) a.vmulps(value, value, of(r9))
      if (part !== undefined) a.vandps(value, value, constants.firstLanes(part))
      a.vminps(lows[place], lows[place], value)
      a.vmaxps(highs[place], highs[place], value)
    }
  })
  for (const [registers, combine] of [
    [lows, (to: Vector, left: Vector, right: Vector) => a.vminps(to, left, right)],
    [highs, (to: Vector, left: Vector, right: Vector) => a.vmaxps(to, left, right)],
  ] as const) {
    for (const other of registers.slice(1)) combine(registers[0], registers[0], other)
    emitReduce(a, registers[0], values[0], combine)
  }
  const [low, width, one, scale] = [lows[0], highs[0], values[0], values[1]].map((register) => as('xmm', register))
  const wide = new Label()
  a.vsubss(scale, width, low)
  a.vmovss(one, constants.float(highest))
  a.vdivss(scale, scale, one)
  a.vmovss(one, constants.float(1))
  a.vcomiss(scale, constants.float(smallestScale))
  a.jae(wide)
  a.vmovaps(scale, one)
  a.bind(wide)
  a.vdivss(one, one, scale)
  a.vbroadcastss(range.inverse, one)
  a.vmulss(low, low, one)
  a.vcvtps2dq(low, low)
  a.vcvtdq2ps(low, low)
  a.vmovss(at(r10), scale)
  a.vmovss(at(r10, 4), low)
  a.vbroadcastss(range.low, low)
  a.vaddps(range.high, range.low, constants.float(highest))
  a.vcvtps2dq(range.zeroPoint, range.low)
  a.vxorps(values[2], values[2], values[2])
  a.vpsubd(range.zeroPoint, values[2], range.zeroPoint)
}

/** Emits the codes of a row, 32 or 64 at a time. */
function emitCodes(a: Assembler, machine: VectorMachine, shape: QuantizeShape, range: Range, constants: VectorConstants): void {
  const values = machine.registers.slice(0, together)
  const order = machine.registers[together]
  if (machine.name === 'avx2')
    a.vmovups(
      order,
      constants.words((lane) => [0, 4, 1, 5, 2, 6, 3, 7][lane]),
    )
  emitColumns(a, machine, shape.columns, together, (vectors) => {
    for (const { place, of } of vectors) {
      const value = values[place]
      a.vmovups(value, of(rsi))
      if (shape.factors) a.vmulps(value, value, of(r9))
      if (!shape.static || !shape.factors) a.vmulps(value, value, range.inverse)
      a.vmaxps(value, value, range.low)
      a.vminps(value, value, range.high)
      a.vcvtps2dq(value, value)
      a.vpaddd(value, value, range.zeroPoint)
    }
    if (machine.name === 'avx2') emitPacked(a, shape, vectors, values, order)
    else emitNarrowed(a, vectors, values)
  })
}

/** Stores up to 32 codes out of four vectors of 8. */
function emitPacked(
  a: Assembler,
  { overrun }: QuantizeShape,
  vectors: readonly ColumnVector[],
  [first, second, third, fourth]: readonly Vector[],
  order: Vector,
): void {
  a.vpackssdw(first, first, second)
  a.vpackssdw(third, third, fourth)
  a.vpackuswb(first, first, third)
  a.vpermd(as('ymm', first), as('ymm', order), as('ymm', first))
  const to = vectors[0].of(rcx, 1)
  const count = 8 * (vectors.length - 1) + (vectors[vectors.length - 1].part ?? 8)
  if (count === 32 || overrun) {
    a.vmovups(to, first)
    return
  }
  a.vmovups(at(rsp), first)
  for (let i = 0; i < count; i++) {
    a.movzx(eax, at(rsp, i))
    a.mov(to.plus(i), as('r8', eax))
  }
}

/** Stores each vector's codes; needs AVX512. */
function emitNarrowed(a: Assembler, vectors: readonly ColumnVector[], values: readonly Vector[]): void {
  for (const { place, part, of } of vectors) {
    if (part !== undefined) {
      a.mov(eax, 2 ** part - 1)
      a.kmovw(k[1], eax)
    }
    a.vpmovdb(part === undefined ? of(rcx, 1) : of(rcx, 1).masked(k[1]), values[place])
  }
}

/** The kernel of a quantization. */
export async function quantizeKernels(step: StepOf<'quantize'>, { vectors }: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const { input, quantization, highest, output } = step
  const factors = step.factors && ((await step.factors.read()) as Float32Array)
  const isStatic = quantization.kind === 'static'
  const shape: QuantizeShape = {
    vectors: vectors.name,
    columns: input.columns,
    highest,
    factors: factors !== undefined,
    ...(isStatic && { static: { inverseScale: 1 / quantization.scale, zeroPoint: quantization.zeroPoint } }),
    overrun: mayOverrun(output, 4 * vectors.lanes),
  }
  const multipliers = isStatic ? factors?.map((factor) => factor / quantization.scale) : factors
  return [
    stepKernel({
      name: 'quantize',
      shape,
      code: () => quantize(vectors, shape),
      parameters: quantizeParameters,
      words: {
        input: { address: input },
        inputStride: { stride: input },
        rows: { rows: output.buffer.per },
        output: { address: output },
        outputStride: { stride: output },
        factors: multipliers ? { constant: multipliers } : 0,
        parameters: isStatic ? 0 : { address: quantization.parameters },
        parametersStride: isStatic ? 0 : { stride: quantization.parameters },
      },
    }),
  ]
}
