import { badInput } from '../base/errors.js'
import { type Histogram, type Range, totalOf } from './histogram.js'
import { affineFromRange, type IntegerGrid, symmetricFromMax } from './quantizer.js'
import { roundHalfEven } from './rounding.js'

/**
 * The whole range that was seen.
 *
 * @param histogram not empty, else `bad-input`
 * @example
 * rangeMinMax(observe(emptyHistogram(), Float32Array.of(-1, 3))) // { min: -1, max: 3 }
 */
export function rangeMinMax(histogram: Histogram): Range {
  checkSeen(histogram)
  return { min: histogram.min, max: histogram.max }
}

/**
 * The range of the middle `percentage` of all numbers: the same share is cut at both ends. Within a bin numbers count as
 * evenly spread, so the ends are exact to a bin's width.
 *
 * Source: ONNX Runtime's percentile calibration (symmetric: false).
 *
 * @param percentage above 0, up to 100, which gives the whole range
 * @example
 * rangePercentile(histogram, 99.99) // cuts 0.005 % at each end
 */
export function rangePercentile(histogram: Histogram, percentage: number): Range {
  checkSeen(histogram)
  if (!(percentage > 0 && percentage <= 100)) throw badInput(`a percentage of ${percentage} is not above 0 and at most 100`)
  if (percentage === 100) return rangeMinMax(histogram)
  const cut = ((100 - percentage) / 200) * totalOf(histogram)
  const { counts, start, width, min, max } = histogram
  let low = 0
  let below = 0
  while (below + counts[low] <= cut) below += counts[low++]
  let high = counts.length - 1
  let above = 0
  while (above + counts[high] <= cut) above += counts[high--]
  return {
    min: Math.max(min, start + width * (low + (cut - below) / counts[low])),
    max: Math.min(max, start + width * (high + 1 - (cut - above) / counts[high])),
  }
}

export interface RangeOptions {
  /** Look for a range around 0 with equal sides, for symmetric grids. */
  symmetric?: boolean
}

/**
 * The range with the least mean squared error after quantization to a grid with the rounding and clipping of `quantize`,
 * each bin's numbers taken at its middle. A geometric grid over both ends, then steps that halve; the whole range is
 * among the candidates, so the result is never worse (on the histogram).
 *
 * @example
 * const { min, max } = rangeMse(histogram, integerGrid('uint8'))
 * affineFromRange(min, max, integerGrid('uint8'))
 */
export function rangeMse(histogram: Histogram, grid: IntegerGrid, options: RangeOptions = {}): Range {
  checkSeen(histogram)
  const bins = occupiedBins(histogram)
  return shrink(histogram, options.symmetric ?? false, 24, (range) => histogramError(bins, range, grid, options.symmetric ?? false))
}

/**
 * Mean squared error of a histogram's numbers when a range is mapped onto a grid; what `rangeMse` minimizes.
 */
export function rangeError(histogram: Histogram, range: Range, grid: IntegerGrid, options: RangeOptions = {}): number {
  return histogramError(occupiedBins(histogram), range, grid, options.symmetric ?? false) / totalOf(histogram)
}

/**
 * The range that loses the least information: the smallest Kullback-Leibler divergence between the clipped
 * distribution (what is cut is added to the ends) and the same after merging its bins into as many levels as the grid has.
 * Both ends shrink together. Good for distributions with long thin tails; where the tail carries the meaning (special
 * tokens' outliers) it clips too much, so compare with `rangeMse`.
 *
 * Source: Migacz, 8-bit inference with TensorRT, 2017; smoothed by 1e-4 of a uniform distribution over occupied bins.
 *
 * @example
 * rangeEntropy(histogram, integerGrid('int8'), { symmetric: true })
 */
export function rangeEntropy(histogram: Histogram, grid: IntegerGrid, options: RangeOptions = {}): Range {
  checkSeen(histogram)
  const levels = grid.max - grid.min + 1
  const { start, width, counts } = histogram
  const whole = wholeRange(histogram, options.symmetric ?? false)
  let best = whole
  let least = Number.POSITIVE_INFINITY
  for (let step = 0; step < 128; step++) {
    const factor = 1 - step / 128
    const range = { min: whole.min * factor, max: whole.max * factor }
    const low = Math.floor((range.min - start) / width)
    const high = Math.ceil((range.max - start) / width)
    if (high - low < levels) break
    const divergence = clippingDivergence(counts, low, high, levels)
    if (divergence < least) {
      least = divergence
      best = range
    }
  }
  return best
}

/** Divergence of a window of bins from itself after quantization; bins beyond the window are clipped into its ends. */
function clippingDivergence(counts: Float64Array, low: number, high: number, levels: number): number {
  const bins = high - low
  const reference = new Float64Array(bins)
  const inside = new Float64Array(bins)
  for (let i = 0; i < counts.length; i++) {
    if (!counts[i]) continue
    const at = Math.min(Math.max(i - low, 0), bins - 1)
    reference[at] += counts[i]
    if (i >= low && i < high) inside[at] = counts[i]
  }
  let total = 0
  let occupied = 0
  let kept = 0
  for (let i = 0; i < bins; i++) {
    total += reference[i]
    kept += inside[i]
    if (reference[i]) occupied++
  }
  if (!kept) return Number.POSITIVE_INFINITY
  const smoothing = 1e-4
  let divergence = 0
  for (let level = 0; level < levels; level++) {
    const from = Math.round((level * bins) / levels)
    const to = Math.round(((level + 1) * bins) / levels)
    let mass = 0
    let places = 0
    for (let i = from; i < to; i++) {
      mass += inside[i]
      if (reference[i]) places++
    }
    if (!places) continue
    const q = ((1 - smoothing) * mass) / (places * kept) + smoothing / occupied
    for (let i = from; i < to; i++) if (reference[i]) divergence += (reference[i] / total) * Math.log(reference[i] / total / q)
  }
  return divergence
}

interface Bins {
  readonly centers: Float64Array
  readonly counts: Float64Array
}

/** Middles and counts of the bins that are not empty; middles stay within what was seen. */
function occupiedBins({ start, width, counts, min, max }: Histogram): Bins {
  const occupied = counts.reduce((sum, count) => sum + (count ? 1 : 0), 0)
  const bins = { centers: new Float64Array(occupied), counts: new Float64Array(occupied) }
  for (let i = 0, j = 0; i < counts.length; i++)
    if (counts[i]) {
      bins.centers[j] = Math.min(Math.max(start + (i + 0.5) * width, min), max)
      bins.counts[j++] = counts[i]
    }
  return bins
}

function histogramError({ centers, counts }: Bins, range: Range, grid: IntegerGrid, symmetric: boolean): number {
  const { scale, zeroPoint } = symmetric
    ? symmetricFromMax(Math.max(-range.min, range.max), grid)
    : affineFromRange(range.min, range.max, grid)
  const low = grid.min - zeroPoint
  const high = grid.max - zeroPoint
  let error = 0
  for (let i = 0; i < centers.length; i++) {
    const d = centers[i] - Math.min(Math.max(roundHalfEven(centers[i] / scale), low), high) * scale
    error += counts[i] * d * d
  }
  return error
}

/** The best of ranges that shrink from the whole one: both ends by geometric factors, then each end by halving steps. */
function shrink(histogram: Histogram, symmetric: boolean, steps: number, cost: (range: Range) => number): Range {
  const whole = wholeRange(histogram, symmetric)
  const scaled = (low: number, high: number): Range => ({ min: whole.min * low, max: whole.max * high })
  let best = [1, 1]
  let least = cost(whole)
  const consider = (low: number, high: number) => {
    const found = cost(scaled(low, high))
    if (found < least) {
      least = found
      best = [low, high]
      return true
    }
    return false
  }
  const ratio = 0.05 ** (1 / steps)
  const oneSided = whole.min === 0 || whole.max === 0
  for (let i = 0; i <= steps; i++) {
    if (symmetric || oneSided) consider(ratio ** i, ratio ** i)
    else for (let j = 0; j <= steps; j++) consider(ratio ** i, ratio ** j)
  }
  for (let step = (1 - ratio) / 2; step > 1e-3; step /= 2) {
    let moved = true
    while (moved) {
      moved = false
      for (const factor of [1 - step, 1 / (1 - step)]) {
        const [low, high] = best.map((end) => Math.min(1, end * factor))
        if (consider(low, high)) moved = true
        else if (!symmetric && !oneSided) moved = consider(low, best[1]) || consider(best[0], high) || moved
      }
    }
  }
  return scaled(best[0], best[1])
}

/** The range that was seen with 0, or the interval around 0 that holds it. */
function wholeRange({ min, max }: Histogram, symmetric: boolean): Range {
  if (!symmetric) return { min: Math.min(min, 0), max: Math.max(max, 0) }
  const absmax = Math.max(-min, max, 0)
  return { min: -absmax, max: absmax }
}

function checkSeen(histogram: Histogram): void {
  if (histogram.width === 0) throw badInput('the histogram has seen no numbers', { hint: 'Check that calibration reached this tensor.' })
}
