/** Resampling of grids: Resize, AffineGrid, GridSample. */
import { string } from '../ir/attribute.js'
import type { Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { dtypes, isInteger, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { roundHalfEven } from '../numbers/rounding.js'
import { factsAt, freshDim, type InputFacts } from './facts.js'
import { gridSample as gridSampleExpansion } from './gradients/grid-sample.js'
import { affineGridGradient, resizeGradient } from './gradients/resize.js'
import { type Operator, operator } from './record.js'
import { cubicKernel, planOf, type Taps, tapsOf } from './resampling.js'
import { arrayOf, integersOf, iterate, normalizeAxes, required } from './support.js'

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
  gradient: resizeGradient,
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
  gradient: affineGridGradient,
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
  gradient: gridSampleExpansion,
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
        const taps = gridTaps(node, point, space, grid.dtype === 'float64' ? (x) => x : Math.fround)
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

/** The elements of the image that make up the value at a point in [-1, 1] per axis. `round` is what storing a coordinate does to it. */
function gridTaps(
  node: Node,
  point: readonly number[],
  space: readonly number[],
  round: (x: number) => number,
): { at: number; weight: number }[] {
  const [mode, padding] = [node.string('mode', 'linear'), node.string('padding_mode', 'zeros') as Padding]
  const corners = node.int('align_corners', 0) === 1
  let taps = [{ at: 0, weight: 1 }]
  space.forEach((length, axis) => {
    const source = round(corners ? ((point[axis] + 1) / 2) * (length - 1) : ((point[axis] + 1) * length - 1) / 2)
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

/** Resampling operators of the standard. */
export const resamplings: readonly Operator[] = [resize, affineGrid, gridSample]
