/** Activation functions: elementwise ones, gated ones, dropout. */
import { badInput } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { factsAt, sameFacts } from './facts.js'
import { attributeToInput } from './forms.js'
import {
  activationGradients,
  dropoutGradient,
  logSoftmaxGradient,
  pReluGradient,
  softmaxGradient,
  swiGluGradient,
} from './gradients/activation.js'
import { type Gradient, nothingFlows } from './gradients/rule.js'
import { MersenneTwister } from './mersenne-twister.js'
import { type Operator, operator } from './record.js'
import { softmax } from './softmax.js'
import { erf } from './special.js'
import { arrayOf, broadcast, filled, mapElements, required, scalarOf, type Unary } from './support.js'

/** A record whose output is a function of each element. `bind` reads the node's attributes. */
export function activation(name: string, since: number, bind: (node: Node) => Unary<number>, gradient: Gradient, domain = ''): Operator {
  return operator({
    name,
    domain,
    since,
    gradient,
    infer: (_, inputs) => sameFacts(inputs),
    evaluate: (node, inputs) => [mapElements(required(inputs, 0), bind(node))],
  })
}

/** `x` where positive, else what `negative` makes of it. */
function rectified(negative: (node: Node) => Unary<number>): (node: Node) => Unary<number> {
  return (node) => {
    const f = negative(node)
    return (x) => (x > 0 || Number.isNaN(x) ? x : f(x))
  }
}

/** 1 / (1 + exp(-x)), without overflow. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

/** GELU with the tanh approximation: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
export function tanhGelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)))
}

/** The exact GELU: x * Phi(x). */
export const gelu: Unary<number> = (x) => (x === Number.NEGATIVE_INFINITY ? 0 : 0.5 * x * (1 + erf(x / Math.SQRT2)))

/** x * sigmoid(alpha * x); SiLU for alpha 1. */
export function swish(alpha: number): Unary<number> {
  return (x) => x * sigmoid(alpha * x)
}

const softplus: Unary<number> = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

const pRelu = operator({
  name: 'PRelu',
  since: 7,
  gradient: pReluGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (_, inputs) => {
    const x = required(inputs, 0)
    return [broadcast(x, required(inputs, 1), x.dtype, (value, slope) => (value < 0 ? slope * value : value))]
  },
})

const swiGlu = operator({
  name: 'SwiGLU',
  since: 28,
  gradient: swiGluGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const [gate, linear] = [required(inputs, 0), required(inputs, 1)]
    if (gate.shape.join() !== linear.shape.join())
      throw badInput(`the gate's shape [${gate.shape}] is not the linear input's [${linear.shape}]`)
    const activate = swish(node.float('alpha', 1))
    return [broadcast(gate, linear, gate.dtype, (a, b) => activate(a) * b)]
  },
})

const dropout = operator({
  name: 'Dropout',
  since: 12,
  gradient: dropoutGradient,
  infer: (_, inputs) => [sameFacts(inputs)[0], { dtype: 'bool', shape: factsAt(inputs, 0).shape }],
  evaluate: (node, [x, ratio, training]) => {
    const input = required([x], 0)
    const probability = ratio ? scalarOf(ratio) : 0.5
    if (!training || !scalarOf(training) || probability === 0) return [input, filled('bool', input.shape, 1)]
    return drop(input, probability, node.int('seed', 0))
  },
  upgrades: [attributeToInput(12, 'ratio', 1)],
})

/** Zeroes elements with a probability and scales what is left; the draws are those of NumPy's `RandomState(seed).uniform`. */
function drop(x: NDArray, probability: number, seed: number): NDArray[] {
  const random = new MersenneTwister(seed)
  const kept = Array.from({ length: sizeOf(x.shape) }, () => Number(random.uniform() >= probability))
  const values = numbersOf(x)
  const scaled = kept.map((keep, i) => (keep ? values[i] / (1 - probability) : 0))
  return [arrayOf(x.dtype, x.shape, scaled), arrayOf('bool', x.shape, kept)]
}

/** A record of one of the softmax family; `along` turns one row of numbers into another. */
function alongAxis(name: string, along: (row: Float64Array) => void, gradient: Gradient): Operator {
  return operator({
    name,
    since: 13,
    gradient,
    infer: (_, inputs) => sameFacts(inputs),
    evaluate: (node, inputs) => [rowwise(required(inputs, 0), node.int('axis', -1), along)],
    upgrades: [{ below: 13, apply: coerceToMatrix }],
  })
}

/** Rewrites a row function of the old kind, which saw its input as a matrix split at `axis`, by one along the last axis. */
function coerceToMatrix(node: Node, graph: Graph): void {
  const axis = node.int('axis', 1)
  const x = node.input(0)
  node.setAttribute('axis', { kind: 'int', value: -1 })
  if (!x || axis === -1 || axis === (x.shape?.length ?? Number.NaN) - 1) return
  const shape = graph.add('Shape', [x], { before: node }).output
  const matrix = graph.add('Flatten', [x], { before: node, attributes: { axis: { kind: 'int', value: axis } } }).output
  node.setInput(0, matrix)
  const uses = [...node.output.uses]
  const result = graph.add('Reshape', [node.output, shape], { after: node })
  for (const use of uses) use.node.setInput(use.index, result.output)
  takeName(graph, node, result)
}

/** Makes an added node the maker of the value that callers know by the name of `node`'s output. */
function takeName(graph: Graph, node: Node, replacement: Node): void {
  const name = node.output.name
  Object.assign(replacement.output, { dtype: node.output.dtype, shape: node.output.shape })
  node.output.shape = null
  for (let i = 0; i < graph.outputs.length; i++) if (graph.outputs[i] === node.output) graph.outputs[i] = replacement.output
  graph.rename(node.output, graph.uniqueName(`${name}_matrix`))
  graph.rename(replacement.output, name)
}

/** Applies a function of rows along an axis. */
export function rowwise(x: NDArray, axis: number, along: (row: Float64Array) => void): NDArray {
  const at = axis < 0 ? axis + x.shape.length : axis
  if (!(at >= 0 && at < Math.max(x.shape.length, 1))) throw badInput(`axis ${axis} is not one of a rank ${x.shape.length} array`)
  const inner = sizeOf(x.shape.slice(at + 1))
  const length = x.shape[at] ?? 1
  const values = Float64Array.from(numbersOf(x))
  const row = new Float64Array(length)
  for (let start = 0; start < values.length; start += length * inner)
    for (let i = start; i < start + inner; i++) {
      for (let k = 0; k < length; k++) row[k] = values[i + k * inner]
      along(row)
      for (let k = 0; k < length; k++) values[i + k * inner] = row[k]
    }
  return arrayOf(x.dtype, x.shape, values)
}

/** log(softmax(row)) in place. */
export function logSoftmax(row: Float64Array): void {
  const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  let sum = 0
  for (const x of row) sum += Math.exp(x - max)
  const shift = max + Math.log(sum)
  for (let i = 0; i < row.length; i++) row[i] -= shift
}

function hardmax(row: Float64Array): void {
  const at = row.indexOf(row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY))
  row.fill(0)
  row[at] = 1
}

/** An activation of the standard. */
function standard(name: keyof typeof activationGradients, since: number, bind: (node: Node) => Unary<number>): Operator {
  return activation(name, since, bind, activationGradients[name])
}

/** Activation functions of the standard. */
export const activations: readonly Operator[] = [
  standard('Relu', 6, () => (x) => Math.max(x, 0)),
  standard(
    'LeakyRelu',
    6,
    rectified((node) => {
      const alpha = node.float('alpha', 0.01)
      return (x) => alpha * x
    }),
  ),
  standard(
    'Elu',
    6,
    rectified((node) => {
      const alpha = node.float('alpha', 1)
      return (x) => alpha * Math.expm1(x)
    }),
  ),
  standard(
    'Celu',
    12,
    rectified((node) => {
      const alpha = node.float('alpha', 1)
      return (x) => alpha * Math.expm1(x / alpha)
    }),
  ),
  standard('Selu', 6, (node) => {
    const [alpha, gamma] = [node.float('alpha', 1.6732632423543772), node.float('gamma', 1.0507009873554805)]
    return (x) => gamma * (x > 0 ? x : alpha * Math.expm1(x))
  }),
  standard('ThresholdedRelu', 10, (node) => {
    const alpha = node.float('alpha', 1)
    return (x) => (x > alpha ? x : 0)
  }),
  standard('Sigmoid', 6, () => sigmoid),
  standard('HardSigmoid', 6, (node) => hardSigmoid(node.float('alpha', 0.2), node.float('beta', 0.5))),
  standard('HardSwish', 14, () => (x) => x * hardSigmoid(1 / 6, 0.5)(x)),
  standard('Softplus', 1, () => softplus),
  standard('Softsign', 1, () => (x) => x / (1 + Math.abs(x))),
  standard('Tanh', 6, () => Math.tanh),
  standard('Gelu', 20, (node) => (node.string('approximate', 'none') === 'tanh' ? tanhGelu : gelu)),
  standard('Swish', 24, (node) => swish(node.float('alpha', 1))),
  standard('Mish', 18, () => (x) => x * Math.tanh(softplus(x))),
  standard('Shrink', 9, (node) => {
    const [lambda, bias] = [node.float('lambd', 0.5), node.float('bias', 0)]
    return (x) => (x < -lambda ? x + bias : x > lambda ? x - bias : 0)
  }),
  pRelu,
  swiGlu,
  dropout,
  alongAxis('Softmax', softmax, softmaxGradient),
  alongAxis('LogSoftmax', logSoftmax, logSoftmaxGradient),
  alongAxis('Hardmax', hardmax, nothingFlows),
]

function hardSigmoid(alpha: number, beta: number): Unary<number> {
  return (x) => Math.max(0, Math.min(1, alpha * x + beta))
}
