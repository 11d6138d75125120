import { badInput } from '../base/errors.js'

/**
 * How often numbers fell into bins of equal width, gathered while they stream by. The width is a power of two and bin
 * edges are its multiples: a growing range doubles the width by adding neighbouring bins, so counts stay exact and
 * histograms gathered apart can be merged without loss.
 */
export interface Histogram {
  /** Smallest and largest number seen; Infinity and -Infinity while empty. */
  readonly min: number
  readonly max: number
  /** Left edge of the first bin. */
  readonly start: number
  /** Width of a bin; 0 while empty. */
  readonly width: number
  /** Bin i counts numbers from start + i * width on, below start + (i + 1) * width. */
  readonly counts: Float64Array
}

/** An interval of numbers that quantization keeps; what lies outside is clipped. */
export interface Range {
  readonly min: number
  readonly max: number
}

/**
 * A histogram that has seen nothing.
 *
 * @param bins number of bins; at least half of them are in use once numbers differ
 * @example
 * observe(emptyHistogram(), Float32Array.of(0, 1, 2)).max // 2
 */
export function emptyHistogram(bins = 4096): Histogram {
  return { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, start: 0, width: 0, counts: new Float64Array(bins) }
}

/**
 * The histogram after more numbers, in O(numbers); the given one must not be used any more, since its counts are reused.
 * NaN and infinities throw `bad-input`.
 *
 * @example
 * let histogram = emptyHistogram()
 * for (const batch of batches) histogram = observe(histogram, batch)
 */
export function observe(histogram: Histogram, values: Float32Array): Histogram {
  if (!values.length) return histogram
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  let notFinite = 0
  for (let i = 0; i < values.length; i++) {
    const v = values[i]
    if (v < min) min = v
    if (v > max) max = v
    notFinite += v - v
  }
  if (notFinite !== 0) throw badInput(`observed number ${values.findIndex((v) => !Number.isFinite(v))} is not finite`)
  const grown = rescale(histogram, { min, max })
  const { start, width, counts } = grown
  // Powers of two: both products are exact.
  const inverse = 1 / width
  const first = start * inverse
  for (let i = 0; i < values.length; i++) counts[Math.floor(values[i] * inverse) - first]++
  return grown
}

/**
 * The histogram with bins wide enough for a range too; itself, counts included, where it already is. The range counts as
 * seen (min and max are extended), but nothing is counted.
 */
export function rescale(histogram: Histogram, range: Range): Histogram {
  const min = Math.min(histogram.min, range.min)
  const max = Math.max(histogram.max, range.max)
  const bins = histogram.counts.length
  const width = binWidth(min, max, bins, histogram.width)
  // A window that already holds the range stays where it is.
  if (width === histogram.width && min >= histogram.start && max < histogram.start + bins * width) return { ...histogram, min, max }
  const first = Math.floor(min / width)
  const counts = new Float64Array(bins)
  addCounts(histogram, counts, first, width)
  return { min, max, start: first * width, width, counts }
}

/**
 * All numbers of two histograms of equally many bins in one, exactly.
 *
 * @example
 * merge(observe(emptyHistogram(), a), observe(emptyHistogram(), b)) // as if both had been seen by one
 */
export function merge(a: Histogram, b: Histogram): Histogram {
  if (a.counts.length !== b.counts.length) throw badInput(`histograms of ${a.counts.length} and ${b.counts.length} bins do not merge`)
  if (b.width === 0) return a
  if (a.width === 0) return b
  const min = Math.min(a.min, b.min)
  const max = Math.max(a.max, b.max)
  const width = binWidth(min, max, a.counts.length, Math.max(a.width, b.width))
  const first = Math.floor(min / width)
  const counts = new Float64Array(a.counts.length)
  addCounts(a, counts, first, width)
  addCounts(b, counts, first, width)
  return { min, max, start: first * width, width, counts }
}

/** How many numbers a histogram has seen. */
export function totalOf(histogram: Histogram): number {
  let total = 0
  for (let i = 0; i < histogram.counts.length; i++) total += histogram.counts[i]
  return total
}

/** The least power of two, not below `least`, with which `bins` aligned bins hold a range. */
function binWidth(min: number, max: number, bins: number, least: number): number {
  // Numbers that are all alike get bins fine enough to tell float32 neighbours apart.
  const spread = Math.max(max - min, Math.max(Math.abs(min), Math.abs(max)) * 2 ** -22, 2 ** -126)
  let width = Math.max(least, 2 ** Math.floor(Math.log2(spread / bins)))
  while (Math.floor(max / width) - Math.floor(min / width) >= bins) width *= 2
  return width
}

/** Adds counts to bins of a width at least as large, whose first one has index `first` counted from 0. */
function addCounts(from: Histogram, counts: Float64Array, first: number, width: number): void {
  if (from.width === 0) return
  const factor = width / from.width
  const offset = Math.round(from.start / from.width)
  for (let i = 0; i < from.counts.length; i++) if (from.counts[i]) counts[Math.floor((offset + i) / factor) - first] += from.counts[i]
}
