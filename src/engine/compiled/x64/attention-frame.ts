import { type CacheDtype, type Rotation, roundUp, type StepOf } from '../plan/steps.js'
import type { Assembler } from './assembler.js'
import type { Lanes } from './attention-lanes.js'
import { at, type Memory, rax, rbp } from './operands.js'
import { Parameters } from './parameters.js'
import { rowWords } from './rows.js'
import type { VectorConstants, VectorMachine } from './vector-machine.js'

/** What the code of an attention depends on. */
export interface AttentionShape {
  readonly heads: number
  readonly keyValueHeads: number
  /** Columns of a head of queries and keys, and of values. */
  readonly headSize: number
  readonly valueSize: number
  readonly scale: number
  readonly causal: boolean
  readonly window: number | undefined
  readonly softCap: number | undefined
  readonly rotation: Pick<Rotation, 'rotary' | 'interleaved'> | undefined
  /** What the cache holds, where there is one. */
  readonly cache: CacheDtype | undefined
}

/**
 * What an attention is called with; see `Word` in program.ts. `cacheKeys` and `cacheValues` are 0 without a cache.
 *
 * Of several threads, each does every `parts`th tile of queries, the first one that with the number `part`. Where a sequence has one query, it does
 * `ownRanges` of `allRanges` ranges of the keys, from `firstRange` on, and leaves their sums in `ranges`; when all are there, it puts them together
 * for `headCount` heads from `firstHead` on. Products of codes keep them in `codes`, memory for the run's `tokens`; there threads share heads of keys.
 *
 * Where heads are rotated: by the int32 `numbers` of the tokens and the tables `cos` and `sin` (see rotary.ts); keys that become codes by way of
 * `rotatedKeys`.
 */
export const attentionParameters = new Parameters([
  'query',
  'queryStride',
  'key',
  'keyStride',
  'value',
  'valueStride',
  'output',
  'outputStride',
  'sequences',
  'sequenceCount',
  'scratch',
  'cacheKeys',
  'cacheValues',
  'part',
  'parts',
  'ranges',
  'allRanges',
  'firstRange',
  'ownRanges',
  'firstHead',
  'headCount',
  'codes',
  'tokens',
  'numbers',
  'cos',
  'sin',
  'rotatedKeys',
])

/** The words of what a step reads and writes, 0 for what only some kernels need. */
export function attentionWords({ query, key, value, output }: StepOf<'attention'>) {
  const none = Object.fromEntries(attentionParameters.names.map((name) => [name, 0])) as Record<AttentionParameter, 0>
  return {
    ...none,
    ...rowWords('query', query),
    ...rowWords('key', key),
    ...rowWords('value', value),
    ...rowWords('output', output),
    sequences: { sequences: true },
    sequenceCount: { rows: 'sequence' },
  } as const
}
type AttentionParameter = (typeof attentionParameters.names)[number]

/** Words on the stack, by name; rbp is at the first. */
const names = [
  // The sequence
  'table',
  'sequencesLeft',
  'piecesUntilNext',
  'rows',
  'past',
  'total',
  'firstNumber',
  'keyStride',
  'valueStride',
  'scaleStride',
  // The head: addresses of its first rows
  'headQuery',
  'headOutput',
  'headKeys',
  'headValues',
  'keyScales',
  'valueScales',
  'headsLeft',
  'groupLeft',
  // The queries that are worked on together, and the keys that they see: all see those from `seenFrom` up to `seenUntil`
  'row',
  'count',
  'keyEnd',
  'seenFrom',
  'seenUntil',
  // The block of keys
  'blockStart',
  'blockKeys',
  'laterBlock',
  // Ranges of the keys of one query: where sums of the first one and of the present one lie, its number, and how many are still to be done
  'firstSums',
  'sums',
  'range',
  'rangesLeft',
  // Products of codes: where those of a head of keys lie, and the tile's scores and weights, a row for each query
  'keyCodes',
  'keyStarts',
  'valueCodes',
  'scores',
  'scoreStride',
  'weights',
  'weightStride',
  'scoreFactor',
  // Vectors of keys that the tile's queries see
  'firstVector',
  'vectors',
  // Tiles
  'tiles',
  'height',
  'longer',
] as const
export type LocalName = (typeof names)[number]

/** A word on the stack. */
export function local(name: LocalName): Memory {
  return at(rbp, 8 * names.indexOf(name))
}

const vectorNames = ['maximum', 'previous', 'sum', 'inverse', 'carried', 'places', 'lowest'] as const
const wordBytes = Math.ceil((8 * names.length) / 64) * 64
const vectorStride = 128

/** Two vectors on the stack, one entry for each query that is worked on. */
export function localVector(name: (typeof vectorNames)[number], bytes = 0): Memory {
  return at(rbp, wordBytes + vectorStride * vectorNames.indexOf(name) + bytes)
}

/** Bytes on the stack. */
export const frameBytes = wordBytes + vectorStride * vectorNames.length

/** What the parts of the code share. */
export interface AttentionCode {
  readonly a: Assembler
  readonly shape: AttentionShape
  readonly machine: VectorMachine
  readonly lanes: Lanes
  readonly constants: VectorConstants
}

/** Vectors beside each other in a tile: of queries in products with keys, of columns in sums of values. */
export const across = 2

/** Keys that are worked on before values are, for many queries and for one: their scores stay in the first cache. */
export const blockKeys = { many: 256, single: 128 } as const

/** Scores before any key was seen. */
export const lowestScore = -3e38

/** Where things lie in scratch memory; many queries and one use the same. */
export function scratchLayout({ heads, headSize, valueSize, cache, rotation }: AttentionShape, { bytes, lanes }: VectorMachine) {
  const queryRow = 4 * roundUp(headSize, lanes)
  const scoreRow = 4 * blockKeys.single + bytes
  const scores = headSize * across * bytes
  const keys = scores + blockKeys.many * across * bytes
  const values = keys + (cache === 'int8' ? 4 * blockKeys.many * headSize + bytes : 0)
  const rotated = values + (cache === 'int8' ? 4 * blockKeys.many * valueSize + bytes : 0)
  const many = { scores, keys, values, rotated, all: rotated + (rotation ? across * bytes * headSize : 0) }
  const single = { queryRow, scores: heads * queryRow, scoreRow, all: heads * (queryRow + scoreRow) }
  return { many, single, all: Math.max(many.all, single.all) }
}

/** What one query leaves of a range of keys: of each head the sum of its values, and their largest score and the sum of their weights. */
export function rangeLayout({ heads, valueSize }: AttentionShape, { lanes }: VectorMachine) {
  const valueRow = 4 * roundUp(valueSize, lanes)
  const states = heads * valueRow
  return { valueRow, states, all: roundUp(states + 8 * heads, 64) }
}

/** Bytes of an element of keys and values. */
export function elementBytes({ cache }: AttentionShape): 1 | 4 {
  return cache === 'int8' ? 1 : 4
}

/** to = from, by way of rax. */
export function move(a: Assembler, to: Memory, from: Memory): void {
  a.mov(rax, from)
  a.mov(to, rax)
}

/** word += amount, by way of rax; flags are those of the sum. */
export function add(a: Assembler, name: LocalName, amount: number): void {
  a.mov(rax, local(name))
  a.add(rax, amount)
  a.mov(local(name), rax)
}
