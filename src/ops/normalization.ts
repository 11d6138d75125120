/** Normalizations. Those with a `stash_type` compute their first stage in float64 and round where the standard casts back. */
import { badInput, unsupported } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node } from '../ir/node.js'
import { type DType, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { isMinifloat, roundToMinifloat } from '../numbers/minifloat.js'
import { dtypeOfCode } from './element-type.js'
import { factsAt, type InputFacts, sameFacts } from './facts.js'
import { constantFor } from './forms.js'
import * as gradients from './gradients/normalization.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, broadcastStrides, normalizeAxes, normalizeAxis, offsets, required, stridesOf } from './support.js'

/** Numbers as they come back from being stored in a dtype: changed for floats of 16 bits and less only. */
export function storedAs(dtype: DType, values: Float64Array): Float64Array {
  return isMinifloat(dtype) ? Float64Array.from(roundToMinifloat(dtype, Float32Array.from(values))) : values
}

/** Means and inverse standard deviations of rows. */
interface Moments {
  readonly mean: Float64Array
  readonly inverseDeviation: Float64Array
}

/**
 * Rows of `length` numbers brought to zero mean and unit variance, in place.
 *
 * @param centred false leaves the mean alone (RMS normalization)
 */
export function standardize(values: Float64Array, length: number, epsilon: number, centred = true): Moments {
  const rows = length ? values.length / length : 0
  const [mean, inverseDeviation] = [new Float64Array(rows), new Float64Array(rows)]
  for (let row = 0; row < rows; row++) {
    const slice = values.subarray(row * length, (row + 1) * length)
    mean[row] = centred ? slice.reduce((sum, x) => sum + x, 0) / length : 0
    const variance = slice.reduce((sum, x) => sum + (x - mean[row]) ** 2, 0) / length
    inverseDeviation[row] = 1 / Math.sqrt(variance + epsilon)
    for (let i = 0; i < length; i++) slice[i] = (slice[i] - mean[row]) * inverseDeviation[row]
  }
  return { mean, inverseDeviation }
}

/** `x * scale + bias` with both broadcast to the shape of x; each step is stored in `dtype`. */
export function scaleAndShift(
  x: Float64Array,
  shape: readonly number[],
  dtype: DType,
  scale: NDArray,
  bias?: NDArray | null,
): Float64Array {
  const at = (array: NDArray) => offsets(shape, broadcastStrides(array.shape, shape))
  const [gains, gainAt] = [numbersOf(scale), at(scale)]
  const scaled = storedAs(
    dtype,
    x.map((value, i) => value * gains[gainAt[i]]),
  )
  if (!bias) return scaled
  const [shifts, shiftAt] = [numbersOf(bias), at(bias)]
  return scaled.map((value, i) => value + shifts[shiftAt[i]])
}

function stashType(node: Node): DType {
  return dtypeOfCode(node.int('stash_type', 1))
}

/** Shape of statistics: the axes from `axis` on are 1. */
function statisticsShape<D extends Dim>(shape: readonly D[], axis: number): (D | 1)[] {
  const first = normalizeAxis(axis, shape.length)
  return shape.map((dim, i) => (i < first ? dim : 1))
}

const layerNormalization = operator({
  name: 'LayerNormalization',
  since: 17,
  gradient: gradients.layerNormalizationGradient,
  infer: (node, inputs): ValueFacts[] => {
    const { shape } = factsAt(inputs, 0)
    const statistics = { dtype: stashType(node), shape: shape && statisticsShape(shape, node.int('axis', -1)) }
    return [sameFacts(inputs)[0], statistics, statistics]
  },
  evaluate: (node, inputs) => {
    const [x, scale, bias] = [required(inputs, 0), required(inputs, 1), inputs[2]]
    const axis = node.int('axis', -1)
    const values = Float64Array.from(numbersOf(x))
    const length = sizeOf(x.shape.slice(normalizeAxis(axis, x.shape.length)))
    const { mean, inverseDeviation } = standardize(values, length, node.float('epsilon', 1e-5))
    const y = scaleAndShift(storedAs(x.dtype, values), x.shape, x.dtype, scale, bias)
    const [stash, shape] = [stashType(node), statisticsShape(x.shape, axis)]
    return [arrayOf(x.dtype, x.shape, y), arrayOf(stash, shape, mean), arrayOf(stash, shape, inverseDeviation)]
  },
})

const rmsNormalization = operator({
  name: 'RMSNormalization',
  since: 23,
  gradient: gradients.rmsNormalizationGradient,
  infer: (_, inputs) => sameFacts(inputs, factsAt(inputs, 1).dtype ?? factsAt(inputs, 0).dtype),
  evaluate: (node, inputs) => {
    const [x, scale] = [required(inputs, 0), required(inputs, 1)]
    const values = Float64Array.from(numbersOf(x))
    const length = sizeOf(x.shape.slice(normalizeAxis(node.int('axis', -1), x.shape.length)))
    standardize(values, length, node.float('epsilon', 1e-5), false)
    return [arrayOf(scale.dtype, x.shape, scaleAndShift(storedAs(x.dtype, values), x.shape, scale.dtype, scale))]
  },
})

/** Gives a per-channel vector [C] the shape that broadcasts over [N, C, ...]. */
function perChannel(vector: NDArray, rank: number): NDArray {
  return { ...vector, shape: [vector.shape[0], ...new Array<number>(Math.max(rank - 2, 0)).fill(1)] }
}

function normalizeGroups(x: NDArray, groups: number, epsilon: number, scale: NDArray, bias: NDArray): NDArray {
  const channels = x.shape[1]
  if (channels % groups) throw badInput(`${channels} channels cannot be split into ${groups} groups`)
  const values = Float64Array.from(numbersOf(x))
  standardize(values, (channels / groups) * sizeOf(x.shape.slice(2)), epsilon)
  const [gain, shift] = [perChannel(scale, x.shape.length), perChannel(bias, x.shape.length)]
  return arrayOf(x.dtype, x.shape, scaleAndShift(storedAs(x.dtype, values), x.shape, x.dtype, gain, shift))
}

const groupNormalization = operator({
  name: 'GroupNormalization',
  since: 21,
  gradient: gradients.groupNormalization,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => [
    normalizeGroups(required(inputs, 0), node.int('num_groups', 1), node.float('epsilon', 1e-5), required(inputs, 1), required(inputs, 2)),
  ],
  upgrades: [{ below: 21, apply: repeatPerChannel }],
})

/** Until opset 20 scale and bias had one element per group. */
function repeatPerChannel(node: Node, graph: Graph): void {
  const [groups, channels] = [node.int('num_groups', 1), node.input(0)?.shape?.[1]]
  if (groups === channels) return
  if (typeof channels !== 'number')
    throw unsupported('GroupNormalization of opset 18 needs a known number of channels', { where: node.name || node.output.name })
  const column = constantFor(node, graph, 'column', 'int64', [2], [groups, 1])
  const expanded = constantFor(node, graph, 'expanded', 'int64', [2], [groups, channels / groups])
  const flat = constantFor(node, graph, 'flat', 'int64', [1], [-1])
  for (const index of [1, 2]) {
    const reshaped = graph.add('Reshape', [node.input(index), column], { before: node }).output
    const repeated = graph.add('Expand', [reshaped, expanded], { before: node }).output
    node.setInput(index, graph.add('Reshape', [repeated, flat], { before: node }).output)
  }
}

const instanceNormalization = operator({
  name: 'InstanceNormalization',
  since: 6,
  gradient: gradients.instanceNormalization,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    return [normalizeGroups(x, x.shape[1], node.float('epsilon', 1e-5), required(inputs, 1), required(inputs, 2))]
  },
})

const batchNormalization = operator({
  name: 'BatchNormalization',
  since: 15,
  gradient: gradients.batchNormalization,
  infer: (_, inputs): ValueFacts[] => {
    const statistics = { dtype: factsAt(inputs, 3).dtype, shape: factsAt(inputs, 3).shape }
    return [sameFacts(inputs)[0], statistics, statistics]
  },
  evaluate: (node, inputs) => {
    const [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map((i) => required(inputs, i))
    const [epsilon, momentum] = [node.float('epsilon', 1e-5), node.float('momentum', 0.9)]
    if (!node.int('training_mode', 0)) return [applyMoments(x, scale, bias, numbersOf(mean), numbersOf(variance), epsilon)]
    const batch = channelMoments(x)
    const running = (old: NDArray, current: Float64Array) =>
      arrayOf(
        old.dtype,
        old.shape,
        current.map((value, i) => numbersOf(old)[i] * momentum + value * (1 - momentum)),
      )
    return [applyMoments(x, scale, bias, batch.mean, batch.variance, epsilon), running(mean, batch.mean), running(variance, batch.variance)]
  },
  upgrades: [{ below: 9, apply: dropSpatial }],
})

function dropSpatial(node: Node): void {
  if (node.int('spatial', 1) !== 1)
    throw unsupported('BatchNormalization with spatial = 0 (opset 8 and below) has no present form', {
      where: node.name || node.output.name,
    })
  node.setAttribute('spatial', null)
}

function applyMoments(
  x: NDArray,
  scale: NDArray,
  bias: NDArray,
  mean: ArrayLike<number>,
  variance: ArrayLike<number>,
  epsilon: number,
): NDArray {
  const [gain, shift, inner] = [numbersOf(scale), numbersOf(bias), sizeOf(x.shape.slice(2))]
  const values = Float64Array.from(numbersOf(x), (value, i) => {
    const channel = Math.floor(i / inner) % (x.shape[1] ?? 1)
    return ((value - mean[channel]) / Math.sqrt(variance[channel] + epsilon)) * gain[channel] + shift[channel]
  })
  return arrayOf(x.dtype, x.shape, values)
}

function channelMoments(x: NDArray): { mean: Float64Array; variance: Float64Array } {
  const [channels, inner, values] = [x.shape[1], sizeOf(x.shape.slice(2)), numbersOf(x)]
  const [mean, variance] = [new Float64Array(channels), new Float64Array(channels)]
  const count = values.length / channels
  const channelOf = (i: number) => Math.floor(i / inner) % channels
  for (let i = 0; i < values.length; i++) mean[channelOf(i)] += values[i] / count
  for (let i = 0; i < values.length; i++) variance[channelOf(i)] += (values[i] - mean[channelOf(i)]) ** 2 / count
  return { mean, variance }
}

const lpNormalization = operator({
  name: 'LpNormalization',
  since: 1,
  gradient: gradients.lpNormalization,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const [axis, p] = [normalizeAxis(node.int('axis', -1), x.shape.length), node.int('p', 2)]
    const [values, sums] = [numbersOf(x), sumsOver(x, [axis], (value) => Math.abs(value) ** p)]
    return [
      arrayOf(
        x.dtype,
        x.shape,
        Float64Array.from(values, (value, i) => (sums[i] ? value / sums[i] ** (1 / p) : 0)),
      ),
    ]
  },
})

/** For each element the sum of f over all elements that share its place on every axis but `axes`. */
function sumsOver(x: NDArray, axes: readonly number[], f: (value: number, i: number) => number): Float64Array {
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim))
  const strides = stridesOf(kept).map((stride, i) => (axes.includes(i) ? 0 : stride))
  const [at, sums] = [offsets(x.shape, strides), new Float64Array(sizeOf(kept))]
  numbersOf(x).forEach((value, i) => {
    sums[at[i]] += f(value, i)
  })
  return at.map((offset) => sums[offset])
}

const meanVarianceNormalization = operator({
  name: 'MeanVarianceNormalization',
  since: 9,
  gradient: gradients.meanVarianceNormalization,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const axes = normalizeAxes(node.ints('axes') ?? [0, 2, 3], x.shape.length)
    const count = sizeOf(axes.map((axis) => x.shape[axis]))
    const mean = sumsOver(x, axes, (value) => value / count)
    const variance = sumsOver(x, axes, (value, i) => (value - mean[i]) ** 2 / count)
    return [
      arrayOf(
        x.dtype,
        x.shape,
        Float64Array.from(numbersOf(x), (value, i) => (value - mean[i]) / (Math.sqrt(variance[i]) + 1e-9)),
      ),
    ]
  },
})

const localResponseNormalization = operator({
  name: 'LRN',
  since: 1,
  gradient: gradients.localResponseNormalization,
  infer: (_, inputs: InputFacts) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const [alpha, beta, bias, size] = [node.float('alpha', 1e-4), node.float('beta', 0.75), node.float('bias', 1), node.int('size', 1)]
    const [channels, inner, values] = [x.shape[1], sizeOf(x.shape.slice(2)), numbersOf(x)]
    const [before, after] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)]
    const y = Float64Array.from(values, (value, i) => {
      const channel = Math.floor(i / inner) % channels
      let squares = 0
      for (let c = Math.max(0, channel - before); c <= Math.min(channels - 1, channel + after); c++)
        squares += values[i + (c - channel) * inner] ** 2
      return value / (bias + (alpha / size) * squares) ** beta
    })
    return [arrayOf(x.dtype, x.shape, y)]
  },
})

/** Normalizations of the standard. */
export const normalizations: readonly Operator[] = [
  layerNormalization,
  rmsNormalization,
  groupNormalization,
  instanceNormalization,
  batchNormalization,
  lpNormalization,
  meanVarianceNormalization,
  localResponseNormalization,
]
