/** ONNX Runtime's operators from codes to codes (domain com.microsoft): dequantize, compute, quantize in one. */
import { addDims, type Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { rowwise, sigmoid } from './activation.js'
import { broadcastFacts, factsAt, type InputFacts, sameFacts } from './facts.js'
import * as gradients from './gradients/microsoft-quantization.js'
import type { Gradient } from './gradients/rule.js'
import { microsoft } from './microsoft.js'
import { requantized } from './quantization.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { concatenate } from './shape.js'
import { softmax } from './softmax.js'
import { broadcast, mapElements, normalizeAxis, required, scalarOf, transposedArray } from './support.js'

type Inputs = readonly (NDArray | null)[]

/** The numbers of codes at an input whose scale and zero point follow it. */
function realInput(inputs: Inputs, index: number): NDArray {
  const [codes, scale] = [required(inputs, index), scalarOf(required(inputs, index + 1))]
  const zero = inputs[index + 2] ? scalarOf(required(inputs, index + 2)) : 0
  return mapElements(codes, (code) => (code - zero) * scale, 'float64')
}

/** Codes of the dtype of the zero point at `index + 1`, which may be absent, with the scale at `index`. */
function codesFor(real: NDArray, inputs: Inputs, index: number): NDArray {
  const zeroPoint = inputs[index + 1] ?? { dtype: required(inputs, 0).dtype, shape: [], data: Uint8Array.of(0) }
  return requantized({ shape: real.shape, values: Float64Array.from(numbersOf(real)) }, required(inputs, index), zeroPoint)
}

function binary(name: string, gradient: Gradient, f: (a: number, b: number) => number): Operator {
  return operator({
    name,
    domain: microsoft,
    since: 1,
    gradient,
    infer: (_, inputs) => broadcastFacts([factsAt(inputs, 0), factsAt(inputs, 3)]),
    evaluate: (_, inputs) => [codesFor(broadcast(realInput(inputs, 0), realInput(inputs, 3), 'float64', f), inputs, 6)],
  })
}

function unary(name: string, gradient: Gradient, apply: (node: Node, x: NDArray) => NDArray): Operator {
  return operator({
    name,
    domain: microsoft,
    since: 1,
    gradient,
    infer: (_, inputs) => sameFacts(inputs),
    evaluate: (node, inputs) => [codesFor(apply(node, realInput(inputs, 0)), inputs, 3)],
  })
}

/** Where the triples of codes, scale and zero point of QLinearConcat start. */
function triples(count: number): number[] {
  return Array.from({ length: Math.floor((count - 2) / 3) }, (_, i) => 2 + 3 * i)
}

function inferConcat(node: Node, inputs: InputFacts): ValueFacts[] {
  const shapes = triples(inputs.length).map((i) => factsAt(inputs, i).shape)
  const [first] = shapes
  if (!first || shapes.includes(null)) return [{ dtype: factsAt(inputs, 1).dtype, shape: null }]
  const axis = normalizeAxis(node.int('axis', 0), first.length)
  const length = shapes.reduce<Dim>((sum, shape) => addDims(sum, shape![axis]), 0)
  return [{ dtype: factsAt(inputs, 1).dtype, shape: first.map((dim, i) => (i === axis ? length : dim)) }]
}

const qLinearConcat = operator({
  name: 'QLinearConcat',
  domain: microsoft,
  since: 1,
  gradient: gradients.qLinearConcat,
  infer: inferConcat,
  evaluate: (node, inputs) => {
    const parts = triples(inputs.length).map((i) => realInput(inputs, i))
    return [codesFor(concatenate(parts, normalizeAxis(node.int('axis', 0), parts[0].shape.length)), inputs, 0)]
  },
})

function averaged(node: Node, x: NDArray): NDArray {
  const rank = x.shape.length
  const last = node.int('channels_last', 0) === 1
  const order = [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)]
  const { shape, data } = last ? transposedArray(x, order) : x
  const area = shape.slice(2).reduce((a, b) => a * b, 1)
  const values = Float64Array.from({ length: shape[0] * shape[1] }, (_, channel) => {
    const image = (data as Float64Array).subarray(channel * area, (channel + 1) * area)
    return image.reduce((a, b) => a + b, 0) / area
  })
  return { dtype: 'float64', shape: x.shape.map((dim, i) => (i === 0 || i === (last ? rank - 1 : 1) ? dim : 1)), data: values }
}

const qLinearGlobalAveragePool: Operator = {
  ...unary('QLinearGlobalAveragePool', gradients.qLinearGlobalAveragePool, averaged),
  infer: (node, inputs) => {
    const { dtype, shape } = factsAt(inputs, 0)
    const channel = node.int('channels_last', 0) === 1 ? (shape?.length ?? 0) - 1 : 1
    return [{ dtype, shape: shape?.map((dim, i) => (i === 0 || i === channel ? dim : 1)) ?? null }]
  },
}

/** Slope of LeakyRelu for negative numbers. */
function leaky(node: Node, x: NDArray): NDArray {
  const alpha = node.float('alpha', 0.01)
  return mapElements(x, (value) => (value < 0 ? alpha * value : value))
}

/** ONNX Runtime's operators from codes to codes. */
export const microsoftIntegers: readonly Operator[] = [
  binary('QLinearAdd', gradients.qLinearAdd, (a, b) => a + b),
  binary('QLinearMul', gradients.qLinearMul, (a, b) => a * b),
  unary('QLinearSigmoid', gradients.qLinearSigmoid, (_, x) => mapElements(x, sigmoid)),
  unary('QLinearLeakyRelu', gradients.qLinearLeakyRelu, leaky),
  unary('QLinearSoftmax', gradients.qLinearSoftmax, (node, x) => rowwise(x, node.int('axis', -1), softmax)),
  qLinearConcat,
  qLinearGlobalAveragePool,
]
