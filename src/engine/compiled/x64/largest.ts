import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { as, at, eax, k, Label, type Memory, r8q, rax, rcx, rsi, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitReduce, emitRows, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** Bits of float32. */
const negativeInfinity = 0xff800000 | 0

/** `input`: float32 [rows, columns]; `output`: float32 [rows], strides in bytes. */
export const largestParameters = new Parameters(['input', 'inputStride', 'rows', 'output', 'outputStride'])

/** Code of the place of the largest number of each row: the number first, then where it is. Called with `largestParameters`. */
export function largest(machine: VectorMachine, columns: number): Uint8Array {
  const p = largestParameters
  const constants = new VectorConstants(machine)
  const pointers = [rowPointer(p, 'input', rsi), rowPointer(p, 'output', rcx)]
  return kernel(
    0,
    (a) =>
      emitRows(a, p.at('rows'), pointers, () => {
        const [most, temporary] = machine.registers
        emitLargest(a, machine, columns, constants)
        emitPlace(a, machine, columns, most)
        a.vmovd(as('xmm', temporary), eax)
        a.vcvtdq2ps(as('xmm', temporary), as('xmm', temporary))
        a.vmovss(at(rcx), as('xmm', temporary))
      }),
    (a) => constants.place(a),
  )
}

/** Sets every lane of the first register to the largest number of the row at rsi. */
function emitLargest(a: Assembler, machine: VectorMachine, columns: number, constants: VectorConstants): void {
  const together = 4
  const [most, ...others] = machine.registers.slice(0, together)
  const value = machine.registers[together]
  for (const register of [most, ...others]) a.vmovups(register, constants.float(Number.NEGATIVE_INFINITY))
  emitColumns(a, machine, columns, together, (vectors) => {
    for (const { place, of, part } of vectors) {
      const register = [most, ...others][place]
      if (part === undefined) a.vmaxps(register, register, of(rsi))
      else {
        a.vmovups(value, of(rsi))
        a.vandps(value, value, constants.firstLanes(part))
        a.vorps(
          value,
          value,
          constants.words((lane) => (lane < part ? 0 : negativeInfinity)),
        )
        a.vmaxps(register, register, value)
      }
    }
  })
  for (const other of others) a.vmaxps(most, most, other)
  emitReduce(a, most, value, (to, left, right) => a.vmaxps(to, left, right))
  a.vbroadcastss(most, as('xmm', most))
}

/** Sets rax to the first column of the row at rsi that equals what is in every lane of a register; to 0 where none does. */
function emitPlace(a: Assembler, { lanes, registers }: VectorMachine, columns: number, most: Vector): void {
  const [found, done] = [new Label(), new Label()]
  const whole = columns - (columns % lanes)
  const emitEqual = (values: Memory) => {
    const equal = 0
    if (most.kind === 'zmm') {
      a.vcmpps(k[1], most, values, equal)
      a.kmovw(eax, k[1])
    } else {
      a.vcmpps(registers[1], most, values, equal)
      a.vmovmskps(eax, registers[1])
    }
  }
  a.xor(r8q, r8q)
  if (whole) {
    const next = a.here()
    emitEqual(at(rsi, 0, r8q, 4))
    a.test(rax, rax)
    a.jne(found)
    a.add(r8q, lanes)
    a.cmp(r8q, whole)
    a.jl(next)
  }
  if (columns > whole) {
    emitEqual(at(rsi, 4 * whole))
    a.and(rax, 2 ** (columns - whole) - 1)
    a.jne(found)
  }
  a.xor(rax, rax)
  a.jmp(done)
  a.bind(found)
  a.tzcnt(rax, rax)
  a.add(rax, r8q)
  a.bind(done)
}

/** The kernel of places of largest numbers. */
export function largestKernels({ input, output }: StepOf<'largest'>, { vectors }: X64Context): StepKernel<Uint8Array>[] {
  return [
    stepKernel({
      name: 'largest',
      shape: { vectors: vectors.name, columns: input.columns },
      code: () => largest(vectors, input.columns),
      parameters: largestParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
      },
    }),
  ]
}
