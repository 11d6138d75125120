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
  const largest = new Float32Array(outputs)
  for (let i = 0, n = 0; i < weights.length; i++, n = n + 1 === outputs ? 0 : n + 1) largest[n] = Math.max(largest[n], Math.abs(weights[i]))
  const codes = new Int8Array(weights.length)
  const scale = new Float32Array(outputs)
  const column = new Float64Array(inputs)
  let [best, trial] = [new Int8Array(inputs), new Int8Array(inputs)]
  for (let n = 0; n < outputs; n++) {
    for (let k = 0; k < inputs; k++) column[k] = weights[k * outputs + n]
    let least = Number.POSITIVE_INFINITY
    for (const factor of growth) {
      const candidate = Math.fround((factor * largest[n]) / largestCode) || 1
      const { error, shaved } = quantizeColumn(column, candidate, trial)
      if (error < least) {
        least = error
        scale[n] = candidate
        ;[best, trial] = [trial, best]
      }
      if (!shaved) break
    }
    for (let k = 0; k < inputs; k++) codes[k * outputs + n] = best[k]
  }
  return { codes, scale }
}

/** Codes of a column into `codes`; returns the squared error and whether a pair had too much. */
function quantizeColumn(column: Float64Array, scale: number, codes: Int8Array): { error: number; shaved: boolean } {
  const inverse = 1 / scale
  let shaved = false
  let error = 0
  for (let k = 0; k < column.length; k += 2) {
    const x = column[k]
    const y = k + 1 < column.length ? column[k + 1] : 0
    let a = clamp(roundSmall(x * inverse))
    let b = clamp(roundSmall(y * inverse))
    // Only codes of one sign can have too much.
    const excess = Math.abs(a + b) - largestPair
    if (excess > 0) {
      shaved = true
      const half = Math.floor(excess / 2)
      a -= Math.sign(a) * half
      b -= Math.sign(b) * (excess - half)
    }
    codes[k] = a
    codes[k + 1] = b
    const [lostA, lostB] = [a * scale - x, b * scale - y]
    error += lostA * lostA + lostB * lostB
  }
  return { error, shaved }
}

function clamp(code: number): number {
  return code > largestCode ? largestCode : code < -largestCode ? -largestCode : code
}
