import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import { type AttentionShape, add, attentionParameters, attentionWords, local } from './attention-frame.js'
import { emitPackKeys, emitPackValues, emitScaleQueries } from './attention-int8-codes.js'
import { type CodesAttention, codesLayout, emitPlaces } from './attention-int8-frame.js'
import { emitSoftmax, emitTile } from './attention-int8-tiles.js'
import { attentionKernel, emitFirstHeads, emitFirstPiece, emitSequences, emitUnlessOther } from './attention-sequences.js'
import { emitEvenTiles } from './attention-tiles.js'
import { stepKernel, type X64Context } from './context.js'
import { chooseDotMachine, type DotMachine } from './dot-machine.js'
import { Label, rax } from './operands.js'
import { vectorMachineOf } from './vector-machine.js'

/**
 * The kernel of an attention with products of codes: for each sequence of the run and each head of keys, codes of keys and values, packed for the
 * products; for each head of queries that reads them, in tiles of queries, all scores, weights, and sums of values. Threads share heads of keys.
 */
export function int8AttentionKernel(
  step: StepOf<'attention'>,
  shape: AttentionShape,
  { features, threads }: X64Context,
): StepKernel<Uint8Array> {
  // Weights and queries have 7 bits.
  const dot = chooseDotMachine(features, 'avx2Bytes')!
  const { scratch, perToken, beyond } = codesLayout(shape, dot)
  const words = {
    ...attentionWords(step),
    scratch: { scratch },
    codes: { scratch: threads * perToken, per: 'token', beyond: threads * beyond, shared: true },
    tokens: { rows: 'token' },
  } as const
  const share = (part: number, parts: number) => ({ ...words, part, parts })
  return stepKernel({
    name: 'attention-int8',
    shape: { machine: dot.name, ...shape },
    code: () => int8Attention(dot, shape),
    parameters: attentionParameters,
    words: share(0, 1),
    split: share,
  })
}

/** Code of that attention, called with `attentionParameters`. */
export function int8Attention(dot: DotMachine, shape: AttentionShape): Uint8Array {
  const tiles = Array.from({ length: dot.rows }, () => new Label())
  const softmax = new Label()
  return attentionKernel(
    vectorMachineOf(dot),
    [shape.headSize, shape.valueSize],
    shape,
    (code) => {
      const { a, lanes } = code
      emitFirstPiece(a)
      emitSequences(a, lanes, (entry) => {
        emitFirstHeads(a, entry('first'), ['query', 'output', 'key', 'value'])
        emitHeads({ ...code, dot }, tiles)
      })
    },
    (code) => {
      for (const [i, tile] of tiles.entries()) emitTile({ ...code, dot }, tile, i + 1, softmax)
      emitSoftmax({ ...code, dot }, softmax)
    },
  )
}

/** Walks the sequence's heads of keys of this thread, and the heads of queries that read each. */
function emitHeads(code: CodesAttention, tiles: readonly Label[]): void {
  const { a, shape } = code
  const { heads, keyValueHeads, headSize, valueSize } = shape
  const group = heads / keyValueHeads
  const [nextKeys, nextHead, other, counted] = [new Label(), new Label(), new Label(), new Label()]
  emitPlaces(code)
  a.mov(rax, keyValueHeads)
  a.mov(local('headsLeft'), rax)
  a.bind(nextKeys)
  emitUnlessOther(a, other)
  emitPackKeys(code)
  emitPackValues(code)
  a.mov(rax, group)
  a.mov(local('groupLeft'), rax)
  a.bind(nextHead)
  emitScaleQueries(code)
  a.xor(rax, rax)
  a.mov(local('row'), rax)
  emitEvenTiles(a, local('rows'), tiles)
  add(a, 'headQuery', 4 * headSize)
  add(a, 'headOutput', 4 * valueSize)
  add(a, 'groupLeft', -1)
  a.jne(nextHead)
  a.jmp(counted)
  a.bind(other)
  add(a, 'headQuery', 4 * headSize * group)
  add(a, 'headOutput', 4 * valueSize * group)
  a.bind(counted)
  add(a, 'headKeys', 4 * headSize)
  add(a, 'headValues', 4 * valueSize)
  add(a, 'headsLeft', -1)
  a.jne(nextKeys)
}
