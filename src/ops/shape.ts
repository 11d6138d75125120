/** Other shapes for the same elements, and what shape computations are made of. */
import { badInput } from '../base/errors.js'
import { addDims, type Dim, divideDims, sizeOfDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, sizeOf } from '../numbers/dtype.js'
import { broadcastShapes, factsAt, freshDim, type InputFacts, isGiven, numericContents, vectorContents } from './facts.js'
import { attributeToInput } from './forms.js'
import { nothingFlows } from './gradients/rule.js'
import { concatGradient, expandGradient, identityGradient, reshapeGradient, splitGradient, transposeGradient } from './gradients/shape.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import {
  arrayOf,
  broadcastShape,
  type Entry,
  expanded,
  integersOf,
  normalizeAxes,
  normalizeAxis,
  pickAlong,
  range,
  required,
  reshaped,
  transposedArray,
} from './support.js'

const identity = operator({
  name: 'Identity',
  since: 1,
  gradient: identityGradient,
  infer: (_, inputs) => [factsAt(inputs, 0)],
  evaluate: (_, inputs) => [required(inputs, 0)],
})

/** The part of a shape that Shape's attributes `start` and `end` ask for. */
function shapeSlice<T extends Dim>(node: Node, shape: readonly T[]): T[] {
  return shape.slice(node.int('start', 0), node.int('end', shape.length))
}

const shape = operator({
  name: 'Shape',
  since: 15,
  gradient: nothingFlows,
  infer(node, inputs) {
    const input = factsAt(inputs, 0).shape
    const contents = input && shapeSlice(node, input)
    return [{ dtype: 'int64', shape: contents ? [contents.length] : [freshDim(node, 0)], contents }]
  },
  evaluate(node, inputs) {
    const dims = shapeSlice(node, required(inputs, 0).shape)
    return [arrayOf('int64', [dims.length], dims)]
  },
})

const size = operator({
  name: 'Size',
  since: 1,
  gradient: nothingFlows,
  infer(_, inputs) {
    const input = factsAt(inputs, 0).shape
    return [{ dtype: 'int64', shape: [], contents: input && [sizeOfDims(input)] }]
  },
  evaluate: (_, inputs) => [arrayOf('int64', [], [sizeOf(required(inputs, 0).shape)])],
})

/**
 * The shape that Reshape makes: 0 copies the input's dimension, -1 is what is left.
 *
 * @throws TinsmithError `bad-input` where the sizes cannot agree
 */
function reshapeTo(input: readonly Dim[], wanted: readonly Dim[], allowZero: boolean): Dim[] {
  const shape = wanted.map((dim, i) => (dim === 0 && !allowZero ? (input[i] ?? 0) : settled(dim, input[i])))
  const open = shape.includes(-1) ? shape.indexOf(-1) : impliedAt(input, shape)
  if (open >= 0) shape[open] = quotientOfShapes(input, shape.toSpliced(open, 1))
  const [before, after] = [sizeOfDims(input), sizeOfDims(shape)]
  if (typeof before === 'number' && typeof after === 'number' && before !== after)
    throw badInput(`shape [${input.join(', ')}] of ${before} elements cannot become [${wanted.join(', ')}]`)
  return shape
}

/** A `min(...)` or `max(...)` of the dimension that it stands in the place of can only be that dimension. */
function settled(dim: Dim, replaced: Dim | undefined): Dim {
  const choices = /^(?:min|max)\((.*)\)$/.exec(String(dim))?.[1].split(', ')
  return replaced !== undefined && choices?.includes(String(replaced)) ? replaced : dim
}

/** The place of the only `min(...)` or `max(...)` that the input does not have: what is left says what it is. */
function impliedAt(input: readonly Dim[], shape: readonly Dim[]): number {
  const strange = shape.flatMap((dim, i) => (/^(min|max)\(/.test(String(dim)) && !input.includes(dim) ? [i] : []))
  const [at] = strange
  if (strange.length !== 1) return -1
  return String(quotientOfShapes(input, shape.toSpliced(at, 1))).includes('//') ? -1 : at
}

/** How often one shape fits into another; symbols that are in both cancel first. */
function quotientOfShapes(shape: readonly Dim[], divisor: readonly Dim[]): Dim {
  const left = [...shape]
  const rest = divisor.filter((dim) => {
    const at = typeof dim === 'string' ? left.indexOf(dim) : -1
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
  const size = sizeOfDims(rest)
  return size === 0 ? 0 : divideDims(sizeOfDims(left), size)
}

const reshape = operator({
  name: 'Reshape',
  since: 14,
  gradient: reshapeGradient,
  infer(node, inputs) {
    const { dtype, shape, contents } = factsAt(inputs, 0)
    const wanted = vectorContents(inputs, 1)
    const allowZero = Boolean(node.int('allowzero', 0))
    if (wanted && (shape || wanted.every((dim) => typeof dim === 'string' || dim > 0)))
      return [{ dtype, shape: shape ? reshapeTo(shape, wanted, allowZero) : wanted, contents }]
    const rank = factsAt(inputs, 1).shape?.[0]
    return [{ dtype, shape: typeof rank === 'number' ? range(rank).map((axis) => freshDim(node, axis)) : null, contents }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    return [reshaped(input, reshapeTo(input.shape, integersOf(required(inputs, 1)), Boolean(node.int('allowzero', 0))) as number[])]
  },
})

function permutationOf(node: Node, rank: number): number[] {
  const permutation = node.ints('perm') ?? range(rank, (i) => rank - 1 - i)
  if (permutation.length !== rank) throw badInput(`perm has ${permutation.length} axes and the input ${rank}`)
  return permutation
}

const transpose = operator({
  name: 'Transpose',
  since: 1,
  gradient: transposeGradient,
  infer(node, inputs) {
    const { dtype, shape, contents } = factsAt(inputs, 0)
    if (!shape) return [{ dtype, shape }]
    return [{ dtype, shape: permutationOf(node, shape.length).map((axis) => shape[axis]), contents: shape.length < 2 ? contents : null }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    return [transposedArray(input, permutationOf(node, input.shape.length))]
  },
})

function squeezed<T extends Dim>(shape: readonly T[], given: readonly number[] | undefined): T[] {
  if (!given) return shape.filter((dim) => dim !== 1)
  const axes = normalizeAxes(given, shape.length)
  for (const axis of axes)
    if (typeof shape[axis] === 'number' && shape[axis] !== 1) throw badInput(`axis ${axis} is ${shape[axis]} long and cannot be squeezed`)
  return shape.filter((_, i) => !axes.includes(i))
}

const squeeze = operator({
  name: 'Squeeze',
  since: 13,
  gradient: reshapeGradient,
  infer(_, inputs) {
    const { dtype, shape, contents } = factsAt(inputs, 0)
    const axes = isGiven(inputs, 1) ? numericContents(inputs, 1) : undefined
    const known = shape && axes !== null && (axes || shape.every((dim) => typeof dim === 'number'))
    return [{ dtype, shape: known ? squeezed(shape, axes) : null, contents }]
  },
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    return [reshaped(input, squeezed(input.shape, inputs[1] ? integersOf(inputs[1]) : undefined))]
  },
  upgrades: [attributeToInput(13, 'axes', 1)],
})

function unsqueezed<T extends Dim>(shape: readonly T[], given: readonly number[]): (T | 1)[] {
  const rank = shape.length + given.length
  const axes = normalizeAxes(given, rank)
  const dims = shape[Symbol.iterator]()
  return range(rank).map((axis) => (axes.includes(axis) ? 1 : (dims.next().value as T)))
}

const unsqueeze = operator({
  name: 'Unsqueeze',
  since: 13,
  gradient: reshapeGradient,
  infer(_, inputs) {
    const { dtype, shape, contents } = factsAt(inputs, 0)
    const axes = numericContents(inputs, 1)
    return [{ dtype, shape: shape && axes && unsqueezed(shape, axes), contents }]
  },
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    return [reshaped(input, unsqueezed(input.shape, integersOf(required(inputs, 1))))]
  },
  upgrades: [attributeToInput(13, 'axes', 1)],
})

function flattened(node: Node, shape: readonly Dim[]): Dim[] {
  const axis = node.int('axis', 1)
  const split = axis < 0 ? axis + shape.length : axis
  return [sizeOfDims(shape.slice(0, split)), sizeOfDims(shape.slice(split))]
}

const flatten = operator({
  name: 'Flatten',
  since: 1,
  gradient: reshapeGradient,
  infer(node, inputs) {
    const { dtype, shape, contents } = factsAt(inputs, 0)
    return [{ dtype, shape: shape && flattened(node, shape), contents }]
  },
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    return [reshaped(input, flattened(node, input.shape) as number[])]
  },
})

const expand = operator({
  name: 'Expand',
  since: 8,
  gradient: expandGradient,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const target = vectorContents(inputs, 1)
    const rank = factsAt(inputs, 1).shape?.[0]
    if (target) return [{ dtype, shape: broadcastShapes([shape, target]), contents: repeatedContents(inputs, target) }]
    const known = typeof rank === 'number' && shape && range(Math.max(rank, shape.length))
    return [{ dtype, shape: known ? known.map((axis) => freshDim(node, axis)) : null }]
  },
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    return [expanded(input, broadcastShape(input.shape, integersOf(required(inputs, 1))))]
  },
})

function repeatedContents(inputs: InputFacts, target: readonly Dim[]): readonly Dim[] | null {
  const contents = vectorContents(inputs, 0)
  if (!contents || target.length > 1 || typeof (target[0] ?? 1) !== 'number') return null
  return contents.length === 1 ? range(Number(target[0] ?? 1)).map(() => contents[0]) : contents
}

/** The dimension that two shapes agree on; a number is better known than a symbol. */
function agreed(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number' && a !== b)
    throw badInput(`the inputs are ${a} and ${b} long along an axis that they share`)
  return typeof b === 'number' ? b : a
}

function concatenatedShape(shapes: readonly (readonly Dim[])[], axis: number): Dim[] {
  return shapes.reduce((a, b) => {
    if (a.length !== b.length) throw badInput(`the inputs have ${a.length} and ${b.length} dimensions`)
    return a.map((dim, i) => (i === axis ? addDims(dim, b[i]) : agreed(dim, b[i])))
  }) as Dim[]
}

/** Arrays joined along an axis. Throws `bad-input` where the other axes differ. */
export function concatenate(arrays: readonly NDArray[], axis: number): NDArray {
  const shape = concatenatedShape(
    arrays.map((array) => array.shape),
    axis,
  ) as number[]
  const sources = arrays.map((array) => array.data as ArrayLike<Entry>)
  const blocks = arrays.map((array) => sizeOf(array.shape.slice(axis)))
  const values: Entry[] = []
  for (let outer = 0; outer < sizeOf(shape.slice(0, axis)); outer++)
    sources.forEach((source, k) => {
      for (let i = outer * blocks[k]; i < (outer + 1) * blocks[k]; i++) values.push(source[i])
    })
  return arrayOf(arrays[0].dtype, shape, values)
}

function inferConcat(node: Node, inputs: InputFacts): ValueFacts[] {
  const dtype = inputs.find((input) => input?.dtype)?.dtype ?? null
  const shapes = inputs.map((input) => input?.shape ?? null)
  const known = shapes.filter((shape) => shape !== null)
  if (known.length < shapes.length) return [{ dtype, shape: null }]
  const contents = known[0].length === 1 ? inputs.map((input) => input?.contents ?? null) : [null]
  return [
    {
      dtype,
      shape: concatenatedShape(known, normalizeAxis(node.int('axis', 0), known[0].length)),
      contents: contents.includes(null) ? null : contents.flatMap((part) => part!),
    },
  ]
}

const concat = operator({
  name: 'Concat',
  since: 4,
  gradient: concatGradient,
  infer: inferConcat,
  evaluate(node, inputs) {
    const arrays = inputs.map((_, i) => required(inputs, i))
    return [concatenate(arrays, normalizeAxis(node.int('axis', 0), arrays[0].shape.length))]
  },
})

/** Lengths of the parts along the axis: as given, or equal ones of which the last may be shorter. */
function partLengths(node: Node, length: Dim, given: readonly Dim[] | null | undefined): Dim[] {
  const count = node.outputs.length
  if (given) return [...given]
  const even = divideDims(length, count)
  if (given === null || String(even).includes('//')) return range(count).map((i) => freshDim(node, 0, i))
  if (typeof length === 'string') return range(count).map(() => even)
  const part = Math.ceil(length / count)
  return range(count, (i) => Math.max(0, Math.min(part, length - i * part)))
}

/** Where each part starts, and where the last one ends. */
function partBounds(lengths: readonly number[]): number[] {
  const bounds = [0]
  for (const length of lengths) bounds.push(bounds[bounds.length - 1] + length)
  return bounds
}

function inferSplit(node: Node, inputs: InputFacts): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  if (!shape) return node.outputs.map(() => ({ dtype, shape }))
  const axis = normalizeAxis(node.int('axis', 0), shape.length)
  const lengths = partLengths(node, shape[axis], isGiven(inputs, 1) ? vectorContents(inputs, 1) : undefined)
  const vector = vectorContents(inputs, 0)
  const bounds = lengths.every((length) => typeof length === 'number') ? partBounds(lengths) : null
  return lengths.map((length, part) => ({
    dtype,
    shape: shape.map((dim, i) => (i === axis ? length : dim)),
    contents: vector && bounds ? vector.slice(bounds[part], bounds[part + 1]) : null,
  }))
}

const split = operator({
  name: 'Split',
  since: 18,
  gradient: splitGradient,
  infer: inferSplit,
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const axis = normalizeAxis(node.int('axis', 0), input.shape.length)
    const lengths = partLengths(node, input.shape[axis], inputs[1] ? integersOf(inputs[1]) : undefined) as number[]
    const starts = partBounds(lengths)
    return lengths.map((length, part) => {
      const along = input.shape.map((dim, i) => (i === axis ? range(length, (k) => starts[part] + k) : range(dim)))
      return pickAlong(input, along)
    })
  },
  upgrades: [
    attributeToInput(13, 'split', 1),
    {
      below: 18,
      apply: (node) => node.input(1) ?? node.setAttribute('num_outputs', { kind: 'int', value: node.outputs.length }),
    },
  ],
})

/** Operators on shapes. */
export const shapes: readonly Operator[] = [identity, shape, size, reshape, transpose, squeeze, unsqueeze, flatten, expand, concat, split]
