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

/** Smaller floats have fewer digits, and codes could grow beyond the largest one. */
const smallestScale = 2 ** -126

/** Columns that are gathered together: rows lie side by side in memory. */
const strip = 16

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
  const columns = new Columns(inputs + (inputs % 2))
  for (let first = 0; first < outputs; first += strip) {
    const width = Math.min(strip, outputs - first)
    columns.gather(weights, inputs, outputs, first, width)
    for (let column = 0; column < width; column++) scale[first + column] = columns.search(column)
    columns.scatter(codes, inputs, outputs, first, width)
  }
  return { codes, scale }
}

/** A strip of columns, each with its rows side by side, and their codes. */
class Columns {
  readonly #rows: number
  readonly #weights: Float32Array
  readonly #codes: Int8Array
  /** Whether a pair of the last trial had too much. */
  #shaved = false

  /** @param rows even */
  constructor(rows: number) {
    this.#rows = rows
    this.#weights = new Float32Array(strip * rows)
    this.#codes = new Int8Array(strip * rows)
  }

  gather(matrix: Float32Array, inputs: number, outputs: number, first: number, width: number): void {
    const weights = this.#weights
    const rows = this.#rows
    for (let k = 0; k < inputs; k++) for (let j = 0, i = k * outputs + first; j < width; j++, i++) weights[j * rows + k] = matrix[i]
  }

  scatter(matrix: Int8Array, inputs: number, outputs: number, first: number, width: number): void {
    const codes = this.#codes
    const rows = this.#rows
    for (let k = 0; k < inputs; k++) for (let j = 0, i = k * outputs + first; j < width; j++, i++) matrix[i] = codes[j * rows + k]
  }

  /** Finds the scale of a column with the least squared error and makes its codes. */
  search(column: number): number {
    const largest = this.#largest(column)
    let least = Number.POSITIVE_INFINITY
    let scale = 1
    for (const factor of growth) {
      const candidate = scaleFor(factor * largest)
      const error = this.#squaredError(column, candidate, least)
      if (error < least) {
        least = error
        scale = candidate
      }
      if (!this.#shaved) break
    }
    this.#encode(column, scale)
    return scale
  }

  #largest(column: number): number {
    const weights = this.#weights
    let largest = 0
    for (let k = column * this.#rows, end = k + this.#rows; k < end; k++) {
      const magnitude = Math.abs(weights[k])
      if (magnitude > largest) largest = magnitude
    }
    return largest
  }

  /** The squared error of a column, as far as it is below a limit. */
  #squaredError(column: number, scale: number, limit: number): number {
    const weights = this.#weights
    const inverse = 1 / scale
    let shaved = false
    let error = 0
    for (let k = column * this.#rows, end = k + this.#rows; k < end; k += 2) {
      const x = weights[k]
      const y = weights[k + 1]
      let a = roundSmall(x * inverse)
      let b = roundSmall(y * inverse)
      const excess = excessOf(a + b)
      if (excess) {
        shaved = true
        const half = Math.trunc(excess / 2)
        a -= half
        b -= excess - half
      }
      const lostA = a * scale - x
      const lostB = b * scale - y
      error += lostA * lostA + lostB * lostB
      if (error >= limit && shaved) break
    }
    this.#shaved = shaved
    return error
  }

  #encode(column: number, scale: number): void {
    const weights = this.#weights
    const codes = this.#codes
    const inverse = 1 / scale
    for (let k = column * this.#rows, end = k + this.#rows; k < end; k += 2) {
      let a = roundSmall(weights[k] * inverse)
      let b = roundSmall(weights[k + 1] * inverse)
      const excess = excessOf(a + b)
      if (excess) {
        const half = Math.trunc(excess / 2)
        a -= half
        b -= excess - half
      }
      codes[k] = a
      codes[k + 1] = b
    }
  }
}

/** Of the largest code for a magnitude; 1 where that is next to nothing. */
function scaleFor(magnitude: number): number {
  const scale = Math.fround(magnitude / largestCode)
  return scale < smallestScale ? 1 : scale
}

/** What a pair of codes has too much, with its sign; only codes of one sign can. */
function excessOf(sum: number): number {
  return sum > largestPair ? sum - largestPair : sum < -largestPair ? sum + largestPair : 0
}
