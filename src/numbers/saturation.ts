import { badInput } from '../base/errors.js'

/**
 * Products of unsigned activations and signed weights as x86 processors without VNNI compute them: vpmaddubsw adds the
 * products of neighbouring k (0 and 1, 2 and 3, ...) in 16 bits and saturates there; sums of those pairs are exact.
 * The zero point of the activations is taken off afterwards, as runtimes do it: subtract zeroPoint * (sum of a column).
 *
 * Source: Intel's vpmaddubsw and vpmaddwd; ONNX Runtime issues 6004 and 14642.
 *
 * @param activations codes [rows, depth]
 * @param weights codes [depth, columns]
 * @returns int32 sums [rows, columns]
 * @example
 * saturatingProduct(Uint8Array.of(255, 255), Int8Array.of(127, 127), 2, 1) // [32767], exact would be 64770
 */
export function saturatingProduct(activations: Uint8Array, weights: Int8Array, depth: number, columns: number): Int32Array {
  const rows = rowsOf(activations, weights, depth, columns)
  const sums = new Int32Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    const into = row * columns
    for (let k = 0; k < depth; k += 2) {
      const a = activations[row * depth + k]
      const b = k + 1 < depth ? activations[row * depth + k + 1] : 0
      const first = k * columns
      const second = k + 1 < depth ? first + columns : first
      for (let n = 0; n < columns; n++) {
        const pair = a * weights[first + n] + b * weights[second + n]
        sums[into + n] += Math.min(Math.max(pair, -32768), 32767)
      }
    }
  }
  return sums
}

/**
 * The exact int32 products of the same codes, which processors with VNNI, and WebAssembly, compute.
 *
 * @example
 * exactProduct(Uint8Array.of(255, 255), Int8Array.of(127, 127), 2, 1) // [64770]
 */
export function exactProduct(activations: Uint8Array, weights: Int8Array, depth: number, columns: number): Int32Array {
  const rows = rowsOf(activations, weights, depth, columns)
  const sums = new Int32Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    const into = row * columns
    for (let k = 0; k < depth; k++) {
      const a = activations[row * depth + k]
      const from = k * columns
      if (a) for (let n = 0; n < columns; n++) sums[into + n] += a * weights[from + n]
    }
  }
  return sums
}

/** Pairs of products that 16 bits cannot hold. */
export interface SaturationRisk {
  /** Pairs of weights that saturate for some activations. */
  readonly pairs: number
  /** Their share of all pairs. */
  readonly share: number
  /** Columns with at least one such pair. */
  readonly columns: number
}

/**
 * How many pairs of weights could saturate for the worst activations. None can where all weights are within -64..64.
 *
 * @param weights codes [depth, columns]
 * @param largest largest activation code: 255, or 127 for 7-bit activations
 * @example
 * saturationRisk(Int8Array.of(127, 127), 2, 1).pairs // 1
 */
export function saturationRisk(weights: Int8Array, depth: number, columns: number, largest = 255): SaturationRisk {
  if (weights.length !== depth * columns) throw badInput(`${weights.length} weights are no matrix [${depth}, ${columns}]`)
  const risky = new Uint8Array(columns)
  let pairs = 0
  for (let k = 0; k < depth; k += 2) {
    const first = k * columns
    for (let n = 0; n < columns; n++) {
      const a = weights[first + n]
      const b = k + 1 < depth ? weights[first + columns + n] : 0
      const high = largest * (Math.max(a, 0) + Math.max(b, 0))
      const low = largest * (Math.min(a, 0) + Math.min(b, 0))
      if (high > 32767 || low < -32768) {
        pairs++
        risky[n] = 1
      }
    }
  }
  const all = Math.ceil(depth / 2) * columns
  return { pairs, share: all ? pairs / all : 0, columns: risky.reduce((sum, bit) => sum + bit, 0) }
}

/** What saturation did to given activations. */
export interface SaturationHarm {
  /** Pairs of products that saturated. */
  readonly pairs: number
  /** Their share of all pairs. */
  readonly share: number
  /** Results [rows, columns] that differ. */
  readonly results: number
  /** Largest difference of a result, in units of the accumulator. */
  readonly most: number
  /** Root mean square of the differences over that of the exact results with the zero point taken off. */
  readonly relative: number
}

/**
 * Measures what saturation does to real activations: run it on calibration data to decide on 7-bit weights.
 *
 * @param activations codes [rows, depth]
 * @param weights codes [depth, columns]
 * @param zeroPoint code of 0 among the activations
 * @example
 * saturationHarm(Uint8Array.of(255, 255), Int8Array.of(127, 127), 2, 1).most // 32003
 */
export function saturationHarm(activations: Uint8Array, weights: Int8Array, depth: number, columns: number, zeroPoint = 0): SaturationHarm {
  const exact = exactProduct(activations, weights, depth, columns)
  const saturated = saturatingProduct(activations, weights, depth, columns)
  const offsets = new Float64Array(columns)
  for (let i = 0; i < weights.length; i++) offsets[i % columns] += zeroPoint * weights[i]
  let results = 0
  let most = 0
  let noise = 0
  let signal = 0
  for (let i = 0; i < exact.length; i++) {
    const d = exact[i] - saturated[i]
    const value = exact[i] - offsets[i % columns]
    if (d) results++
    most = Math.max(most, Math.abs(d))
    noise += d * d
    signal += value * value
  }
  const pairs = countSaturated(activations, weights, depth, columns)
  const all = (activations.length / (depth || 1)) * Math.ceil(depth / 2) * columns
  return { pairs, share: all ? pairs / all : 0, results, most, relative: noise ? Math.sqrt(noise / signal) : 0 }
}

function countSaturated(activations: Uint8Array, weights: Int8Array, depth: number, columns: number): number {
  let pairs = 0
  // A single product (255 * 128) always fits, so an odd last one cannot saturate.
  for (let row = 0; row < activations.length; row += depth)
    for (let k = 0; k + 1 < depth; k += 2) {
      const a = activations[row + k]
      const b = activations[row + k + 1]
      const first = k * columns
      for (let n = 0; n < columns; n++) {
        const pair = a * weights[first + n] + b * weights[first + columns + n]
        if (pair > 32767 || pair < -32768) pairs++
      }
    }
  return pairs
}

function rowsOf(activations: Uint8Array, weights: Int8Array, depth: number, columns: number): number {
  if (weights.length !== depth * columns) throw badInput(`${weights.length} weights are no matrix [${depth}, ${columns}]`)
  if (depth === 0 || activations.length % depth) throw badInput(`${activations.length} activations are no rows of ${depth}`)
  return activations.length / depth
}
