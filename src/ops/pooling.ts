/** Pooling over windows and over whole images. */
import { badInput } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { factsAt, type InputFacts } from './facts.js'
import * as gradients from './gradients/pooling.js'
import type { Gradient } from './gradients/rule.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, required, stridesOf } from './support.js'
import { outputDim, placeWindow, windowOf, windowTable } from './window.js'

function kernelOf(node: Node): number[] {
  const kernel = node.ints('kernel_shape')
  if (!kernel) throw badInput('the attribute kernel_shape is missing')
  return kernel
}

function pooledFacts(node: Node, inputs: InputFacts): ValueFacts {
  const { dtype, shape } = factsAt(inputs, 0)
  const window = windowOf(node, kernelOf(node))
  return { dtype, shape: shape && [shape[0], shape[1], ...shape.slice(2).map((dim, axis) => outputDim(window, axis, dim))] }
}

/**
 * Walks all windows of all channels.
 *
 * @param visit gets the elements that lie in the image, their flat indices in it, and how many places of the window lie in
 *   the image or on its padding; gives the pooled number
 */
function pool(
  node: Node,
  x: NDArray,
  visit: (elements: number[], indices: number[], places: number, channel: number) => number,
): { shape: number[]; values: Float64Array } {
  const window = placeWindow(windowOf(node, kernelOf(node)), x.shape.slice(2))
  const table = windowTable(window)
  const [area, places, taps] = [sizeOf(window.input), sizeOf(window.output), sizeOf(window.kernel)]
  const [input, channels] = [numbersOf(x), x.shape[0] * x.shape[1]]
  const values = new Float64Array(channels * places)
  for (let place = 0; place < places; place++) {
    const row = table.subarray(place * taps, (place + 1) * taps)
    const indices = [...row].filter((at) => at >= 0)
    const covered = row.reduce((count, at) => count + Number(at > -2), 0)
    for (let channel = 0; channel < channels; channel++) {
      const elements = indices.map((at) => input[channel * area + at])
      values[channel * places + place] = visit(elements, indices, covered, channel)
    }
  }
  return { shape: [x.shape[0], x.shape[1], ...window.output], values }
}

const averagePool = operator({
  name: 'AveragePool',
  since: 7,
  gradient: gradients.averagePool,
  infer: (node, inputs) => [pooledFacts(node, inputs)],
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const whole = node.int('count_include_pad', 0) === 1
    const { shape, values } = pool(node, x, (elements, _, places) => sum(elements) / (whole ? places : elements.length))
    return [arrayOf(x.dtype, shape, values)]
  },
})

function sum(elements: readonly number[]): number {
  return elements.reduce((total, element) => total + element, 0)
}

const maxPool = operator({
  name: 'MaxPool',
  since: 8,
  gradient: gradients.maxPoolGradient,
  infer: (node, inputs) => {
    const facts = pooledFacts(node, inputs)
    return [facts, { dtype: 'int64', shape: facts.shape }]
  },
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const [area, columnMajor] = [sizeOf(x.shape.slice(2)), node.int('storage_order', 0) === 1]
    const places: number[] = []
    const { shape, values } = pool(node, x, (elements, indices, _, channel) => {
      const best = elements.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
      const at = indices[elements.indexOf(best)]
      places.push(channel * area + (columnMajor ? columnMajorIndex(at, x.shape.slice(2)) : at))
      return best
    })
    return [arrayOf(x.dtype, shape, values), arrayOf('int64', shape, byChannel(places, x.shape[0] * x.shape[1]))]
  },
})

/** Turns a list that runs over channels first into one that runs over places first. */
function byChannel(list: readonly number[], channels: number): number[] {
  const places = list.length / channels
  return list.map((_, i) => list[(i % places) * channels + Math.floor(i / places)])
}

function columnMajorIndex(index: number, shape: readonly number[]): number {
  const strides = stridesOf(shape)
  let [result, step] = [0, 1]
  shape.forEach((dim, axis) => {
    result += (Math.floor(index / strides[axis]) % dim) * step
    step *= dim
  })
  return result
}

const lpPool = operator({
  name: 'LpPool',
  since: 2,
  gradient: gradients.lpPool,
  infer: (node, inputs) => [pooledFacts(node, inputs)],
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const { shape, values } = pool(node, x, (elements) => norm(elements, node.int('p', 2)))
    return [arrayOf(x.dtype, shape, values)]
  },
})

function norm(elements: readonly number[], p: number): number {
  return elements.reduce((total, element) => total + Math.abs(element) ** p, 0) ** (1 / p)
}

/** A record that makes one number of every channel. */
function globalPool(name: string, since: number, gradient: Gradient, reduce: (elements: number[], node: Node) => number): Operator {
  const pooled = <D extends Dim>(shape: readonly D[]): (D | 1)[] => shape.map((dim, axis) => (axis < 2 ? dim : 1))
  return operator({
    name,
    since,
    gradient,
    infer: (_, inputs) => {
      const { dtype, shape } = factsAt(inputs, 0)
      return [{ dtype, shape: shape && pooled(shape) }]
    },
    evaluate: (node, inputs) => {
      const x = required(inputs, 0)
      const [values, area] = [numbersOf(x), sizeOf(x.shape.slice(2))]
      const channels = Array.from({ length: x.shape[0] * x.shape[1] }, (_, c) =>
        reduce([...values.subarray(c * area, (c + 1) * area)], node),
      )
      return [arrayOf(x.dtype, pooled(x.shape), channels)]
    },
  })
}

/** Pooling operators of the standard. */
export const pools: readonly Operator[] = [
  averagePool,
  maxPool,
  lpPool,
  globalPool('GlobalAveragePool', 1, gradients.globalAveragePool, (elements) => sum(elements) / elements.length),
  globalPool('GlobalMaxPool', 1, gradients.globalMaxPool, (elements) =>
    elements.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  ),
  globalPool('GlobalLpPool', 2, gradients.globalLpPool, (elements, node) => norm(elements, node.int('p', 2))),
]
