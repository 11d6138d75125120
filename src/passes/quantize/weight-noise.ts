import type { OutputSample } from './output-error.js'

/** Largest code of a weight. */
const largestCode = 127

/**
 * What rounding the weights adds to the error that {@link OutputError.measure} gives, in the same unit: a code is off by
 * a uniform error of one step at most, so output n gets scale_n^2 / 12 times the squared length of its scaled input.
 */
export class WeightNoise {
  readonly #weights: readonly Float32Array[]
  /** Largest magnitude of each output, for each weight. */
  readonly #largest: readonly Float32Array[]
  /** Sum over the sample's rows of the squares of each channel, rows weighted. */
  readonly #squares: Float64Array
  readonly #combinations: number

  /** @param weights [inputs, outputs] each */
  constructor({ rows, inputs, rowWeights, combinations }: OutputSample, weights: readonly Float32Array[]) {
    this.#weights = weights
    this.#largest = weights.map((weight) => largestOfColumns(weight, weight.length / inputs))
    this.#squares = channelSquares(rows, rowWeights.data as Float32Array)
    this.#combinations = combinations
  }

  /** @param factors of the inputs, at most 1; the weights are divided by them */
  of(factors: Float32Array | null): number {
    const variance = this.#weights.reduce((sum, weight, i) => sum + scaleSquares(weight, this.#largest[i], factors) / 12, 0)
    const length = this.#squares.reduce((sum, squares, k) => sum + squares * (factors?.[k] ?? 1) ** 2, 0)
    return variance * length * this.#combinations
  }
}

function largestOfColumns(weight: Float32Array, columns: number): Float32Array {
  const largest = new Float32Array(columns)
  for (let i = 0; i < weight.length; )
    for (let n = 0; n < columns; n++, i++) {
      const magnitude = Math.abs(weight[i])
      if (magnitude > largest[n]) largest[n] = magnitude
    }
  return largest
}

function channelSquares(rows: Float32Array, rowWeights: Float32Array): Float64Array {
  const squares = new Float64Array(rows.length / rowWeights.length)
  for (let row = 0, i = 0; row < rowWeights.length; row++) {
    const weight = rowWeights[row]
    for (let k = 0; k < squares.length; k++, i++) squares[k] += rows[i] * rows[i] * weight
  }
  return squares
}

/** Sum over outputs of their squared scales, when rows of the weight are divided by factors: only those below 1 matter. */
function scaleSquares(weight: Float32Array, largest: Float32Array, factors: Float32Array | null): number {
  const outputs = largest.length
  const grown = largest.slice()
  factors?.forEach((factor, k) => {
    if (factor === 1) return
    for (let n = 0, i = k * outputs; n < outputs; n++, i++) {
      const magnitude = Math.abs(weight[i]) / factor
      if (magnitude > grown[n]) grown[n] = magnitude
    }
  })
  return grown.reduce((sum, max) => sum + (max / largestCode) ** 2, 0)
}
