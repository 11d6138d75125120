import type { Random } from '../base/random.js'
import type { NDArray } from '../numbers/dtype.js'
import { observe as addToHistogram, emptyHistogram, type Histogram } from '../numbers/histogram.js'

/** Records something about a value while samples stream through the model; keeps sums and counts, never all samples. */
export interface Observer {
  /**
   * @param array float32, channels last
   * @param special 1 for each row of the array that belongs to a special token
   */
  observe(array: NDArray, special: Uint8Array): void
}

/** Smallest and largest element. */
export class MinMaxObserver implements Observer {
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  observe(array: NDArray): void {
    const data = array.data as Float32Array
    for (let i = 0; i < data.length; i++) {
      if (data[i] < this.min) this.min = data[i]
      if (data[i] > this.max) this.max = data[i]
    }
  }
}

/** Counts in bins whose width doubles as the range grows. */
export class HistogramObserver implements Observer {
  histogram: Histogram

  constructor(bins = 4096) {
    this.histogram = emptyHistogram(bins)
  }

  observe(array: NDArray): void {
    this.histogram = addToHistogram(this.histogram, array.data as Float32Array)
  }
}

/** Smallest and largest element of each channel. */
export class ChannelRangeObserver implements Observer {
  readonly channels: number
  readonly min: Float32Array
  readonly max: Float32Array

  constructor(channels: number) {
    this.channels = channels
    this.min = new Float32Array(channels).fill(Number.POSITIVE_INFINITY)
    this.max = new Float32Array(channels).fill(Number.NEGATIVE_INFINITY)
  }

  /** Four rows at a time, so that what was found so far is read and written a quarter as often. */
  observe(array: NDArray): void {
    const data = array.data as Float32Array
    const { channels, min, max } = this
    const fours = data.length - (data.length % (4 * channels))
    for (let at = 0; at < fours; at += 4 * channels)
      for (let c = 0, i = at; c < channels; c++, i++) {
        const x0 = data[i]
        const x1 = data[i + channels]
        const x2 = data[i + 2 * channels]
        const x3 = data[i + 3 * channels]
        let low = min[c]
        let high = max[c]
        if (x0 < low) low = x0
        if (x0 > high) high = x0
        if (x1 < low) low = x1
        if (x1 > high) high = x1
        if (x2 < low) low = x2
        if (x2 > high) high = x2
        if (x3 < low) low = x3
        if (x3 > high) high = x3
        min[c] = low
        max[c] = high
      }
    for (let i = fours; i < data.length; i++) {
      const c = i % channels
      if (data[i] < min[c]) min[c] = data[i]
      if (data[i] > max[c]) max[c] = data[i]
    }
  }
}

/** Mean, variance, smallest and largest of each channel, in float64; special tokens count for the extremes only. */
export class MomentsObserver extends ChannelRangeObserver {
  count = 0
  readonly sum: Float64Array
  readonly sumOfSquares: Float64Array

  constructor(channels: number) {
    super(channels)
    this.sum = new Float64Array(channels)
    this.sumOfSquares = new Float64Array(channels)
  }

  override observe(array: NDArray, special?: Uint8Array): void {
    super.observe(array)
    const data = array.data as Float32Array
    const { channels, sum, sumOfSquares } = this
    for (let row = 0, at = 0; at < data.length; row++, at += channels) {
      if (special?.[row]) continue
      this.count++
      for (let c = 0; c < channels; c++) {
        const x = data[at + c]
        sum[c] += x
        sumOfSquares[c] += x * x
      }
    }
  }

  get mean(): Float64Array {
    return this.sum.map((s) => s / Math.max(this.count, 1))
  }

  get meanSquares(): Float64Array {
    return this.sumOfSquares.map((s) => s / Math.max(this.count, 1))
  }

  get variance(): Float64Array {
    const { mean } = this
    return this.meanSquares.map((square, c) => Math.max(0, square - mean[c] ** 2))
  }
}

/** A uniform sample of at most `limit` rows (reservoir sampling), for searches that need the numbers themselves. */
export class RowSampleObserver implements Observer {
  readonly channels: number
  readonly limit: number
  readonly #random: Random
  readonly #rows: Float32Array
  readonly #special: Uint8Array
  #seen = 0

  constructor(channels: number, limit: number, random: Random) {
    this.channels = channels
    this.limit = limit
    this.#random = random
    this.#rows = new Float32Array(channels * limit)
    this.#special = new Uint8Array(limit)
  }

  observe(array: NDArray, special: Uint8Array): void {
    const data = array.data as Float32Array
    const { channels, limit } = this
    for (let row = 0; row * channels < data.length; row++) {
      const place = this.#seen < limit ? this.#seen : this.#random.integer(this.#seen + 1)
      this.#seen++
      if (place >= limit) continue
      this.#rows.set(data.subarray(row * channels, (row + 1) * channels), place * channels)
      this.#special[place] = special[row] ?? 0
    }
  }

  /** Rows kept, [count, channels]. */
  get rows(): Float32Array {
    return this.#rows.subarray(0, this.count * this.channels)
  }

  /** 1 for each kept row of a special token. */
  get special(): Uint8Array {
    return this.#special.subarray(0, this.count)
  }

  get count(): number {
    return Math.min(this.#seen, this.limit)
  }
}

/** Several observers on one value. */
export class ObserverGroup<T extends Readonly<Record<string, Observer>>> implements Observer {
  readonly parts: T

  constructor(parts: T) {
    this.parts = parts
  }

  observe(array: NDArray, special: Uint8Array): void {
    for (const part of Object.values(this.parts)) part.observe(array, special)
  }
}
