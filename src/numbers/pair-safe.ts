import { roundSmall } from './rounding.js'

/** Codes and one scale for each column. */
export interface PairSafeWeights {
  /** [inputs, outputs], within -127..127 */
  readonly codes: Int8Array
  /** [outputs] */
  readonly scale: Float32Array
}

/** How much larger than max|w| / 127 a column's scale may be. */
const growth = [1, 1.08, 1.16, 1.24, 1.32, 1.4, 1.5, 1.6, 1.75, 2]

/** 255 times this fits in 16 bits. */
const largestPair = 128

const largestCode = 127

/** Columns that are gathered together: rows lie side by side in memory. */
const strip = 8

/**
 * 8-bit weights whose products with any unsigned 8-bit codes can be added in pairs in 16 bits, which is what x86
 * processors without VNNI do (inputs 2i and 2i + 1 make a pair): two codes of one sign add up to 128 at most. What a
 * pair has too much is taken off both alike; each column takes the scale with the least squared error. The result is
 * the same on every processor, and closer to the weights than 7-bit codes are.
 *
 * @param weights [inputs, outputs], row major
 * @example
 * pairSafeWeights(Float32Array.of(1, 1), 2, 1).codes // both 64: 255 * (64 + 64) < 2^15
 */
export function pairSafeWeights(weights: Float32Array, inputs: number, outputs: number): PairSafeWeights {
  const codes = new Int8Array(weights.length)
  const scale = new Float32Array(outputs)
  const rows = inputs + (inputs % 2)
  const columns = new Float32Array(strip * rows)
  const best = new Int8Array(strip * rows)
  const trial = new Int8Array(rows)
  for (let first = 0; first < outputs; first += strip) {
    const width = Math.min(strip, outputs - first)
    for (let k = 0; k < inputs; k++) for (let j = 0, i = k * outputs + first; j < width; j++, i++) columns[j * rows + k] = weights[i]
    for (let j = 0; j < width; j++) {
      const place = [j * rows, (j + 1) * rows]
      scale[first + j] = searchColumn(columns.subarray(...place), best.subarray(...place), trial)
    }
    for (let k = 0; k < inputs; k++) for (let j = 0, i = k * outputs + first; j < width; j++, i++) codes[i] = best[j * rows + k]
  }
  return { codes, scale }
}

/** The scale with the least squared error, and its codes into `best`. */
function searchColumn(column: Float32Array, best: Int8Array, trial: Int8Array): number {
  let largest = 0
  for (let k = 0; k < column.length; k++) largest = Math.max(largest, Math.abs(column[k]))
  let least = Number.POSITIVE_INFINITY
  let scale = 1
  for (const factor of growth) {
    const candidate = Math.fround((factor * largest) / largestCode) || 1
    const { error, shaved } = quantizeColumn(column, candidate, trial, least)
    if (error < least) {
      least = error
      scale = candidate
      best.set(trial)
    }
    if (!shaved) break
  }
  return scale
}

/** Codes of a column into `codes`; returns the squared error, as far as it is below a limit, and whether a pair had too much. */
function quantizeColumn(column: Float32Array, scale: number, codes: Int8Array, limit: number): { error: number; shaved: boolean } {
  const inverse = 1 / scale
  let shaved = false
  let error = 0
  for (let k = 0; k < column.length; k += 2) {
    const x = column[k]
    const y = column[k + 1]
    let a = clamp(roundSmall(x * inverse))
    let b = clamp(roundSmall(y * inverse))
    // Only codes of one sign can have too much.
    const excess = Math.abs(a + b) - largestPair
    if (excess > 0) {
      shaved = true
      const half = excess >> 1
      a -= a > 0 ? half : -half
      b -= b > 0 ? excess - half : half - excess
    }
    codes[k] = a
    codes[k + 1] = b
    const lostA = a * scale - x
    const lostB = b * scale - y
    error += lostA * lostA + lostB * lostB
    if (shaved && error >= limit) break
  }
  return { error, shaved }
}

function clamp(code: number): number {
  return code > largestCode ? largestCode : code < -largestCode ? -largestCode : code
}
