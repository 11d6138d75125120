import { badInput } from '../base/errors.js'
import {
  affineFromRange,
  affineFromRangeFloat,
  type Group,
  groupAt,
  groupCount,
  groupRanges,
  type IntegerGrid,
  type Layout,
  middleOf,
  type QuantizationParameters,
  type ScaleAndZeroPoint,
  symmetricFromMax,
} from './quantizer.js'
import { roundSmall } from './rounding.js'

/** How much the error of an element counts: one weight, not negative, for each index along a dimension of the array. */
export interface Importance {
  /** Negative counts from the last dimension. For the weight of a linear: its input dimension. */
  readonly axis: number
  /** For example the mean squares of the inputs of a linear, which make the weighted error that of its output. */
  readonly values: ArrayLike<number>
}

export interface SymmetricSearchOptions {
  readonly importance?: Importance
  /**
   * Negative scales too: the grid's extra code below zero then serves whichever side has the larger number, as in GGUF's
   * Q4_0. For weight-only blocks; DequantizeLinear and MatMulNBits only multiply by it.
   */
  readonly negativeScale?: boolean
}

export interface AffineSearchOptions {
  readonly importance?: Importance
  /** Zero points are real numbers. */
  readonly floatZeroPoint?: boolean
}

/** Scales and zero points with the error that each group is left with. */
export interface SearchedParameters extends QuantizationParameters {
  /** Sum of squared differences of each group, times importance where given. */
  readonly error: Float64Array
}

/**
 * Symmetric scales with the least squared error: shrunken largest magnitudes (a geometric grid down to a tenth), the best of
 * them refined by turns of rounding and least squares (scale = sum x q / sum q q) until nothing improves. Errors are those of
 * `fakeQuantize`, and the result is never worse than `minMaxParameters`.
 *
 * Source: the MSE grid of weight quantizers (Nagel et al., A white paper on neural network quantization, 2021), refined by
 * Lloyd's alternation for uniform quantizers.
 *
 * @param x row-major numbers, finite, else `bad-input`
 * @param grid unsigned grids have their zero point in the middle
 * @example
 * searchSymmetric(weights, { shape: [3072, 768], axis: 0 }, integerGrid('int4')).scale // 3072 scales
 */
export function searchSymmetric(
  x: Float32Array,
  layout: Layout,
  grid: IntegerGrid,
  options: SymmetricSearchOptions = {},
): SearchedParameters {
  const zeroPoint = middleOf(grid)
  const above = grid.max - zeroPoint
  const below = zeroPoint - grid.min
  const factors = Array.from({ length: 32 }, (_, i) => 0.1 ** (i / 31))
  if (below > above) factors.push(above / below)
  const signs = options.negativeScale && below > above ? [1, -1] : [1]
  return searchGroups(x, layout, grid, false, options.importance, (block, min, max) => {
    const first = symmetricFromMax(Math.max(-min, max), grid)
    const search = new Search(block, first)
    for (const sign of signs) for (const factor of factors) search.consider({ scale: Math.fround(sign * factor * first.scale), zeroPoint })
    return search.refined((candidate) => {
      block.encode(candidate)
      return [{ scale: block.fitScale(zeroPoint), zeroPoint }]
    })
  })
}

/**
 * Scales and zero points with the least squared error: starts from cut ranges (each end by up to three tenths), the best of them
 * refined by turns of rounding and linear regression of the numbers on their codes. With integer zero points both neighbours
 * of the regression's are tried, each with its own best scale. Errors are those of `fakeQuantize`, and the result is never
 * worse than `minMaxParameters`.
 *
 * @param x row-major numbers, finite, else `bad-input`
 * @example
 * searchAffine(weights, { shape: [3072, 768], axis: 1, blockSize: 32 }, integerGrid('uint4'), { floatZeroPoint: true })
 */
export function searchAffine(x: Float32Array, layout: Layout, grid: IntegerGrid, options: AffineSearchOptions = {}): SearchedParameters {
  const real = options.floatZeroPoint ?? false
  const cuts = [0, 0.04, 0.1, 0.18, 0.3]
  const fromRange = real ? affineFromRangeFloat : affineFromRange
  return searchGroups(x, layout, grid, real, options.importance, (block, min, max) => {
    const search = new Search(block, fromRange(min, max, grid))
    const width = max - min
    for (const low of cuts)
      for (const high of cuts) if (low || high) search.consider(fromRange(min + low * width, max - high * width, grid))
    return search.refined((candidate) => {
      block.encode(candidate)
      const fit = block.fitLine()
      if (!fit) return []
      if (real) return [{ scale: fit.scale, zeroPoint: Math.fround(fit.zeroPoint) }]
      const lower = Math.min(Math.max(Math.floor(fit.zeroPoint), grid.min), grid.max - 1)
      return [lower, lower + 1].map((zeroPoint) => ({ scale: block.fitScale(zeroPoint), zeroPoint }))
    })
  })
}

interface Candidate extends ScaleAndZeroPoint {
  readonly error: number
}

/** The best of all candidates, and the few best to refine. */
class Search {
  readonly #block: Block
  readonly #kept: Candidate[]

  constructor(block: Block, first: ScaleAndZeroPoint) {
    this.#block = block
    this.#kept = [{ ...first, error: block.error(first, Number.POSITIVE_INFINITY) }]
  }

  /** Keeps a candidate if it is among the three best. */
  consider({ scale, zeroPoint }: ScaleAndZeroPoint): void {
    const kept = this.#kept
    const limit = kept.length < 3 ? Number.POSITIVE_INFINITY : kept[2].error
    const candidate = { scale, zeroPoint, error: this.#block.error({ scale, zeroPoint }, limit) }
    if (candidate.error >= limit) return
    kept.push(candidate)
    kept.sort((a, b) => a.error - b.error)
    if (kept.length > 3) kept.pop()
  }

  /** The best after fits: a few for every kept candidate, then for the best one until they help no more. */
  refined(fits: (candidate: Candidate) => ScaleAndZeroPoint[]): Candidate {
    const starts = this.#kept.map((candidate) => this.#improve(candidate, fits, 2))
    const best = starts.reduce((a, b) => (b.error < a.error ? b : a))
    return this.#improve(best, fits, 30)
  }

  #improve(candidate: Candidate, fits: (candidate: Candidate) => ScaleAndZeroPoint[], turns: number): Candidate {
    let current = candidate
    for (let turn = 0; turn < turns; turn++) {
      let next = current
      for (const fit of fits(current)) {
        if (!(Number.isFinite(fit.scale) && Number.isFinite(fit.zeroPoint)) || fit.scale === 0) continue
        const error = this.#block.error(fit, next.error)
        if (error < next.error) next = { ...fit, error }
      }
      const gain = current.error - next.error
      current = next
      if (gain <= 1e-6 * next.error) break
    }
    return current
  }
}

/** The numbers of one group, gathered, with their weights. */
class Block {
  readonly #values: Float32Array
  readonly #weights: Float64Array
  /** Codes less their zero point, of the candidate last looked at. */
  readonly #steps: Float32Array
  readonly #grid: IntegerGrid
  readonly #real: boolean
  #zeroPoint = 0
  length = 0

  constructor(capacity: number, grid: IntegerGrid, real: boolean) {
    this.#values = new Float32Array(capacity)
    this.#weights = new Float64Array(capacity).fill(1)
    this.#steps = new Float32Array(capacity)
    this.#grid = grid
    this.#real = real
  }

  load(x: Float32Array, { start, count, stride, length }: Group): void {
    for (let run = 0, at = 0; run < count; run++)
      for (let i = start + run * stride, end = i + length; i < end; i++) this.#values[at++] = x[i]
    this.length = count * length
  }

  /** Weights of the loaded elements: `importance.values` at (index / inner) % dim. */
  weigh({ start, count, stride, length }: Group, values: ArrayLike<number>, inner: number): void {
    const dim = values.length
    for (let run = 0, at = 0; run < count; run++)
      for (let i = start + run * stride, end = i + length; i < end; i++) this.#weights[at++] = values[Math.floor(i / inner) % dim]
  }

  /** The codes, less their zero point, of numbers `from` to `end` by the rule of `quantize`. */
  #quantize({ scale, zeroPoint }: ScaleAndZeroPoint, from: number, end: number): void {
    const values = this.#values
    const steps = this.#steps
    const shift = this.#real ? zeroPoint : 0
    const least = this.#grid.min - zeroPoint + shift
    const most = this.#grid.max - zeroPoint + shift
    for (let i = from; i < end; i++) {
      let q = Math.fround(values[i] / scale) + shift
      if (q > most) q = most
      else if (q < least) q = least
      steps[i] = Math.fround(roundSmall(q) - shift)
    }
  }

  /** Weighted squared error; Infinity as soon as it is known to reach the limit. */
  error(candidate: ScaleAndZeroPoint, limit: number): number {
    const values = this.#values
    const weights = this.#weights
    const steps = this.#steps
    const { scale } = candidate
    let error = 0
    for (let from = 0; from < this.length; from += 64) {
      const end = Math.min(from + 64, this.length)
      this.#quantize(candidate, from, end)
      for (let i = from; i < end; i++) {
        const d = values[i] - Math.fround(steps[i] * scale)
        error += weights[i] * d * d
      }
      if (error >= limit) return Number.POSITIVE_INFINITY
    }
    return error
  }

  /** Makes the codes that the fits are about. */
  encode(candidate: ScaleAndZeroPoint): void {
    this.#quantize(candidate, 0, this.length)
    this.#zeroPoint = candidate.zeroPoint
  }

  /** The scale that fits the encoded candidate's codes best about an (integer) zero point. */
  fitScale(about: number): number {
    const values = this.#values
    const weights = this.#weights
    const steps = this.#steps
    const shift = this.#zeroPoint - about
    let xq = 0
    let qq = 0
    for (let i = 0; i < this.length; i++) {
      const q = steps[i] + shift
      xq += weights[i] * q * values[i]
      qq += weights[i] * q * q
    }
    return Math.fround(xq / qq)
  }

  /** The line through numbers over the encoded candidate's codes, as scale and real zero point; undefined where all codes are alike. */
  fitLine(): ScaleAndZeroPoint | undefined {
    const values = this.#values
    const weights = this.#weights
    const steps = this.#steps
    let total = 0
    let sumX = 0
    let sumQ = 0
    for (let i = 0; i < this.length; i++) {
      total += weights[i]
      sumX += weights[i] * values[i]
      sumQ += weights[i] * steps[i]
    }
    const meanX = sumX / total
    const meanQ = sumQ / total
    let xq = 0
    let qq = 0
    for (let i = 0; i < this.length; i++) {
      const q = steps[i] - meanQ
      xq += weights[i] * (values[i] - meanX) * q
      qq += weights[i] * q * q
    }
    const scale = Math.fround(xq / qq)
    return scale > 0 ? { scale, zeroPoint: this.#zeroPoint + meanQ - meanX / scale } : undefined
  }
}

function searchGroups(
  x: Float32Array,
  layout: Layout,
  grid: IntegerGrid,
  real: boolean,
  importance: Importance | undefined,
  find: (block: Block, min: number, max: number) => Candidate,
): SearchedParameters {
  const { min, max } = groupRanges(x, layout)
  const groups = groupCount(layout)
  const scale = new Float32Array(groups)
  const zeroPoint = real ? new Float32Array(groups) : new Int32Array(groups)
  const error = new Float64Array(groups)
  const inner = importance && innerOf(layout, importance)
  let block: Block | undefined
  for (let group = 0; group < groups; group++) {
    const place = groupAt(layout, group)
    // Only last blocks are smaller than the first one.
    block ??= new Block(place.count * place.length, grid, real)
    block.load(x, place)
    if (importance && inner) block.weigh(place, importance.values, inner)
    const best = find(block, min[group], max[group])
    scale[group] = best.scale
    zeroPoint[group] = best.zeroPoint
    error[group] = best.error
  }
  return { scale, zeroPoint, error }
}

/** Elements between neighbours along the importance's dimension. */
function innerOf({ shape }: Layout, { axis, values }: Importance): number {
  const index = axis < 0 ? axis + shape.length : axis
  if (values.length !== shape[index])
    throw badInput(`${values.length} importance weights do not fit dimension ${axis} of the shape [${shape.join(', ')}]`)
  for (let i = 0; i < values.length; i++)
    if (!(values[i] >= 0 && values[i] < Number.POSITIVE_INFINITY)) throw badInput(`importance weight ${i} is ${values[i]}`)
  let inner = 1
  for (let i = index + 1; i < shape.length; i++) inner *= shape[i]
  return inner
}
