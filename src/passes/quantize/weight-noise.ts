import type { OutputSample } from './output-error.js'

/** Largest code of a weight. */
const largestCode = 127

/**
 * What rounding the weights adds to the error that {@link OutputError.measure} gives, in the same unit: a code is off by
 * a uniform error of one step at most, so output n gets scale_n^2 / 12 times the squared length of its scaled input.
 *
 * @param weights [inputs, outputs] each
 */
export function weightNoise(
  { rows, inputs, rowWeights, combinations }: OutputSample,
  weights: readonly Float32Array[],
  factors: Float32Array | null,
): number {
  const inverse = Float32Array.from({ length: inputs }, (_, k) => 1 / (factors?.[k] ?? 1))
  const variance = weights.reduce((sum, weight) => sum + scaleSquares(weight, inverse) / 12, 0)
  const length = channelSquares(rows, rowWeights.data as Float32Array).reduce((sum, squares, k) => sum + squares / inverse[k] ** 2, 0)
  return variance * length * combinations
}

/** Sum over rows of the squares of each channel, rows weighted. */
function channelSquares(rows: Float32Array, rowWeights: Float32Array): Float64Array {
  const squares = new Float64Array(rows.length / rowWeights.length)
  for (let row = 0, i = 0; row < rowWeights.length; row++)
    for (let k = 0; k < squares.length; k++, i++) squares[k] += rows[i] * rows[i] * rowWeights[row]
  return squares
}

/** Sum over outputs of their squared scales, when the rows of the weight are multiplied by `inverse`. */
function scaleSquares(weight: Float32Array, inverse: Float32Array): number {
  const outputs = weight.length / inverse.length
  const largest = new Float32Array(outputs)
  for (let k = 0, i = 0; k < inverse.length; k++)
    for (let n = 0; n < outputs; n++, i++) {
      const magnitude = Math.abs(weight[i]) * inverse[k]
      if (magnitude > largest[n]) largest[n] = magnitude
    }
  return largest.reduce((sum, max) => sum + (max / largestCode) ** 2, 0)
}
