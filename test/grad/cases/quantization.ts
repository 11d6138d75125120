import { attribute, type Graph, type Value } from '../../../src/ir/index.js'
import { type DType, type NDArray, ndarray } from '../../../src/numbers/dtype.js'
import { random } from '../differences.js'

const { int } = attribute

export const microsoft = 'com.microsoft'
const scalar = (value: number) => ndarray('float64', [], [value])
const zeroPoint = (value: number, dtype: DType = 'int8') => ndarray(dtype, [], [value])

/** Computations on codes, and the same ones on the numbers that they stand for. */
export interface Pair {
  readonly x: NDArray
  readonly w?: NDArray
  readonly codes: (graph: Graph, x: Value, w: Value, constant: (array: NDArray) => Value) => Value
  readonly numbers: (graph: Graph, x: Value, w: Value, constant: (array: NDArray) => Value) => Value
}

export const [scaleX, scaleW, scaleY] = [scalar(0.01), scalar(0.012), scalar(0.05)]
export const [zeroX, zeroW, zeroY] = [zeroPoint(3), zeroPoint(-5), zeroPoint(2)]
const [left, right] = [random([3, 4], 1), random([4, 2], 2)]
const decoded = (graph: Graph, codes: Value, constant: (array: NDArray) => Value) =>
  graph.add('DequantizeLinear', [codes, constant(scaleY), constant(zeroY)]).output
const quantizedWeights = [scaleX, zeroX, scaleW, zeroW, scaleY, zeroY]
const bias = random([2], 5)

const real =
  (operator: string, attributes = {}): Pair['numbers'] =>
  (graph, x, w) =>
    graph.add(operator, [x, w], { attributes }).output
const ofOne = (operator: string, numbers: Pair['numbers'], attributes = {}): Pair => ({
  x: random([2, 3, 2, 2], 1, { gap: 0.05 }),
  codes: (graph, x, _, c) =>
    decoded(graph, graph.add(operator, [x, ...[scaleX, zeroX, scaleY, zeroY].map(c)], { domain: microsoft, attributes }).output, c),
  numbers,
})
const ofTwo = (operator: string, numbers: Pair['numbers']): Pair => ({
  x: left,
  w: random([4], 2),
  codes: (graph, x, w, c) =>
    decoded(
      graph,
      graph.add(operator, [x, c(scaleX), c(zeroX), w, c(scaleW), c(zeroW), c(scaleY), c(zeroY)], { domain: microsoft }).output,
      c,
    ),
  numbers,
})
/** Codes to numbers: an integer result times both scales. */
const scaled = (graph: Graph, sums: Value, c: (array: NDArray) => Value) => {
  const numbers = graph.add('Cast', [sums], { attributes: { to: int(11) } }).output
  return graph.add('Mul', [graph.add('Mul', [numbers, c(scaleX)]).output, c(scaleW)]).output
}

export const pairs: Record<string, Pair> = {
  MatMulInteger: {
    x: left,
    w: right,
    codes: (graph, x, w, c) => scaled(graph, graph.add('MatMulInteger', [x, w, c(zeroX), c(zeroW)]).output, c),
    numbers: real('MatMul'),
  },
  ConvInteger: {
    x: random([1, 2, 4, 3], 1),
    w: random([2, 2, 2, 2], 2),
    codes: (graph, x, w, c) => scaled(graph, graph.add('ConvInteger', [x, w, c(zeroX), c(zeroW)]).output, c),
    numbers: real('Conv'),
  },
  QLinearMatMul: {
    x: left,
    w: right,
    codes: (graph, x, w, c) =>
      decoded(graph, graph.add('QLinearMatMul', [x, c(scaleX), c(zeroX), w, ...quantizedWeights.slice(2).map(c)]).output, c),
    numbers: real('MatMul'),
  },
  QLinearConv: {
    x: random([1, 2, 4, 3], 1),
    w: random([2, 2, 2, 2], 2),
    codes: (graph, x, w, c) =>
      decoded(
        graph,
        graph.add('QLinearConv', [x, c(scaleX), c(zeroX), w, ...quantizedWeights.slice(2).map(c), c(ndarray('int32', [2], [100, -200]))])
          .output,
        c,
      ),
    numbers: real('Conv'),
  },
  'com.microsoft.MatMulIntegerToFloat': {
    x: left,
    w: right,
    codes: (graph, x, w, c) =>
      graph.add('MatMulIntegerToFloat', [x, w, ...[scaleX, scaleW, zeroX, zeroW, bias].map(c)], { domain: microsoft }).output,
    numbers: real('MatMul'),
  },
  'com.microsoft.QGemm': {
    x: left,
    w: random([2, 4], 2),
    codes: (graph, x, w, c) => {
      const inputs = [x, c(scaleX), c(zeroX), w, c(scaleW), c(zeroW), c(ndarray('int32', [2], [100, -200])), c(scaleY), c(zeroY)]
      return decoded(graph, graph.add('QGemm', inputs, { domain: microsoft, attributes: { transB: int(1) } }).output, c)
    },
    numbers: real('Gemm', { transB: int(1) }),
  },
  'com.microsoft.QLinearAdd': ofTwo('QLinearAdd', real('Add')),
  'com.microsoft.QLinearMul': ofTwo('QLinearMul', real('Mul')),
  'com.microsoft.QLinearSigmoid': ofOne('QLinearSigmoid', (graph, x) => graph.add('Sigmoid', [x]).output),
  'com.microsoft.QLinearLeakyRelu': ofOne('QLinearLeakyRelu', (graph, x) => graph.add('LeakyRelu', [x]).output),
  'com.microsoft.QLinearSoftmax': ofOne('QLinearSoftmax', (graph, x) => graph.add('Softmax', [x]).output),
  'com.microsoft.QLinearGlobalAveragePool': ofOne('QLinearGlobalAveragePool', (graph, x) => graph.add('GlobalAveragePool', [x]).output),
  'com.microsoft.QLinearConcat': {
    x: left,
    w: random([3, 2], 2),
    codes: (graph, x, w, c) => {
      const inputs = [c(scaleY), c(zeroY), x, c(scaleX), c(zeroX), w, c(scaleW), c(zeroW)]
      return decoded(graph, graph.add('QLinearConcat', inputs, { domain: microsoft, attributes: { axis: int(1) } }).output, c)
    },
    numbers: (graph, x, w) => graph.add('Concat', [x, w], { attributes: { axis: int(1) } }).output,
  },
  'com.microsoft.QAttention': {
    x: random([1, 3, 4], 1),
    w: random([4, 12], 2),
    codes: (graph, x, w, c) => {
      const inputs = [x, w, c(random([12], 3)), c(scaleX), c(scaleW), null, c(zeroX), c(zeroW)]
      return graph.add('QAttention', inputs, { domain: microsoft, attributes: { num_heads: int(2), unidirectional: int(1) } }).output
    },
    numbers: (graph, x, w, c) =>
      graph.add('Attention', [x, w, c(random([12], 3))], { domain: microsoft, attributes: { num_heads: int(2), unidirectional: int(1) } })
        .output,
  },
}

/** Operators whose gradients are checked against closed forms. */
export const closedForms: Readonly<Record<string, unknown>> = {
  ...pairs,
  QuantizeLinear: 'LSQ',
  DequantizeLinear: 'LSQ',
  DynamicQuantizeLinear: 'straight through',
  'com.microsoft.QuantizeLinear': 'LSQ',
  'com.microsoft.DequantizeLinear': 'LSQ',
  'com.microsoft.DynamicQuantizeMatMul': 'straight through',
}
