import { roundUp } from '../plan/steps.js'
import type { Assembler } from './assembler.js'
import { type AttentionCode, type AttentionShape, attentionParameters, local } from './attention-frame.js'
import { type DotMachine, vectorBytes } from './dot-machine.js'
import { at, type General, r8q, rax, rcx, type Vector } from './operands.js'
import { emitInOrder } from './vector-machine.js'

/** What the parts of the code of an attention with products of codes share. */
export interface CodesAttention extends AttentionCode {
  readonly dot: DotMachine
}

/** Measures of the codes of a head. Bytes, but where it says otherwise. */
export function codesLayout({ headSize, valueSize }: AttentionShape, dot: DotMachine) {
  const vector = vectorBytes(dot)
  const groups = Math.ceil(headSize / 4)
  const [columns, valueColumns] = [roundUp(4 * headSize, vector), roundUp(4 * valueSize, vector)]
  const row = roundUp(headSize, vector)
  const [factors, keyInverse, multipliers, valueScale, valueInverse] = [0, columns, 2 * columns, 3 * columns, 3 * columns + valueColumns]
  const keyRow = 3 * columns + 2 * valueColumns
  const perKey = { keys: 4 * groups, values: valueColumns / 4, starts: 4, scores: 4 * dot.rows, weights: dot.rows }
  /** Behind the starts, and in front of the scores and behind each row of them: what masks may write. */
  const [startsMargin, scoresMargin] = [vector, 2 * vector]
  const perToken = Object.values(perKey).reduce((a, b) => a + b)
  return {
    /** 32 bits of codes that a key has. */
    groups,
    /** Of the codes of a query. */
    row,
    /** In scratch memory, float32 for each column: exponents for a unit of a key's code, 1 / its scale, factors of queries, scales of values, 1 / those. */
    factors,
    keyInverse,
    multipliers,
    valueScale,
    valueInverse,
    /** Behind those: codes of a key, and of a tile's queries. */
    keyRow,
    queries: keyRow + row,
    scratch: keyRow + row + dot.rows * row,
    /** Of a vector of keys. */
    keyVector: groups * vector,
    /** Of four values. */
    valueGroup: valueColumns,
    /** Of memory for each token, by what it holds, and all together. */
    perKey,
    perToken,
    startsMargin,
    scoresMargin,
    /** Beyond those of tokens: sequences are rounded up, and threads begin with whole cache lines. */
    beyond: roundUp((keyUnit - 1) * perToken + startsMargin + (dot.rows + 1) * scoresMargin, 64) + 64,
  }
}

/** Numbers of keys are rounded up to a multiple of it: four of the widest vectors. */
const keyUnit = 64

/** Sets the addresses of what a head of the sequence needs. Overwrites rax, rcx, r8. */
export function emitPlaces({ a, shape, dot }: CodesAttention): void {
  const { perKey, perToken, beyond, startsMargin, scoresMargin } = codesLayout(shape, dot)
  const [keys, place] = [rcx, r8q]
  a.mov(place, attentionParameters.at('tokens'))
  a.imul(place, place, perToken)
  a.add(place, beyond)
  a.and(place, -64)
  a.imul(place, attentionParameters.at('part'))
  a.add(place, attentionParameters.at('codes'))
  a.mov(keys, local('rows'))
  a.add(keys, keyUnit - 1)
  a.and(keys, -keyUnit)
  const skip = (bytes: number, more: number) => {
    a.imul(rax, keys, bytes)
    a.lea(place, at(place, more, rax))
  }
  a.mov(local('keyCodes'), place)
  skip(perKey.keys, 0)
  a.mov(local('valueCodes'), place)
  skip(perKey.values, 0)
  a.mov(local('keyStarts'), place)
  skip(perKey.starts, startsMargin + scoresMargin)
  a.mov(local('scores'), place)
  skip(perKey.scores, dot.rows * scoresMargin)
  a.mov(local('weights'), place)
  a.mov(local('weightStride'), keys)
  a.shl(keys, 2)
  a.add(keys, scoresMargin)
  a.mov(local('scoreStride'), keys)
}

/** Emits work on so many groups, `together` of them in a turn; counts in the register. `advance` moves pointers on by so many. */
export function emitGroups(
  a: Assembler,
  count: number,
  counter: General,
  work: (group: number) => void,
  advance: (groups: number) => void,
): void {
  const together = 8
  const turns = Math.floor(count / together)
  const left = count % together
  if (turns > 1) a.mov(counter, turns)
  if (turns) {
    const next = a.here()
    for (let group = 0; group < together; group++) work(group)
    if (turns > 1 || left) advance(together)
    if (turns > 1) {
      a.dec(counter)
      a.jne(next)
    }
  }
  for (let group = 0; group < left; group++) work(group)
}

/** Packs up to four vectors of integers to bytes; the result is in the first. */
export function emitBytes(a: Assembler, [first, second = first, third, fourth = third]: readonly Vector[], order: Vector): void {
  a.vpackssdw(first, first, second)
  if (third) a.vpackssdw(third, third, fourth)
  a.vpacksswb(first, first, third ?? first)
  emitInOrder(a, first, order)
}
