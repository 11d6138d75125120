import type { ActivationFunction, StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import { stepKernel, type X64Context } from './context.js'
import { emitFunctions } from './functions.js'
import { r9, rcx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitRows, emitStore, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** float32 [rows, columns] each, strides in bytes; `gate` only where the code multiplies with it. */
export const activationParameters = new Parameters(['input', 'inputStride', 'rows', 'output', 'outputStride', 'gate', 'gateStride'])

/** What the code of an activation depends on. */
export interface ActivationShape {
  readonly vectors: VectorMachine['name']
  readonly function: ActivationFunction
  readonly columns: number
  readonly gate: boolean
  /** Whether the last vector of a row may be written whole. */
  readonly overrun: boolean
}

/** Vectors side by side; each takes four registers. */
const together = 3

/** Code of `output = function(input) * gate`. Called with `activationParameters`. */
export function activation(machine: VectorMachine, { function: name, columns, gate, overrun }: ActivationShape): Uint8Array {
  const p = activationParameters
  const constants = new VectorConstants(machine)
  const shared = machine.registers[4 * together]
  const pointers = [rowPointer(p, 'input', rsi), rowPointer(p, 'output', rcx), ...(gate ? [rowPointer(p, 'gate', r9)] : [])]
  return kernel(
    0,
    (a) =>
      emitRows(a, p.at('rows'), pointers, () =>
        emitColumns(a, machine, columns, together, (vectors) => {
          const used = vectors.map(({ place }) => {
            const [x, ...temporaries] = machine.registers.slice(4 * place, 4 * place + 4)
            return { x, temporaries }
          })
          for (const { place, of } of vectors) a.vmovups(used[place].x, of(rsi))
          emitFunctions[name](a, used, shared, constants)
          for (const { place, part, of } of vectors) {
            const { x, temporaries } = used[place]
            if (gate) a.vmulps(x, x, of(r9))
            emitStore(a, of(rcx), x, overrun ? undefined : part, temporaries[0], constants)
          }
        }),
      ),
    (a) => constants.place(a),
  )
}

/** The kernel of an activation. */
export function activationKernels(
  { function: name, input, gate, output }: Omit<StepOf<'activation'>, 'kind' | 'name'>,
  { vectors }: X64Context,
): StepKernel<Uint8Array>[] {
  const shape: ActivationShape = {
    vectors: vectors.name,
    function: name,
    columns: output.columns,
    gate: gate !== undefined,
    overrun: mayOverrun(output, vectors.lanes),
  }
  return [
    stepKernel({
      name: 'activation',
      shape,
      code: () => activation(vectors, shape),
      parameters: activationParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
        ...rowWords('gate', gate),
      },
    }),
  ]
}
