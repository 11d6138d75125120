import { badInput } from '../base/errors.js'
import type { Random } from '../base/random.js'
import { quantile } from '../numbers/metrics.js'

/**
 * Ranks from 1; equal values share the mean of their ranks.
 *
 * @example
 * ranks([10, 30, 10]) // [1.5, 3, 1.5]
 */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, index) => index).sort((a, b) => values[a] - values[b])
  const result = new Float64Array(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start + 1
    while (end < order.length && values[order[end]] === values[order[start]]) end++
    for (let i = start; i < end; i++) result[order[i]] = (start + 1 + end) / 2
    start = end
  }
  return result
}

/**
 * Pearson's correlation, -1 to 1; NaN where one side does not vary.
 *
 * @throws TinsmithError `bad-input` when the sides differ in length
 */
export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkLengths(a, b)
  const [meanA, meanB] = [mean(a), mean(b)]
  let [product, squaresA, squaresB] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] - meanA, b[i] - meanB]
    product += x * y
    squaresA += x * x
    squaresB += y * y
  }
  return product / Math.sqrt(squaresA) / Math.sqrt(squaresB)
}

/** Spearman's rank correlation, -1 to 1: Pearson's of the ranks, ties sharing theirs. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(ranks(a), ranks(b))
}

/** The arithmetic mean; NaN of nothing. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]
  return sum / values.length
}

/** The share of places where both agree, 0 to 1. */
export function accuracy<T>(predicted: readonly T[], expected: readonly T[]): number {
  checkLengths(predicted, expected)
  return predicted.filter((label, i) => label === expected[i]).length / expected.length
}

/**
 * F1 of each class, averaged over the classes that are expected or predicted, 0 to 1.
 *
 * @example
 * macroF1(['a', 'a', 'b'], ['a', 'b', 'b']) // 2 / 3
 */
export function macroF1<T>(predicted: readonly T[], expected: readonly T[]): number {
  checkLengths(predicted, expected)
  const classes = [...new Set([...expected, ...predicted])]
  return mean(
    classes.map((label) => {
      const both = expected.filter((other, i) => other === label && predicted[i] === label).length
      return f1(both, predicted.filter((other) => other === label).length, expected.filter((other) => other === label).length)
    }),
  )
}

/** The harmonic mean of precision (right / predicted) and recall (right / expected); 0 where nothing is right. */
export function f1(right: number, predicted: number, expected: number): number {
  return right ? (2 * right) / (predicted + expected) : 0
}

/** The most frequent value, the first of equals, and its share. */
export function majority<T>(values: readonly T[]): { value: T; share: number } {
  const counts = new Map<T, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  const [value, count] = [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))
  return { value, share: count / values.length }
}

export interface BootstrapOptions {
  readonly random: Random
  /** Resamplings. Default 1000. */
  readonly repeats?: number
  /** Share of resampled statistics inside the interval. Default 0.95. */
  readonly level?: number
}

/**
 * A percentile interval of a statistic under resampling with replacement (Efron, 1979).
 *
 * @param count number of samples
 * @param statistic from the indexes of the drawn samples
 * @example
 * bootstrapInterval(values.length, (drawn) => mean(drawn.map((i) => values[i])), { random: new Random(0) })
 */
export function bootstrapInterval(
  count: number,
  statistic: (drawn: readonly number[]) => number,
  { random, repeats = 1000, level = 0.95 }: BootstrapOptions,
): [number, number] {
  const values = Array.from({ length: repeats }, () => statistic(Array.from({ length: count }, () => random.integer(count))))
  return [quantile(values, (1 - level) / 2), quantile(values, (1 + level) / 2)]
}

function checkLengths(a: ArrayLike<unknown>, b: ArrayLike<unknown>): void {
  if (a.length !== b.length) throw badInput(`${a.length} and ${b.length} values cannot be compared`)
}
