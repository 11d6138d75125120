/** Choosing elements and slices by index, and writing them back. */
import { badInput } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { factsAt, freshDim, type InputFacts, sameFacts, vectorContents } from './facts.js'
import * as gradients from './gradients/gather.js'
import { nothingFlows } from './gradients/rule.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import {
  arrayOf,
  type Binary,
  type Entry,
  integersOf,
  iterate,
  normalizeAxis,
  pick,
  range,
  required,
  reshaped,
  scalarOf,
  stridesOf,
} from './support.js'

/** An index counted from the front. Throws `bad-input` when it lies outside of the axis. */
function checkedIndex(index: number, length: number): number {
  if (!(index >= -length && index < length)) throw badInput(`index ${index} is outside of an axis of length ${length}`)
  return index < 0 ? index + length : index
}

function gatherAlong(input: NDArray, indices: NDArray, axis: number): NDArray {
  const before = input.shape.slice(0, axis)
  const after = sizeOf(input.shape.slice(axis + 1))
  const length = input.shape[axis]
  const chosen = integersOf(indices).map((index) => checkedIndex(index, length))
  const at = new Float64Array(sizeOf(before) * chosen.length * after)
  let to = 0
  for (let outer = 0; outer < sizeOf(before); outer++)
    for (const index of chosen) for (let i = 0; i < after; i++) at[to++] = (outer * length + index) * after + i
  return pick(input, [...before, ...indices.shape, ...input.shape.slice(axis + 1)], at)
}

/** Elements of a shape that constant indices choose. */
function gatheredContents(inputs: InputFacts): Dim[] | null {
  const contents = vectorContents(inputs, 0)
  const indices = inputs[1]?.contents
  if (!contents || !indices?.every((index) => typeof index === 'number')) return null
  return indices.map((index) => contents[checkedIndex(Number(index), contents.length)])
}

const gather = operator({
  name: 'Gather',
  since: 1,
  gradient: gradients.gatherGradient,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const indices = factsAt(inputs, 1).shape
    if (!shape || !indices) return [{ dtype, shape: null }]
    const axis = normalizeAxis(node.int('axis', 0), shape.length)
    return [{ dtype, shape: [...shape.slice(0, axis), ...indices, ...shape.slice(axis + 1)], contents: gatheredContents(inputs) }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    return [gatherAlong(input, required(inputs, 1), normalizeAxis(node.int('axis', 0), input.shape.length))]
  },
})

/** Where in an array each element of `indices` points, when it replaces the index along `axis`. */
function elementOffsets(shape: readonly number[], indices: NDArray, axis: number): Float64Array {
  const strides = stridesOf(shape)
  const chosen = numbersOf(indices)
  const result = new Float64Array(chosen.length)
  let to = 0
  for (const index of iterate(indices.shape)) {
    let at = 0
    for (let i = 0; i < index.length; i++) at += (i === axis ? checkedIndex(chosen[to], shape[axis]) : index[i]) * strides[i]
    result[to++] = at
  }
  return result
}

const gatherElements = operator({
  name: 'GatherElements',
  since: 11,
  gradient: gradients.gatherElementsGradient,
  infer: (_, inputs) => [{ dtype: factsAt(inputs, 0).dtype, shape: factsAt(inputs, 1).shape }],
  evaluate(node, inputs) {
    const [input, indices] = [required(inputs, 0), required(inputs, 1)]
    const axis = normalizeAxis(node.int('axis', 0), input.shape.length)
    return [pick(input, indices.shape, elementOffsets(input.shape, indices, axis))]
  },
})

/** Where the slices start that the last axis of `indices` points to, behind `batch` axes that both share. */
function sliceOffsets(shape: readonly number[], indices: NDArray, batch: number): Float64Array {
  const depth = indices.shape[indices.shape.length - 1]
  const strides = stridesOf(shape)
  const chosen = numbersOf(indices)
  const perBatch = sizeOf(indices.shape.slice(batch, -1))
  const batchSize = sizeOf(shape.slice(batch))
  return Float64Array.from({ length: sizeOf(indices.shape.slice(0, -1)) }, (_, i) => {
    let at = Math.floor(i / perBatch) * batchSize
    for (let k = 0; k < depth; k++) at += checkedIndex(chosen[i * depth + k], shape[batch + k]) * strides[batch + k]
    return at
  })
}

/** Every offset of the slices of `length` that begin at `starts`. */
function sliceMembers(starts: Float64Array, length: number): Float64Array {
  const at = new Float64Array(starts.length * length)
  starts.forEach((start, i) => {
    for (let k = 0; k < length; k++) at[i * length + k] = start + k
  })
  return at
}

function inferGatherND(node: Node, inputs: InputFacts): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  const indices = factsAt(inputs, 1).shape
  const depth = indices?.[indices.length - 1]
  if (!shape || !indices || typeof depth !== 'number') return [{ dtype, shape: null }]
  return [{ dtype, shape: [...indices.slice(0, -1), ...shape.slice(node.int('batch_dims', 0) + depth)] }]
}

const gatherND = operator({
  name: 'GatherND',
  since: 12,
  gradient: gradients.gatherNDGradient,
  infer: inferGatherND,
  evaluate(node, inputs) {
    const [input, indices] = [required(inputs, 0), required(inputs, 1)]
    const batch = node.int('batch_dims', 0)
    const rest = input.shape.slice(batch + indices.shape[indices.shape.length - 1])
    const at = sliceMembers(sliceOffsets(input.shape, indices, batch), sizeOf(rest))
    return [pick(input, [...indices.shape.slice(0, -1), ...rest], at)]
  },
})

/** How an update meets the element that is there. */
const combinations: Readonly<Record<string, Binary<number> | null>> = {
  none: null,
  add: (x, y) => x + y,
  mul: (x, y) => x * y,
  min: (x, y) => (y < x || Number.isNaN(y) ? y : x),
  max: (x, y) => (y > x || Number.isNaN(y) ? y : x),
}

/** A copy of the array with `updates`, in order, put or combined in at the given offsets. */
function scattered(input: NDArray, at: ArrayLike<number>, updates: NDArray, reduction: string): NDArray {
  const combine = combinations[reduction] as Binary<Entry> | null | undefined
  if (combine === undefined) throw badInput(`reduction ${reduction} is none of ${Object.keys(combinations).join(', ')}`)
  const values = Array.from(input.data as ArrayLike<Entry>)
  const changes = updates.data as ArrayLike<Entry>
  for (let i = 0; i < at.length; i++) values[at[i]] = combine ? combine(values[at[i]], changes[i]) : changes[i]
  return arrayOf(input.dtype, input.shape, values)
}

const scatterElements = operator({
  name: 'ScatterElements',
  since: 16,
  gradient: gradients.scatterElementsGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const at = elementOffsets(input.shape, required(inputs, 1), normalizeAxis(node.int('axis', 0), input.shape.length))
    return [scattered(input, at, required(inputs, 2), node.string('reduction', 'none'))]
  },
})

const scatterND = operator({
  name: 'ScatterND',
  since: 16,
  gradient: gradients.scatterNDGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate(node, inputs) {
    const [input, indices] = [required(inputs, 0), required(inputs, 1)]
    const length = sizeOf(input.shape.slice(indices.shape[indices.shape.length - 1]))
    const at = sliceMembers(sliceOffsets(input.shape, indices, 0), length)
    return [scattered(input, at, required(inputs, 2), node.string('reduction', 'none'))]
  },
})

const tensorScatter = operator({
  name: 'TensorScatter',
  since: 24,
  gradient: gradients.tensorScatterGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate(node, inputs) {
    const [cache, update] = [required(inputs, 0), required(inputs, 1)]
    const axis = normalizeAxis(node.int('axis', -2), cache.shape.length)
    const starts = inputs[2] ? integersOf(inputs[2]) : cache.shape.slice(0, 1).map(() => 0)
    const circular = node.string('mode', 'linear') === 'circular'
    const strides = stridesOf(cache.shape)
    const at = Array.from(iterate(update.shape), (index) => {
      const place = (starts[index[0]] ?? 0) + index[axis]
      if (!circular && place >= cache.shape[axis])
        throw badInput(`an update ends at ${place + 1} in a cache of length ${cache.shape[axis]}`)
      return index.reduce((sum, i, k) => sum + (k === axis ? place % cache.shape[axis] : i) * strides[k], 0)
    })
    return [scattered(cache, at, update, 'none')]
  },
})

const oneHot = operator({
  name: 'OneHot',
  since: 9,
  gradient: gradients.oneHotGradient,
  infer(node, inputs) {
    const { dtype } = factsAt(inputs, 2)
    const { shape } = factsAt(inputs, 0)
    if (!shape) return [{ dtype, shape }]
    const axis = normalizeAxis(node.int('axis', -1), shape.length + 1)
    const depth = factsAt(inputs, 1).contents?.[0] ?? freshDim(node, axis)
    return [{ dtype, shape: [...shape.slice(0, axis), depth, ...shape.slice(axis)] }]
  },
  evaluate(node, inputs) {
    const [indices, values] = [required(inputs, 0), required(inputs, 2)]
    const depth = Math.trunc(scalarOf(required(inputs, 1)))
    const axis = normalizeAxis(node.int('axis', -1), indices.shape.length + 1)
    const shape = [...indices.shape.slice(0, axis), depth, ...indices.shape.slice(axis)]
    const inner = sizeOf(indices.shape.slice(axis))
    const at = new Float64Array(sizeOf(shape))
    numbersOf(indices).forEach((value, i) => {
      const index = Math.trunc(value)
      if (index < -depth || index >= depth) return
      at[(Math.floor(i / inner) * depth + (index < 0 ? index + depth : index)) * inner + (i % inner)] = 1
    })
    return [pick(values, shape, at)]
  },
})

const compress = operator({
  name: 'Compress',
  since: 9,
  gradient: gradients.compress,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const axis = node.int('axis')
    if (axis === undefined) return [{ dtype, shape: [freshDim(node, 0)] }]
    const along = shape && normalizeAxis(axis, shape.length)
    return [{ dtype, shape: shape?.map((dim, i) => (i === along ? freshDim(node, i) : dim)) ?? null }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const axis = node.int('axis')
    const chosen = integersOf(required(inputs, 1)).flatMap((flag, i) => (flag ? [i] : []))
    const source = axis === undefined ? reshaped(input, [sizeOf(input.shape)]) : input
    return [gatherAlong(source, arrayOf('int64', [chosen.length], chosen), normalizeAxis(axis ?? 0, source.shape.length))]
  },
})

const nonZero = operator({
  name: 'NonZero',
  since: 9,
  gradient: nothingFlows,
  infer(node, inputs) {
    const { shape } = factsAt(inputs, 0)
    return [{ dtype: 'int64', shape: shape && [shape.length, freshDim(node, 1)] }]
  },
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    const rank = input.shape.length
    const data = numbersOf(input)
    const found = Array.from(iterate(input.shape), (index) => [...index]).filter((_, i) => data[i] !== 0)
    return [
      arrayOf(
        'int64',
        [rank, found.length],
        range(rank).flatMap((axis) => found.map((index) => index[axis])),
      ),
    ]
  },
})

/** Gathering, scattering and what is defined by indices. */
export const gathers: readonly Operator[] = [
  gather,
  gatherElements,
  gatherND,
  scatterElements,
  scatterND,
  tensorScatter,
  oneHot,
  compress,
  nonZero,
]
