import { sequenceWords } from '../program.js'
import type { Assembler } from './assembler.js'
import { type AttentionCode, type AttentionShape, add, attentionParameters, frameBytes, local, move } from './attention-frame.js'
import { Lanes } from './attention-lanes.js'
import { at, Label, type Memory, rax, rbp, rcx, rsi, rsp } from './operands.js'
import { kernel } from './parameters.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** Code that works on the stack's words, with functions beside it. */
export function attentionKernel(
  machine: VectorMachine,
  columns: readonly number[],
  shape: AttentionShape,
  body: (code: AttentionCode) => void,
  beside: (code: AttentionCode) => void = () => {},
): Uint8Array {
  const constants = new VectorConstants(machine)
  const lanes = new Lanes(constants, columns)
  return kernel(
    frameBytes,
    (a) => {
      a.mov(rbp, rsp)
      body({ a, shape, machine, lanes, constants })
    },
    (a) => {
      beside({ a, shape, machine, lanes, constants })
      constants.place(a)
    },
  )
}

/** Where the table says something of a sequence. */
export type Entry = (name: (typeof sequenceWords)[number]) => Memory

/** Walks the table of sequences; the body may not touch rsi before it has read the sequence's entry. */
export function emitSequences(a: Assembler, lanes: Lanes, body: (entry: Entry) => void): void {
  const [next, skip, done] = [new Label(), new Label(), new Label()]
  const entry: Entry = (name) => at(rsi, 8 * sequenceWords.indexOf(name))
  lanes.prepare(a)
  move(a, local('table'), attentionParameters.at('sequences'))
  a.mov(rax, attentionParameters.at('sequenceCount'))
  a.test(rax, rax)
  a.je(done)
  a.mov(local('sequencesLeft'), rax)
  a.bind(next)
  a.mov(rsi, local('table'))
  a.mov(rax, entry('rows'))
  a.test(rax, rax)
  a.je(skip)
  a.mov(local('rows'), rax)
  a.mov(rcx, entry('past'))
  a.mov(local('past'), rcx)
  a.add(rax, rcx)
  a.mov(local('total'), rax)
  body(entry)
  a.bind(skip)
  add(a, 'table', 8 * sequenceWords.length)
  add(a, 'sequencesLeft', -1)
  a.jne(next)
  a.bind(done)
}

/** What rows an attention reads and writes, and where heads of them begin. */
const heads = { query: 'headQuery', key: 'headKeys', value: 'headValues', output: 'headOutput' } as const

type Rows = keyof typeof heads

/** Sets where the first heads of these rows of the sequence begin. */
export function emitFirstHeads(a: Assembler, first: Memory, names: readonly Rows[]): void {
  for (const name of names) {
    emitFirstRow(a, first, name)
    a.mov(local(heads[name]), rax)
  }
}

/** Begins to count the pieces of work that threads share: every one of them takes one after the other. */
export function emitFirstPiece(a: Assembler): void {
  a.mov(rax, attentionParameters.at('part'))
  a.inc(rax)
  a.mov(local('piecesUntilNext'), rax)
}

/** Jumps on where the next piece of work is that of another thread. */
export function emitUnlessOther(a: Assembler, other: Label): void {
  add(a, 'piecesUntilNext', -1)
  a.jne(other)
  move(a, local('piecesUntilNext'), attentionParameters.at('parts'))
}

/** Sets rax to the address of the sequence's first row of a view. */
export function emitFirstRow(a: Assembler, first: Memory, name: Rows): void {
  a.mov(rax, first)
  a.imul(rax, attentionParameters.at(`${name}Stride`))
  a.add(rax, attentionParameters.at(name))
}
