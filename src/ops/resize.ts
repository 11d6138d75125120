/** Resampling of grids: Resize, AffineGrid, GridSample. */
import { badInput } from '../base/errors.js'
import { string } from '../ir/attribute.js'
import type { Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { dtypes, isInteger, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { roundHalfEven } from '../numbers/rounding.js'
import { factsAt, freshDim, type InputFacts } from './facts.js'
import { type Operator, operator } from './record.js'
import { arrayOf, integersOf, iterate, normalizeAxes, required } from './support.js'

/** How one axis is resampled. */
interface AxisPlan {
  readonly axis: number
  readonly input: number
  readonly output: number
  readonly scale: number
  /** Crop window in normalized coordinates, for `tf_crop_and_resize`. */
  readonly start: number
  readonly end: number
}

/** Input elements and their weights for one output element; null outside of the crop window. */
type Taps = readonly { readonly at: number; readonly weight: number }[] | null

/** Sizes and scales of a Resize node of known input shape. */
function planOf(
  node: Node,
  shape: readonly number[],
  roi: readonly number[],
  scales: readonly number[],
  sizes: readonly number[],
): AxisPlan[] {
  const axes = normalizeAxes(node.ints('axes'), shape.length)
  const factors = axes.map((axis, i) => (sizes.length ? sizes[i] / shape[axis] : scales[i]))
  const policy = node.string('keep_aspect_ratio_policy', 'stretch')
  const common = policy === 'not_larger' ? Math.min(...factors) : policy === 'not_smaller' ? Math.max(...factors) : null
  return axes.map((axis, i) => {
    const scale = sizes.length && common !== null ? common : factors[i]
    const exact = scale * shape[axis]
    const output = !sizes.length ? Math.floor(exact) : common === null ? sizes[i] : Math.floor(exact + 0.5)
    return { axis, input: shape[axis], output, scale, start: roi[i] ?? 0, end: roi[axes.length + i] ?? 1 }
  })
}

/** Where output element `x` of an axis lies on the input. */
function sourceCoordinate(mode: string, x: number, { input, output, scale, start, end }: AxisPlan): number {
  const width = scale * input
  switch (mode) {
    case 'half_pixel':
      return (x + 0.5) / scale - 0.5
    case 'half_pixel_symmetric':
      return (input / 2) * (1 - output / width) + (x + 0.5) / scale - 0.5
    case 'pytorch_half_pixel':
      return width === 1 ? -0.5 : (x + 0.5) / scale - 0.5
    case 'align_corners':
      return width === 1 ? 0 : (x * (input - 1)) / (width - 1)
    case 'asymmetric':
      return x / scale
    case 'tf_crop_and_resize': {
      const offset = width === 1 ? ((end - start) * (input - 1)) / 2 : (x * (end - start) * (input - 1)) / (width - 1)
      return start * (input - 1) + offset
    }
    default:
      throw badInput(`the coordinate transformation ${mode} is not known`)
  }
}

function nearestIndex(mode: string, x: number): number {
  switch (mode) {
    case 'round_prefer_floor':
      return Math.ceil(x - 0.5)
    case 'round_prefer_ceil':
      return Math.floor(x + 0.5)
    case 'floor':
      return Math.floor(x)
    case 'ceil':
      return Math.ceil(x)
    default:
      throw badInput(`the nearest mode ${mode} is not known`)
  }
}

/** The weights of the input elements that make each output element of one axis. */
function tapsOf(node: Node, plan: AxisPlan): Taps[] {
  const transformation = node.string('coordinate_transformation_mode', 'half_pixel')
  const mode = node.string('mode', 'nearest')
  const excludes = node.int('exclude_outside', 0) === 1
  const stretch = node.int('antialias', 0) === 1 ? Math.min(plan.scale, 1) : 1
  const a = node.float('cubic_coeff_a', -0.75)
  const [kernel, reach] = mode === 'cubic' ? [(d: number) => cubicKernel(d, a), 2] : [(d: number) => Math.max(0, 1 - Math.abs(d)), 1]
  const inside = (at: number) => Math.min(Math.max(at, 0), plan.input - 1)
  return Array.from({ length: plan.output }, (_, x) => {
    const source = sourceCoordinate(transformation, x, plan)
    if (transformation === 'tf_crop_and_resize' && (source < 0 || source > plan.input - 1)) return null
    if (mode === 'nearest') return [{ at: inside(nearestIndex(node.string('nearest_mode', 'round_prefer_floor'), source)), weight: 1 }]
    const taps: { at: number; weight: number }[] = []
    for (let at = Math.ceil(source - reach / stretch); at <= source + reach / stretch; at++) {
      const weight = excludes && at !== inside(at) ? 0 : kernel((at - source) * stretch)
      if (weight) taps.push({ at: inside(at), weight })
    }
    const sum = taps.reduce((total, tap) => total + tap.weight, 0)
    return excludes || stretch < 1 ? taps.map(({ at, weight }) => ({ at, weight: weight / sum })) : taps
  })
}

/** Resamples one axis of row-major values. */
function resample(values: Float64Array, shape: readonly number[], axis: number, taps: readonly Taps[], outside: number): Float64Array {
  const [outer, inner, length] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis + 1)), shape[axis]]
  const result = new Float64Array(outer * taps.length * inner)
  for (let o = 0; o < outer; o++)
    for (let x = 0; x < taps.length; x++)
      for (let i = 0; i < inner; i++) {
        let sum = 0
        for (const { at, weight } of taps[x] ?? []) sum += weight * values[(o * length + at) * inner + i]
        result[(o * taps.length + x) * inner + i] = taps[x] ? sum : outside
      }
  return result
}

function resizeShape(node: Node, inputs: InputFacts): Dim[] | null {
  const { shape } = factsAt(inputs, 0)
  const sizes = inputs[3]?.contents
  if (!shape || !sizes || node.string('keep_aspect_ratio_policy', 'stretch') !== 'stretch') return null
  const axes = normalizeAxes(node.ints('axes'), shape.length)
  return shape.map((dim, axis) => (axes.includes(axis) ? sizes[axes.indexOf(axis)] : dim))
}

/** The shape that constant scales give; scales are floats and so no contents that rules see. */
function scaledShape(node: Node, inputs: InputFacts): Dim[] | null {
  const { shape } = factsAt(inputs, 0)
  const scales = node.input(2)?.tensor?.elements as Float32Array | undefined
  if (!shape || !scales?.length) return null
  const axes = normalizeAxes(node.ints('axes'), shape.length)
  const scaled = shape.map((dim, axis) => {
    const scale = axes.includes(axis) ? scales[axes.indexOf(axis)] : 1
    return scale === 1 ? dim : typeof dim === 'number' ? Math.floor(scale * dim) : null
  })
  return scaled.includes(null) ? null : (scaled as Dim[])
}

/** Symbols for the resized axes. */
function freshShape(node: Node, inputs: InputFacts): Dim[] | null {
  const { shape } = factsAt(inputs, 0)
  const axes = shape && normalizeAxes(node.ints('axes'), shape.length)
  return axes && shape.map((dim, axis) => (axes.includes(axis) ? freshDim(node, axis) : dim))
}

const resize = operator({
  name: 'Resize',
  since: 11,
  infer: (node, inputs) => [
    { dtype: factsAt(inputs, 0).dtype, shape: resizeShape(node, inputs) ?? scaledShape(node, inputs) ?? freshShape(node, inputs) },
  ],
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const [roi, scales, sizes] = [1, 2, 3].map((i) => (inputs[i] ? Array.from(numbersOf(inputs[i])) : []))
    const shape = [...x.shape]
    let values: Float64Array = Float64Array.from(numbersOf(x))
    for (const plan of planOf(node, x.shape, roi, scales, sizes)) {
      if (plan.scale === 1 && plan.output === plan.input && plan.start === 0 && plan.end === 1) continue
      values = resample(values, shape, plan.axis, tapsOf(node, plan), node.float('extrapolation_value', 0))
      shape[plan.axis] = plan.output
    }
    return [arrayOf(x.dtype, shape, isInteger(x.dtype) ? saturated(x, values) : values)]
  },
  upgrades: [
    { below: 11, apply: resizeFrom10 },
    { below: 13, apply: dropUnusedRegion },
  ],
})

/** Interpolated numbers as an integer dtype holds them: cut off, kept within its range. */
function saturated({ dtype }: NDArray, values: Float64Array): Float64Array {
  const { bits, kind } = dtypes[dtype]
  const [min, max] = kind === 'uint' ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
  return values.map((value) => Math.min(Math.max(Math.trunc(value), min), max))
}

/** Resize-10 had (x, scales), coordinates without half pixels, and rounded down. */
function resizeFrom10(node: Node): void {
  node.setInput(2, node.input(1))
  node.setInput(1, null)
  node.setAttribute('coordinate_transformation_mode', string('asymmetric'))
  node.setAttribute('nearest_mode', string('floor'))
}

/** Until opset 12 the region was required, and scales or sizes that were not meant were empty. */
function dropUnusedRegion(node: Node): void {
  for (const index of [1, 2, 3]) if (node.input(index)?.tensor?.size === 0) node.setInput(index, null)
}

const affineGrid = operator({
  name: 'AffineGrid',
  since: 20,
  infer: (_, inputs) => {
    const size = inputs[1]?.contents
    return [{ dtype: factsAt(inputs, 0).dtype, shape: size ? [size[0], ...size.slice(2), size.length - 2] : null }]
  },
  evaluate: (node, inputs) => {
    const [theta, size] = [required(inputs, 0), integersOf(required(inputs, 1))]
    const [space, corners, matrices] = [size.slice(2), node.int('align_corners', 0) === 1, numbersOf(theta)]
    const rank = space.length
    const values: number[] = []
    for (let n = 0; n < size[0]; n++)
      for (const index of iterate(space)) {
        const point = index.map((i, axis) => normalizedCoordinate(i, space[axis], corners)).reverse()
        for (let row = 0; row < rank; row++) {
          const start = (n * rank + row) * (rank + 1)
          values.push(point.reduce((sum, coordinate, i) => sum + matrices[start + i] * coordinate, matrices[start + rank]))
        }
      }
    return [arrayOf(theta.dtype, [size[0], ...space, rank], values)]
  },
})

/** Place of a pixel in [-1, 1]. */
function normalizedCoordinate(index: number, length: number, corners: boolean): number {
  return corners ? -1 + (2 * index) / (length - 1) : -1 + (2 * index + 1) / length
}

type Padding = 'zeros' | 'border' | 'reflection'

const gridSample = operator({
  name: 'GridSample',
  since: 20,
  infer: (_, inputs) => {
    const [{ dtype, shape }, grid] = [factsAt(inputs, 0), factsAt(inputs, 1).shape]
    return [{ dtype, shape: shape && grid ? [shape[0], shape[1], ...grid.slice(1, -1)] : null }]
  },
  evaluate: (node, inputs) => {
    const [x, grid] = [required(inputs, 0), required(inputs, 1)]
    const [batch, channels, ...space] = x.shape
    const [rank, area] = [space.length, sizeOf(space)]
    const places = sizeOf(grid.shape.slice(1, -1))
    const [values, points] = [numbersOf(x), numbersOf(grid)]
    const result = new Float64Array(batch * channels * places)
    for (let n = 0; n < batch; n++)
      for (let place = 0; place < places; place++) {
        const start = (n * places + place) * rank
        const point = Array.from(points.subarray(start, start + rank)).reverse()
        const taps = gridTaps(node, point, space)
        for (let c = 0; c < channels; c++)
          for (const { at, weight } of taps) result[(n * channels + c) * places + place] += weight * values[(n * channels + c) * area + at]
      }
    return [arrayOf(x.dtype, [batch, channels, ...grid.shape.slice(1, -1)], result)]
  },
  upgrades: [{ below: 20, apply: renameModes }],
})

function renameModes(node: Node): void {
  const mode = node.string('mode', 'bilinear')
  node.setAttribute('mode', string(mode === 'bilinear' ? 'linear' : mode === 'bicubic' ? 'cubic' : mode))
}

/** The elements of the image that make up the value at a point in [-1, 1] per axis. */
function gridTaps(node: Node, point: readonly number[], space: readonly number[]): { at: number; weight: number }[] {
  const [mode, padding] = [node.string('mode', 'linear'), node.string('padding_mode', 'zeros') as Padding]
  const corners = node.int('align_corners', 0) === 1
  let taps = [{ at: 0, weight: 1 }]
  space.forEach((length, axis) => {
    const source = Math.fround(corners ? ((point[axis] + 1) / 2) * (length - 1) : ((point[axis] + 1) * length - 1) / 2)
    const borders: [number, number] = corners ? [0, length - 1] : [-0.5, length - 0.5]
    const along = axisTaps(mode, mode === 'nearest' ? roundHalfEven(source) : source, length, padding, borders)
    taps = taps.flatMap(({ at, weight }) => along.map((tap) => ({ at: at * length + tap.at, weight: weight * tap.weight })))
  })
  return taps
}

function axisTaps(
  mode: string,
  source: number,
  length: number,
  padding: Padding,
  borders: [number, number],
): { at: number; weight: number }[] {
  const out = source < borders[0] || source > borders[1]
  const x =
    !out || padding === 'zeros' ? source : padding === 'border' ? Math.min(Math.max(source, 0), length - 1) : reflect(source, ...borders)
  const first = Math.floor(x)
  const weights =
    mode === 'nearest'
      ? [{ at: Math.trunc(x), weight: 1 }]
      : (mode === 'cubic' ? [-1, 0, 1, 2] : [0, 1]).map((step) => {
          const distance = first + step - x
          return { at: first + step, weight: mode === 'cubic' ? cubicKernel(distance, -0.75) : 1 - Math.abs(distance) }
        })
  return weights.flatMap(({ at, weight }) => {
    if (at >= 0 && at < length) return [{ at, weight }]
    if (padding === 'zeros') return []
    return [{ at: padding === 'border' ? Math.min(Math.max(at, 0), length - 1) : Math.trunc(reflect(at, ...borders)), weight }]
  })
}

/** A coordinate mirrored at the borders until it lies between them. */
function reflect(x: number, min: number, max: number): number {
  const range = max - min
  if (range === 0) return min
  const distance = Math.abs(x - min) % (2 * range)
  return min + (distance <= range ? distance : 2 * range - distance)
}

/** The cubic convolution kernel (Keys, 1981). */
function cubicKernel(distance: number, a: number): number {
  const x = Math.abs(distance)
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0
}

/** Resampling operators of the standard. */
export const resamplings: readonly Operator[] = [resize, affineGrid, gridSample]
