import { type BinaryOperator, isView, type StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import { stepKernel, type X64Context } from './context.js'
import { at, r9, rcx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitRows, emitStore, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** float32 [rows, columns] each, strides in bytes; that of `right` is 0 where one row of it meets all. */
export const combineParameters = new Parameters(['left', 'leftStride', 'rows', 'output', 'outputStride', 'right', 'rightStride'])

/** What the code of a combination depends on. */
export interface CombineShape {
  readonly vectors: VectorMachine['name']
  readonly operator: BinaryOperator
  readonly columns: number
  /** Whether each row of `right` has one number for all columns. */
  readonly repeated: boolean
  /** Whether the last vector of a row may be written whole. */
  readonly overrun: boolean
}

const mnemonics = { add: 'vaddps', subtract: 'vsubps', multiply: 'vmulps', divide: 'vdivps', maximum: 'vmaxps' } as const

/** Code of `output = left (operator) right`. Called with `combineParameters`. */
export function combine(machine: VectorMachine, { operator, columns, repeated, overrun }: CombineShape): Uint8Array {
  const p = combineParameters
  const constants = new VectorConstants(machine)
  const pointers = [rowPointer(p, 'left', rsi), rowPointer(p, 'output', rcx), rowPointer(p, 'right', r9)]
  const together = 4
  const values = machine.registers.slice(0, together)
  const [same, temporary] = machine.registers.slice(together)
  return kernel(
    0,
    (a) =>
      emitRows(a, p.at('rows'), pointers, () => {
        if (repeated) a.vbroadcastss(same, at(r9))
        emitColumns(a, machine, columns, together, (vectors) => {
          for (const { place, of } of vectors) a.vmovups(values[place], of(rsi))
          for (const { place, of } of vectors) a[mnemonics[operator]](values[place], values[place], repeated ? same : of(r9))
          for (const { place, of, part } of vectors) emitStore(a, of(rcx), values[place], overrun ? undefined : part, temporary, constants)
        })
      }),
    (a) => constants.place(a),
  )
}

/** The kernel of a combination. */
export async function combineKernels(
  { operator, left, right, output }: StepOf<'combine'>,
  { vectors }: X64Context,
): Promise<StepKernel<Uint8Array>[]> {
  const constant = isView(right) ? undefined : ((await right.read()) as Float32Array)
  const columns = isView(right) ? right.columns : right.size
  const shape: CombineShape = {
    vectors: vectors.name,
    operator,
    columns: output.columns,
    repeated: columns === 1,
    overrun: mayOverrun(output, vectors.lanes),
  }
  return [
    stepKernel({
      name: 'combine',
      shape,
      code: () => combine(vectors, shape),
      parameters: combineParameters,
      words: {
        ...rowWords('left', left),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
        right: isView(right) ? { address: right } : { constant: constant! },
        rightStride: isView(right) ? { stride: right } : 0,
      },
    }),
  ]
}
