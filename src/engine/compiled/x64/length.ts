import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import { stepKernel, type X64Context } from './context.js'
import { as, at, rcx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitReduce, emitRows, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** `input`: float32 [rows, columns]; `output`: float32 [rows], strides in bytes. */
export const lengthParameters = new Parameters(['input', 'inputStride', 'rows', 'output', 'outputStride'])

/** Code of the Euclidean length of each row. Called with `lengthParameters`. */
export function length(machine: VectorMachine, columns: number): Uint8Array {
  const p = lengthParameters
  const constants = new VectorConstants(machine)
  const pointers = [rowPointer(p, 'input', rsi), rowPointer(p, 'output', rcx)]
  const together = 4
  const sums = machine.registers.slice(0, together)
  const values = machine.registers.slice(together, 2 * together)
  return kernel(
    0,
    (a) =>
      emitRows(a, p.at('rows'), pointers, () => {
        for (const sum of sums) a.vxorps(sum, sum, sum)
        emitColumns(a, machine, columns, together, (vectors) => {
          for (const { place, of, part } of vectors) {
            a.vmovups(values[place], of(rsi))
            if (part !== undefined) a.vandps(values[place], values[place], constants.firstLanes(part))
            a.vfmadd231ps(sums[place], values[place], values[place])
          }
        })
        const [sum, ...others] = sums
        for (const other of others) a.vaddps(sum, sum, other)
        emitReduce(a, sum, values[0], (to, left, right) => a.vaddps(to, left, right))
        const scalar = as('xmm', sum)
        a.vsqrtss(scalar, scalar, scalar)
        a.vmovss(at(rcx), scalar)
      }),
    (a) => constants.place(a),
  )
}

/** The kernel of lengths. */
export function lengthKernels({ input, output }: StepOf<'length'>, { vectors }: X64Context): StepKernel<Uint8Array>[] {
  return [
    stepKernel({
      name: 'length',
      shape: { vectors: vectors.name, columns: input.columns },
      code: () => length(vectors, input.columns),
      parameters: lengthParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
      },
    }),
  ]
}
