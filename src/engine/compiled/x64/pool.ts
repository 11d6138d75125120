import type { StepOf } from '../plan/steps.js'
import { type StepKernel, sequenceWords } from '../program.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { at, Label, type Memory, r9, r11, rax, rbx, rcx, rsi, xmm } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitRows, emitStore, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** Bytes of a sequence in the table of sequences. */
export const sequenceBytes = 8 * sequenceWords.length

/** A word of the sequence that r9 points to. */
export function sequenceWord(word: (typeof sequenceWords)[number]): Memory {
  return at(r9, 8 * sequenceWords.indexOf(word))
}

/**
 * `input`: float32, a row for each token; `output`: float32, a row for each of `rows` sequences, strides in bytes; `sequences`: their table,
 * entries `sequenceStride` apart.
 */
export const poolParameters = new Parameters(['input', 'inputStride', 'rows', 'output', 'outputStride', 'sequences', 'sequenceStride'])

/** What the code of pooling depends on. */
export interface PoolShape {
  readonly vectors: VectorMachine['name']
  readonly how: StepOf<'pool'>['how']
  readonly columns: number
  /** Whether the last vector of a row may be written whole. */
  readonly overrun: boolean
}

/** Code of one row for each sequence: the first, the last, or the sum. Called with `poolParameters`. */
export function pool(machine: VectorMachine, { how, columns, overrun }: PoolShape): Uint8Array {
  const p = poolParameters
  const constants = new VectorConstants(machine)
  const together = 4
  const values = machine.registers.slice(0, together)
  const temporary = machine.registers[together]
  const emitSequence = (a: Assembler) => {
    a.mov(rsi, sequenceWord('first'))
    if (how === 'last') {
      a.add(rsi, sequenceWord('rows'))
      a.dec(rsi)
    }
    a.mov(r11, p.at('inputStride'))
    a.imul(rsi, r11)
    a.add(rsi, p.at('input'))
    emitColumns(a, machine, columns, together, (vectors) => {
      if (how === 'sum') {
        const [next, done] = [new Label(), new Label()]
        for (const { place } of vectors) a.vxorps(values[place], values[place], values[place])
        a.mov(rax, rsi)
        a.mov(rbx, sequenceWord('rows'))
        a.test(rbx, rbx)
        a.je(done)
        a.bind(next)
        for (const { place, of } of vectors) a.vaddps(values[place], values[place], of(rax))
        a.add(rax, r11)
        a.dec(rbx)
        a.jne(next)
        a.bind(done)
      } else for (const { place, of } of vectors) a.vmovups(values[place], of(rsi))
      for (const { place, of, part } of vectors) emitStore(a, of(rcx), values[place], overrun ? undefined : part, temporary, constants)
    })
  }
  return kernel(
    0,
    (a) => emitRows(a, p.at('rows'), sequencePointers(p), () => emitSequence(a)),
    (a) => constants.place(a),
  )
}

function sequencePointers(p: { at(name: 'output' | 'outputStride' | 'sequences' | 'sequenceStride'): Memory }) {
  return [{ register: r9, address: p.at('sequences'), stride: p.at('sequenceStride') }, rowPointer(p, 'output', rcx)]
}

/** The kernel of pooling. */
export function poolKernels(step: StepOf<'pool'>, context: X64Context): StepKernel<Uint8Array>[] {
  return [poolKernel(step, 'sequence', context)]
}

/** The kernel that moves rows of last tokens to the front: none is behind the place to which it goes. */
export function keepKernels({ input }: StepOf<'keep'>, context: X64Context): StepKernel<Uint8Array>[] {
  return [poolKernel({ how: 'last', input, output: input }, 'kept', context)]
}

function poolKernel(
  { how, input, output }: Pick<StepOf<'pool'>, 'how' | 'input' | 'output'>,
  rows: 'sequence' | 'kept',
  { vectors }: X64Context,
): StepKernel<Uint8Array> {
  const shape: PoolShape = { vectors: vectors.name, how, columns: output.columns, overrun: mayOverrun(output, vectors.lanes) }
  return stepKernel({
    name: 'pool',
    shape,
    code: () => pool(vectors, shape),
    parameters: poolParameters,
    words: {
      ...rowWords('input', input),
      rows: { rows },
      ...rowWords('output', output),
      sequences: { sequences: true },
      sequenceStride: sequenceBytes,
    },
  })
}

/** `output`: float32, one for each of `rows` sequences, `outputStride` bytes apart; `sequences`: their table, entries `sequenceStride` apart. */
export const countParameters = new Parameters(['rows', 'output', 'outputStride', 'sequences', 'sequenceStride'])

/** Code of the number of tokens of each sequence. Called with `countParameters`. */
export function count(): Uint8Array {
  const p = countParameters
  return kernel(0, (a) =>
    emitRows(a, p.at('rows'), sequencePointers(p), () => {
      a.mov(rax, sequenceWord('rows'))
      a.vxorps(xmm[0], xmm[0], xmm[0])
      a.vcvtsi2ss(xmm[0], xmm[0], rax)
      a.vmovss(at(rcx), xmm[0])
    }),
  )
}

/** The kernel of counts. */
export function countKernels({ output }: StepOf<'count'>): StepKernel<Uint8Array>[] {
  return [
    stepKernel({
      name: 'count',
      shape: {},
      code: count,
      parameters: countParameters,
      words: {
        rows: { rows: 'sequence' },
        ...rowWords('output', output),
        sequences: { sequences: true },
        sequenceStride: sequenceBytes,
      },
    }),
  ]
}
