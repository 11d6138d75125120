import { badInput } from '../base/errors.js'
import type { NumberElements } from './dtype.js'

/**
 * Mean of the squared differences, accumulated in float64.
 *
 * @param reference numbers of the original; as many as `actual`, else `bad-input`
 * @example
 * meanSquaredError(Float32Array.of(1, 2), Float32Array.of(1, 4)) // 2
 */
export function meanSquaredError(reference: NumberElements, actual: NumberElements): number {
  checkLengths(reference, actual)
  let sum = 0
  for (let i = 0; i < reference.length; i++) {
    const d = reference[i] - actual[i]
    sum += d * d
  }
  return reference.length ? sum / reference.length : 0
}

/**
 * Signal to quantization noise ratio in dB: 10 log10(sum of squares / sum of squared differences). Infinity where
 * nothing differs; each bit of an ideal uniform quantizer adds 6.02 dB.
 *
 * @example
 * sqnr(Float32Array.of(10), Float32Array.of(9)) // 20
 */
export function sqnr(reference: NumberElements, actual: NumberElements): number {
  checkLengths(reference, actual)
  let signal = 0
  let noise = 0
  for (let i = 0; i < reference.length; i++) {
    const d = reference[i] - actual[i]
    signal += reference[i] * reference[i]
    noise += d * d
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
}

/**
 * Cosine of the angle between two vectors. Two zero vectors have cosine 1, a zero and another one 0.
 *
 * @example
 * cosineSimilarity(Float32Array.of(1, 0), Float32Array.of(1, 1)) // 0.7071
 */
export function cosineSimilarity(reference: NumberElements, actual: NumberElements): number {
  return cosineSimilarities(reference, actual, reference.length)[0] ?? 1
}

/**
 * Cosines of the rows of two matrices; their mean and their 1 % quantile are what quantized embeddings are judged by.
 *
 * @param reference [rows, columns]
 * @param actual [rows, columns]
 * @returns [rows]
 * @example
 * quantile(cosineSimilarities(reference, actual, 384), 0.01)
 */
export function cosineSimilarities(reference: NumberElements, actual: NumberElements, columns: number): Float64Array {
  const rows = rowsOf(reference, actual, columns)
  const cosines = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    let product = 0
    let a = 0
    let b = 0
    for (let i = row * columns; i < (row + 1) * columns; i++) {
      product += reference[i] * actual[i]
      a += reference[i] * reference[i]
      b += actual[i] * actual[i]
    }
    cosines[row] = a && b ? product / Math.sqrt(a) / Math.sqrt(b) : a === b ? 1 : 0
  }
  return cosines
}

/**
 * Largest absolute difference; NaN where any difference is NaN.
 *
 * @example
 * maxAbsoluteDifference(Float32Array.of(1, 2), Float32Array.of(1, 4)) // 2
 */
export function maxAbsoluteDifference(reference: NumberElements, actual: NumberElements): number {
  checkLengths(reference, actual)
  let most = 0
  for (let i = 0; i < reference.length; i++)
    if (!Object.is(reference[i], actual[i])) most = Math.max(most, Math.abs(reference[i] - actual[i]))
  return most
}

/**
 * Largest absolute difference over the largest magnitude of the reference: 'exact' is up to 2e-5. 0 where nothing
 * differs, infinite where the reference is all 0 and something does.
 *
 * @example
 * maxRelativeDifference(Float32Array.of(1, -4), Float32Array.of(1, -2)) // 0.5
 */
export function maxRelativeDifference(reference: NumberElements, actual: NumberElements): number {
  const difference = maxAbsoluteDifference(reference, actual)
  let most = 0
  for (let i = 0; i < reference.length; i++) most = Math.max(most, Math.abs(reference[i]))
  return difference === 0 ? 0 : difference / most
}

/**
 * Kullback-Leibler divergence in nats between the softmax distributions of logits, row by row, in float64.
 *
 * @param reference logits [rows, columns]
 * @param actual logits [rows, columns]
 * @returns [rows], not negative but for rounding
 * @example
 * klDivergence(Float32Array.of(0, 0), Float32Array.of(Math.log(3), 0), 2) // [0.1438]
 */
export function klDivergence(reference: NumberElements, actual: NumberElements, columns: number): Float64Array {
  const rows = rowsOf(reference, actual, columns)
  const divergences = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    const start = row * columns
    const end = start + columns
    const p = logSumExp(reference, start, end)
    const q = logSumExp(actual, start, end)
    let sum = 0
    for (let i = start; i < end; i++) {
      const logarithm = reference[i] - p
      if (logarithm > Number.NEGATIVE_INFINITY) sum += Math.exp(logarithm) * (logarithm - (actual[i] - q))
    }
    divergences[row] = sum
  }
  return divergences
}

/**
 * The number below which a share of numbers lies, linear between neighbours.
 *
 * @param values at least one, else `bad-input`; left as they are
 * @param share 0 to 1: 0 gives the smallest, 0.5 the median
 * @example
 * quantile([1, 2, 3, 4], 0.5) // 2.5
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  if (!values.length) throw badInput('there are no numbers to take a quantile of')
  const sorted = Float64Array.from(values).sort()
  const position = Math.min(Math.max(share, 0), 1) * (sorted.length - 1)
  const index = Math.floor(position)
  const next = sorted[Math.min(index + 1, sorted.length - 1)]
  return sorted[index] + (position - index) * (next - sorted[index])
}

function logSumExp(values: NumberElements, start: number, end: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (let i = start; i < end; i++) most = Math.max(most, values[i])
  let sum = 0
  for (let i = start; i < end; i++) sum += Math.exp(values[i] - most)
  return most + Math.log(sum)
}

function checkLengths(reference: NumberElements, actual: NumberElements): void {
  if (reference.length !== actual.length) throw badInput(`${reference.length} and ${actual.length} numbers cannot be compared`)
}

function rowsOf(reference: NumberElements, actual: NumberElements, columns: number): number {
  checkLengths(reference, actual)
  if (columns === 0 || reference.length % columns) {
    if (!reference.length) return 0
    throw badInput(`${reference.length} numbers are no rows of ${columns}`)
  }
  return reference.length / columns
}
