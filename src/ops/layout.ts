/** Parts, repetitions and new orders of an array's elements: Slice, Tile, Pad, DepthToSpace ... */
import { badInput } from '../base/errors.js'
import { addDims, type Dim, divideDims, multiplyDims, subtractDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { factsAt, freshDim, type InputFacts, isGiven, numericContents, sameFacts, vectorContents } from './facts.js'
import { attributeToInput } from './forms.js'
import * as gradients from './gradients/layout.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import {
  type Entry,
  integersOf,
  iterate,
  normalizeAxes,
  pick,
  pickAlong,
  range,
  required,
  reshaped,
  stridesOf,
  transposedArray,
} from './support.js'

/** Bounds this large mean the end of the axis. */
const endless = 2 ** 31 - 1

/** The indices that Slice takes of an axis of `length`; source: NumPy's slices. */
function sliceIndices(length: number, start: number, end: number, step: number): number[] {
  if (!step) throw badInput('a slice cannot have step 0')
  const clamp = (bound: number) => {
    const at = bound < 0 ? bound + length : bound
    return step > 0 ? Math.min(Math.max(at, 0), length) : Math.min(Math.max(at, -1), length - 1)
  }
  const [first, last] = [clamp(start), clamp(end)]
  return range(Math.max(0, Math.ceil((last - first) / step)), (i) => first + i * step)
}

/**
 * How long a slice of an axis is. Symbolic bounds are taken to lie within the axis; null where a symbolic axis may be
 * too short for what is asked.
 */
function sliceLength(length: Dim, start: Dim, end: Dim, step: number): Dim | null {
  if (typeof length === 'number' && typeof start === 'number' && typeof end === 'number')
    return sliceIndices(length, start, end, step).length
  if (step < 0) return step === -1 && start === -1 && typeof end === 'number' && end <= -endless ? length : null
  const count = subtractDims(boundFromFront(length, end), boundFromFront(length, start))
  if (typeof count === 'number' && count > 1) return null
  return divideDims(addDims(count, step - 1), step)
}

function boundFromFront(length: Dim, bound: Dim): Dim {
  if (isNegative(bound)) return addDims(length, bound)
  return typeof bound === 'number' && bound >= endless ? length : bound
}

/** Symbols stand for sizes, so a sum of negative terms alone is negative; one of mixed terms is taken to be positive. */
function isNegative(bound: Dim): boolean {
  return typeof bound === 'number' ? bound < 0 : bound.split(' + ').every((term) => term.startsWith('-'))
}

function inferSlice(node: Node, inputs: InputFacts): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  const [starts, ends] = [vectorContents(inputs, 1), vectorContents(inputs, 2)]
  const axes = isGiven(inputs, 3) ? numericContents(inputs, 3) : undefined
  const steps = isGiven(inputs, 4) ? numericContents(inputs, 4) : []
  if (!shape || axes === null) return [{ dtype, shape: shape?.map((_, i) => freshDim(node, i)) ?? null }]
  const sliced = normalizeAxes(axes ?? range(starts?.length ?? shape.length), shape.length)
  const lengthOf = (dim: Dim, k: number) => (starts && ends && steps ? sliceLength(dim, starts[k], ends[k], steps[k] ?? 1) : null)
  const result = shape.map((dim, i) => (sliced.includes(i) ? (lengthOf(dim, sliced.indexOf(i)) ?? freshDim(node, i)) : dim))
  return [{ dtype, shape: result, contents: slicedContents(inputs, starts, ends, steps?.[0] ?? 1) }]
}

function slicedContents(inputs: InputFacts, starts: readonly Dim[] | null, ends: readonly Dim[] | null, step: number): Dim[] | null {
  const contents = vectorContents(inputs, 0)
  const [start, end] = [starts?.[0], ends?.[0]]
  if (!contents || typeof start !== 'number' || typeof end !== 'number') return null
  return sliceIndices(contents.length, start, end, step).map((i) => contents[i])
}

const slice = operator({
  name: 'Slice',
  since: 10,
  gradient: gradients.sliceGradient,
  infer: inferSlice,
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    const [starts, ends] = [integersOf(required(inputs, 1)), integersOf(required(inputs, 2))]
    const axes = normalizeAxes(inputs[3] ? integersOf(inputs[3]) : range(starts.length), input.shape.length)
    const steps = inputs[4] ? integersOf(inputs[4]) : starts.map(() => 1)
    const along = input.shape.map((dim) => range(dim))
    axes.forEach((axis, k) => {
      along[axis] = sliceIndices(input.shape[axis], starts[k], ends[k], steps[k])
    })
    return [pickAlong(input, along)]
  },
  upgrades: [attributeToInput(10, 'starts', 1), attributeToInput(10, 'ends', 2), attributeToInput(10, 'axes', 3)],
})

const tile = operator({
  name: 'Tile',
  since: 6,
  gradient: gradients.tileGradient,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const repeats = vectorContents(inputs, 1)
    return [{ dtype, shape: shape?.map((dim, i) => (repeats ? multiplyDims(dim, repeats[i]) : freshDim(node, i))) ?? null }]
  },
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    const repeats = integersOf(required(inputs, 1))
    return [
      pickAlong(
        input,
        input.shape.map((dim, axis) => range(dim * repeats[axis], (i) => i % dim)),
      ),
    ]
  },
})

/** The index that a padded position `i` takes its element from; -1 for the constant. */
const padRules: Readonly<Record<string, (i: number, length: number) => number>> = {
  constant: (i, length) => (i < 0 || i >= length ? -1 : i),
  edge: (i, length) => Math.min(Math.max(i, 0), length - 1),
  wrap: (i, length) => ((i % length) + length) % length,
  reflect(i, length) {
    if (length === 1) return 0
    const period = 2 * (length - 1)
    const at = ((i % period) + period) % period
    return at < length ? at : period - at
  },
}

function padded(input: NDArray, pads: readonly number[], axes: readonly number[], mode: string, fill: Entry): NDArray {
  const rule = padRules[mode]
  if (!rule) throw badInput(`mode ${mode} is none of ${Object.keys(padRules).join(', ')}`)
  const along = input.shape.map((dim) => range(dim))
  axes.forEach((axis, k) => {
    const length = input.shape[axis]
    along[axis] = range(length + pads[k] + pads[k + axes.length], (i) => rule(i - pads[k], length))
  })
  return pickAlong(input, along, fill)
}

const pad = operator({
  name: 'Pad',
  since: 19,
  gradient: gradients.padGradient,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const pads = vectorContents(inputs, 1)
    const given = isGiven(inputs, 3) ? numericContents(inputs, 3) : undefined
    if (!shape || !pads || given === null) return [{ dtype, shape: shape?.map((_, i) => freshDim(node, i)) ?? null }]
    const axes = normalizeAxes(given, shape.length)
    const paddedDim = (dim: Dim, k: number) => addDims(dim, addDims(pads[k], pads[k + axes.length]))
    return [{ dtype, shape: shape.map((dim, i) => (axes.includes(i) ? paddedDim(dim, axes.indexOf(i)) : dim)) }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const axes = normalizeAxes(inputs[3] ? integersOf(inputs[3]) : undefined, input.shape.length)
    const fill = inputs[2] ? (inputs[2].data as ArrayLike<Entry>)[0] : 0
    return [padded(input, integersOf(required(inputs, 1)), axes, node.string('mode', 'constant'), fill)]
  },
  upgrades: [attributeToInput(11, 'pads', 1), attributeToInput(11, 'value', 2)],
})

/** Splits dimensions, permutes the parts and joins them again. */
function rearranged(input: NDArray, parts: readonly number[], permutation: readonly number[], shape: readonly number[]): NDArray {
  return reshaped(transposedArray(reshaped(input, parts), permutation), shape)
}

function imageShape(node: Node, inputs: InputFacts, f: (dims: readonly Dim[], block: number) => Dim[]): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  if (shape && shape.length !== 4) throw badInput(`the input has ${shape.length} dimensions and must have 4`)
  return [{ dtype, shape: shape && f(shape, node.int('blocksize', 1)) }]
}

const depthToSpace = operator({
  name: 'DepthToSpace',
  since: 11,
  gradient: gradients.depthToSpaceGradient,
  infer: (node, inputs) =>
    imageShape(node, inputs, ([n, c, h, w], block) => [n, divideDims(c, block ** 2), multiplyDims(h, block), multiplyDims(w, block)]),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const block = node.int('blocksize', 1)
    const [n, c, h, w] = input.shape
    const depth = c / block ** 2
    const shape = [n, depth, h * block, w * block]
    if (node.string('mode', 'DCR') === 'CRD') return [rearranged(input, [n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3], shape)]
    return [rearranged(input, [n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2], shape)]
  },
})

const spaceToDepth = operator({
  name: 'SpaceToDepth',
  since: 1,
  gradient: gradients.spaceToDepthGradient,
  infer: (node, inputs) =>
    imageShape(node, inputs, ([n, c, h, w], block) => [n, multiplyDims(c, block ** 2), divideDims(h, block), divideDims(w, block)]),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const block = node.int('blocksize', 1)
    const [n, c, h, w] = input.shape
    const permutation = node.string('mode', 'DCR') === 'CRD' ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4]
    return [rearranged(input, [n, c, h / block, block, w / block, block], permutation, [n, c * block ** 2, h / block, w / block])]
  },
})

const reverseSequence = operator({
  name: 'ReverseSequence',
  since: 10,
  gradient: gradients.reverseSequenceGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const lengths = numbersOf(required(inputs, 1))
    const [batchAxis, timeAxis] = [node.int('batch_axis', 1), node.int('time_axis', 0)]
    const step = stridesOf(input.shape)[timeAxis]
    let at = 0
    const sources = Array.from(iterate(input.shape), (index) => {
      const [time, length] = [index[timeAxis], lengths[index[batchAxis]]]
      return at++ + (time < length ? (length - 1 - 2 * time) * step : 0)
    })
    return [pick(input, input.shape, sources)]
  },
})

const centerCropPad = operator({
  name: 'CenterCropPad',
  since: 18,
  gradient: gradients.centerCropPad,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const wanted = vectorContents(inputs, 1)
    if (!shape) return [{ dtype, shape }]
    const axes = normalizeAxes(node.ints('axes'), shape.length)
    return [{ dtype, shape: shape.map((dim, i) => (axes.includes(i) ? (wanted?.[axes.indexOf(i)] ?? freshDim(node, i)) : dim)) }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const wanted = integersOf(required(inputs, 1))
    const along = input.shape.map((dim) => range(dim))
    normalizeAxes(node.ints('axes'), input.shape.length).forEach((axis, k) => {
      const length = input.shape[axis]
      const first = Math.trunc((length - wanted[k]) / 2)
      along[axis] = range(wanted[k], (i) => padRules.constant(i + first, length))
    })
    return [pickAlong(input, along)]
  },
})

/** Parts, repetitions and new orders of elements. */
export const layout: readonly Operator[] = [slice, tile, pad, depthToSpace, spaceToDepth, reverseSequence, centerCropPad]
