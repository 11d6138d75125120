/** What all attention operators are made of: heads, rotary positions, and the scaled dot product itself. */
import { badInput } from '../base/errors.js'
import { type DType, type NDArray, numbersOf } from '../numbers/dtype.js'
import { softmax } from './softmax.js'
import { arrayOf } from './support.js'

/** Numbers laid out as [batch, heads, length, size]. */
export interface Heads {
  readonly batch: number
  readonly heads: number
  readonly length: number
  readonly size: number
  readonly values: Float64Array
}

/** Heads of zeros, or around given numbers. */
export function headsOf(
  batch: number,
  heads: number,
  length: number,
  size: number,
  values = new Float64Array(batch * heads * length * size),
): Heads {
  return { batch, heads, length, size, values }
}

/**
 * Heads from an array [batch, heads, length, size], or from [batch, length, heads * size] when `heads` is given.
 *
 * @throws TinsmithError `bad-input` where the last dimension is no multiple of `heads`
 */
export function toHeads(array: NDArray, heads?: number): Heads {
  const values = Float64Array.from(numbersOf(array))
  if (array.shape.length === 4) return headsOf(array.shape[0], array.shape[1], array.shape[2], array.shape[3], values)
  return splitHeads(values, array.shape, heads)
}

function splitHeads(values: Float64Array, shape: readonly number[], heads = 0): Heads {
  const [batch, length, width] = shape
  const size = width / heads
  if (shape.length !== 3 || !Number.isInteger(size)) throw badInput(`an array of shape [${shape}] cannot be split into ${heads} heads`)
  const result = headsOf(batch, heads, length, size)
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < length; t++)
      for (let h = 0; h < heads; h++)
        result.values.set(values.subarray(((b * length + t) * heads + h) * size).subarray(0, size), ((b * heads + h) * length + t) * size)
  return result
}

/** Columns `start` to `start + heads * size` of rows [batch, length, width] as heads: a part of packed projections. */
export function partOf(values: Float64Array, shape: readonly number[], start: number, heads: number, size: number): Heads {
  const [batch, length, width] = shape
  const part = new Float64Array(batch * length * heads * size)
  for (let row = 0; row < batch * length; row++)
    part.set(values.subarray(row * width + start, row * width + start + heads * size), row * heads * size)
  return splitHeads(part, [batch, length, heads * size], heads)
}

/** An array [batch, length, heads * size] of heads. */
export function mergeHeads({ batch, heads, length, size, values }: Heads, dtype: DType): NDArray {
  const merged = new Float64Array(values.length)
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let t = 0; t < length; t++) {
        const from = ((b * heads + h) * length + t) * size
        merged.set(values.subarray(from, from + size), ((b * length + t) * heads + h) * size)
      }
  return arrayOf(dtype, [batch, length, heads * size], merged)
}

/** An array [batch, heads, length, size] of heads. */
export function headsArray({ batch, heads, length, size, values }: Heads, dtype: DType): NDArray {
  return arrayOf(dtype, [batch, heads, length, size], values)
}

/** `next` after `past` along the length. */
export function appendHeads(past: Heads | null, next: Heads): Heads {
  if (!past) return next
  const length = past.length + next.length
  const result = headsOf(next.batch, next.heads, length, next.size)
  for (let i = 0; i < next.batch * next.heads; i++) {
    result.values.set(past.values.subarray(i * past.length * past.size, (i + 1) * past.length * past.size), i * length * next.size)
    result.values.set(
      next.values.subarray(i * next.length * next.size, (i + 1) * next.length * next.size),
      (i * length + past.length) * next.size,
    )
  }
  return result
}

export interface Rotation {
  /** [positions, half] or [batch, length, half]: cosines and sines of the angles. */
  readonly cosines: NDArray
  readonly sines: NDArray
  /** Row of the tables for token `t` of sample `b`. */
  readonly row: (b: number, t: number) => number
  /** Pairs are neighbours instead of halves. */
  readonly interleaved: boolean
}

/** Heads with the first `2 * half` entries of each vector rotated by their positions (RoPE). */
export function rotate(x: Heads, { cosines, sines, row, interleaved }: Rotation): Heads {
  const half = cosines.shape.at(-1)!
  if (2 * half > x.size) throw badInput(`tables for ${2 * half} entries cannot rotate heads of ${x.size}`)
  const [cos, sin, values] = [numbersOf(cosines), numbersOf(sines), x.values.slice()]
  for (let b = 0; b < x.batch; b++)
    for (let h = 0; h < x.heads; h++)
      for (let t = 0; t < x.length; t++) {
        const [start, table] = [((b * x.heads + h) * x.length + t) * x.size, row(b, t) * half]
        for (let i = 0; i < half; i++) {
          const [first, second] = interleaved ? [start + 2 * i, start + 2 * i + 1] : [start + i, start + half + i]
          const [c, s] = [cos[table + i], sin[table + i]]
          values[first] = c * x.values[first] - s * x.values[second]
          values[second] = s * x.values[first] + c * x.values[second]
        }
      }
  return { ...x, values }
}

export interface AttentionOptions {
  readonly scale: number
  /** 0: none. */
  readonly softcap?: number
  /** Added to the score of query i and key j; -Infinity hides the key. */
  readonly bias?: (b: number, h: number, i: number, j: number) => number
  /** An additional score per head that takes part in the softmax and has no value. */
  readonly sink?: (h: number) => number
  /** Which of the scores to give back; none by default, for they take the most memory. */
  readonly keep?: AttentionStage
}

/** What attention computes on its way, in order: scaled scores, after the soft cap, after the bias, after the softmax. */
export const attentionStages = ['scores', 'capped', 'biased', 'probabilities'] as const

export type AttentionStage = (typeof attentionStages)[number]

export interface AttentionResult {
  readonly output: Heads
  /** The stage that was asked for as [batch, heads, queries, keys]; empty where none was. */
  readonly kept: Heads
}

/**
 * softmax(softcap(Q K^T * scale) + bias) V, with each key and value head shared by the same number of neighbouring query
 * heads. A query whose keys are all hidden gives zeros.
 *
 * @throws TinsmithError `bad-input` where heads or sizes do not fit
 */
export function attend(query: Heads, key: Heads, value: Heads, options: AttentionOptions): AttentionResult {
  const { scale, softcap = 0, bias, sink, keep } = options
  const group = query.heads / key.heads
  if (!Number.isInteger(group) || key.heads !== value.heads || key.length !== value.length || query.size !== key.size)
    throw badInput(
      `queries of ${query.heads} heads x ${query.size} do not fit keys of ${key.heads} x ${key.size} and ${value.heads} value heads`,
    )
  const kept = keep ? headsOf(query.batch, query.heads, query.length, key.length) : headsOf(0, 0, 0, 0)
  const output = headsOf(query.batch, query.heads, query.length, value.size)
  const row = new Float64Array(key.length + (sink ? 1 : 0))
  for (let b = 0; b < query.batch; b++)
    for (let h = 0; h < query.heads; h++) {
      const shared = b * key.heads + Math.floor(h / group)
      for (let i = 0; i < query.length; i++) {
        const at = (b * query.heads + h) * query.length + i
        const store = (stage: AttentionStage) => {
          if (stage === keep) kept.values.set(row.subarray(0, key.length), at * key.length)
        }
        for (let j = 0; j < key.length; j++)
          row[j] = scale * dot(query.values, at * query.size, key.values, (shared * key.length + j) * key.size, key.size)
        store('scores')
        if (softcap) for (let j = 0; j < key.length; j++) row[j] = softcap * Math.tanh(row[j] / softcap)
        store('capped')
        if (bias) for (let j = 0; j < key.length; j++) row[j] = hidden(row[j], bias(b, h, i, j))
        store('biased')
        if (sink) row[key.length] = sink(h)
        softmax(row)
        store('probabilities')
        const result = output.values.subarray(at * value.size, (at + 1) * value.size)
        for (let j = 0; j < key.length; j++)
          for (let d = 0; d < value.size && row[j]; d++) result[d] += row[j] * value.values[(shared * value.length + j) * value.size + d]
      }
    }
  return { output, kept }
}

/** A score plus its bias; a hidden key stays hidden whatever its score. */
function hidden(score: number, bias: number): number {
  return bias === Number.NEGATIVE_INFINITY ? bias : score + bias
}

function dot(a: Float64Array, aStart: number, b: Float64Array, bStart: number, length: number): number {
  let sum = 0
  for (let i = 0; i < length; i++) sum += a[aStart + i] * b[bStart + i]
  return sum
}
