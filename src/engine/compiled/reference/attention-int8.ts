import { roundHalfEven } from '../../../numbers/rounding.js'
import type { StepOf } from '../plan/steps.js'
import { chebyshevPolynomial } from '../polynomial.js'
import type { Past, Rows } from './arrays.js'
import { smallestScale } from './quantize.js'

const round = Math.fround

/** The largest magnitudes of codes, and the largest weight. Two products of a weight or of a query's code + 64 with codes fit in 16 bits. */
export const highestCode = { query: 63, key: 127, value: 127, weight: 127 } as const

/** How often powers are multiplied with themselves. */
export const squarings = 4

/** Exponents of an octave: the 2^16 that there are span 2^squarings octaves. */
export const exponentsPerOctave = 2 ** (16 - squarings)

/** Exponents for each unit of a score are so many at least: what no query may see then is far below what it sees. */
export const leastScoreFactor = 2 ** -13

/** 2^((x - 1) / 2) for x from -1 to 1 by powers of x, in units of 2^-15. */
export const powerCoefficients = chebyshevPolynomial((x) => 2 ** x, -1, 0, 3).map((c) => Math.round(c * 2 ** 15))

/** What is added to powers before they are rounded to weights, by key modulo 8, in units of 2^-15: evenly spread, and neighbours far apart. */
export const thresholds = [0, 4, 2, 6, 1, 5, 3, 7].map((place) => Math.round(((place + 0.5) / 8 - 0.5) * (2 ** 15 / highestCode.weight)))

/**
 * Attention of one sequence with products of integers, without a cache:
 *
 * - Keys and values become codes = round(x / scale) of [-127, 127] with a scale for each column of the sequence: its largest magnitude / 127.
 * - Queries, multiplied with the scales of keys, become codes of [-63, 63] with one scale for the sequence and head.
 * - Scores are sums of products of these codes. Those below the largest of a query, in units of 2^-12 octaves, become a power of two in
 *   fixed-point arithmetic of 16 bits, and that a weight of [0, 127]: the rounding goes up for a share of the keys, by their place, so that
 *   many small weights keep their sum.
 * - The output is the sum of products of weights and values' codes, times the values' scale, divided by the sum of the weights.
 *
 * Source: Kim et al., I-BERT (2021), section 3.5, for softmax in integers; ordered dither as in Bayer (1973).
 */
export function attendByCodes(
  step: StepOf<'attention'>,
  query: Rows<Float32Array>,
  key: Past,
  value: Past,
  first: number,
  count: number,
  output: Rows<Float32Array>,
): void {
  if (!count) return
  const { heads, keyValueHeads, causal, window = Number.POSITIVE_INFINITY } = step
  const [size, valueSize] = [step.query.columns / heads, step.value.columns / keyValueHeads]
  for (let head = 0; head < heads; head++) {
    const keyHead = Math.floor((head * keyValueHeads) / heads)
    const keys = codesOfColumns(matrixOf(key, 0, count, keyHead * size, size), highestCode.key)
    const values = codesOfColumns(matrixOf(value, 0, count, keyHead * valueSize, valueSize), highestCode.value)
    const queries = codesOfQueries(
      matrixOf(query, first, count, head * size, size),
      keys.scales,
      round(step.scale * Math.LOG2E * exponentsPerOctave),
    )
    for (let row = 0; row < count; row++) {
      const end = causal ? row + 1 : count
      const start = causal ? Math.max(0, end - window) : 0
      const scores = keys.codes.slice(start, end).map((codes) => dot(codes, queries.codes[row]))
      const weights = weightsOf(scores, queries.scoreFactor, start)
      const inverse = round(1 / weights.reduce((a, b) => a + b))
      for (let column = 0; column < valueSize; column++) {
        const sum = weights.reduce((total, weight, i) => total + weight * values.codes[start + i][column], 0)
        output.data[(first + row) * output.stride + head * valueSize + column] = round(round(sum) * inverse) * values.scales[column]
      }
    }
  }
}

function matrixOf(
  { data, stride }: Pick<Past, 'data' | 'stride'>,
  first: number,
  count: number,
  column: number,
  columns: number,
): Float32Array[] {
  return Array.from({ length: count }, (_, row) =>
    data.subarray((first + row) * stride + column, (first + row) * stride + column + columns),
  )
}

function largestOfColumns(rows: readonly Float32Array[]): Float32Array {
  return rows[0].map((_, column) => rows.reduce((most, row) => Math.max(most, Math.abs(row[column])), 0))
}

function codesOfColumns(
  rows: readonly Float32Array[],
  highest: number,
): { readonly codes: readonly number[][]; readonly scales: Float32Array } {
  const scales = largestOfColumns(rows).map((most) => Math.max(round(most / highest), smallestScale))
  return {
    scales,
    codes: codesBy(
      rows,
      scales.map((scale) => 1 / scale),
    ),
  }
}

/** Codes of queries, and the exponents for each unit of their scores. */
function codesOfQueries(
  rows: readonly Float32Array[],
  keyScales: Float32Array,
  unit: number,
): { readonly codes: readonly number[][]; readonly scoreFactor: number } {
  const factors = keyScales.map((scale) => scale * unit)
  const most = largestOfColumns(rows).reduce((all, value, column) => Math.max(all, round(value * factors[column])), 0)
  const scoreFactor = Math.max(round(most / highestCode.query), leastScoreFactor)
  const inverse = round(1 / scoreFactor)
  return {
    scoreFactor,
    codes: codesBy(
      rows,
      factors.map((factor) => factor * inverse),
    ),
  }
}

function codesBy(rows: readonly Float32Array[], multipliers: Float32Array): number[][] {
  return rows.map((row) => Array.from(row, (x, column) => roundHalfEven(round(x * multipliers[column]))))
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + x * b[i], 0)
}

/** Weights of keys from `start` on. */
function weightsOf(scores: readonly number[], scoreFactor: number, start: number): number[] {
  const highest = scores.reduce((a, b) => Math.max(a, b))
  const shift = round(round(highest * scoreFactor) - maxWord)
  return scores.map((score, i) => {
    const exponent = word(roundHalfEven(round(round(score * scoreFactor) - shift)))
    let power = powerCoefficients.reduceRight((sum, coefficient) => product(sum, exponent) + coefficient, 0)
    for (let i = 0; i < squarings; i++) power = product(power, power)
    return product(word(power + thresholds[(start + i) % thresholds.length]), highestCode.weight)
  })
}

const maxWord = 2 ** 15 - 1

function word(x: number): number {
  return Math.min(Math.max(x, -(2 ** 15)), maxWord)
}

/** Of two numbers in units of 2^-15, rounded. */
function product(a: number, b: number): number {
  return (a * b + 2 ** 14) >> 15
}
