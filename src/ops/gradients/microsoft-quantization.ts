/** ONNX Runtime's quantized operators spelled out: dequantize, compute, quantize. */
import { unsupported } from '../../base/errors.js'
import { int, string } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { fourBitNumbers } from '../four-bit.js'
import { normalizeAxis, range } from '../support.js'
import { dequantized, quantized } from './quantization.js'
import type { Expansion, GradientBuilder } from './rule.js'
import {
  add,
  axesOnwards,
  cast,
  castLike,
  centred,
  flat,
  integers,
  multiply,
  rangeTo,
  reshape,
  scalar,
  shapeOf,
  slice,
  subtract,
  transpose,
  unsqueeze,
} from './terms.js'

function plus(g: GradientBuilder, x: Value, bias: Value | null): Value {
  return bias ? add(g, x, bias) : x
}

export const matMulIntegerToFloat: Expansion = {
  expand(node, g) {
    const [a, b, aScale, bScale, aZero, bZero, bias] = range(7, (i) => node.input(i))
    const product = g.op('MatMul', [centred(g, a!, aZero, aScale!), centred(g, b!, bZero, bScale!)])
    return [plus(g, multiply(g, multiply(g, product, aScale!), bScale!), bias)]
  },
}

export const dynamicQuantizeMatMul: Expansion = {
  expand(node, g) {
    const [a, b, bScale, bZero, bias] = range(5, (i) => node.input(i))
    const [codes, scale, zeroPoint] = g.ops('DynamicQuantizeLinear', [a], 3)
    const product = g.op('MatMul', [dequantized(g, codes, scale, zeroPoint, 0), centred(g, b!, bZero, bScale!)])
    return [plus(g, multiply(g, product, bScale!), bias)]
  },
}

export const qGemm: Expansion = {
  expand(node, g) {
    const [a, aScale, aZero, b, bScale, bZero, c, yScale, yZero] = range(9, (i) => node.input(i))
    const turned = (x: Value, name: string): Value => (node.int(name, 0) ? transpose(g, x, [1, 0]) : x)
    const left = turned(centred(g, a!, aZero, aScale!), 'transA')
    const right = turned(centred(g, b!, bZero, bScale!), 'transB')
    const sum = plus(g, g.op('MatMul', [left, right]), c && castLike(g, c, aScale!))
    const y = multiply(g, multiply(g, multiply(g, sum, aScale!), bScale!), node.float('alpha', 1))
    return [yScale && yZero ? quantized(g, y, yScale, yZero, 0) : y]
  },
}

/** The codes in each byte, along a new last axis: the lowest bits first. */
function unpacked(g: GradientBuilder, bytes: Value, bits: number): Value {
  if (bits === 8) return unsqueeze(g, bytes, shapeOf(bytes).length)
  const parts = range(8 / bits, (i) => {
    const shifted = i ? g.op('BitShift', [bytes, scalar(g, i * bits, bytes)], { direction: string('RIGHT') }) : bytes
    return unsqueeze(g, g.op('BitwiseAnd', [shifted, scalar(g, 2 ** bits - 1, bytes)]), shapeOf(bytes).length)
  })
  return g.op('Concat', parts, { axis: int(-1) })
}

/** Packed codes with `width` of them in each row of the last axis. */
function unpackedRows(g: GradientBuilder, bytes: Value, bits: number, width: number): Value {
  const shape = shapeOf(bytes).slice(0, -1) as number[]
  return slice(g, reshape(g, unpacked(g, bytes, bits), integers(g, [...shape, -1])), shape.length, 0, width)
}

/** x W^T + bias */
function linear(g: GradientBuilder, x: Value, weight: Value, bias: Value | null): Value {
  return plus(g, g.op('MatMul', [x, transpose(g, weight, [1, 0])]), bias)
}

export const matMulNBits: Expansion = {
  expand(node, g) {
    const [x, bytes, scales, zeroPoint, order, bias] = range(6, (i) => node.input(i))
    if (order) throw unsupported('MatMulNBits with g_idx is not understood', { where: node.name || node.output.name })
    const [rows, columns, size, bits] = [node.int('N', 0), node.int('K', 0), node.int('block_size', 0), node.int('bits', 4)]
    const blocks = Math.ceil(columns / size)
    const codes = castLike(g, reshape(g, unpacked(g, bytes!, bits), integers(g, [rows, blocks, size])), scales!)
    const perBlock = (parameter: Value): Value => reshape(g, parameter, integers(g, [rows, blocks, 1]))
    const packed = zeroPoint?.dtype === 'uint8'
    const zeros = packed ? unpackedRows(g, reshape(g, zeroPoint, integers(g, [rows, -1])), bits, blocks) : zeroPoint
    const centredCodes = subtract(g, codes, zeros ? perBlock(castLike(g, zeros, scales!)) : scalar(g, 2 ** (bits - 1), scales!))
    const weight = reshape(g, multiply(g, centredCodes, perBlock(scales!)), integers(g, [rows, blocks * size]))
    return [linear(g, x!, castLike(g, blocks * size === columns ? weight : slice(g, weight, 1, 0, columns), x!), bias)]
  },
}

export const matMulBnb4: Expansion = {
  expand(node, g) {
    const [x, bytes, largest] = node.inputs as Value[]
    if (!node.int('transB', 1)) throw unsupported('MatMulBnb4 with transB = 0 is not understood', { where: node.name || node.output.name })
    const [rows, columns, size] = [node.int('N', 0), node.int('K', 0), node.int('block_size', 0)]
    const numbers = fourBitNumbers[node.int('quant_type', 0)]
    const pairs = unpacked(g, flat(g, bytes), 4)
    const codes = slice(g, flat(g, g.op('Gather', [pairs, integers(g, [1, 0])], { axis: int(1) })), 0, 0, rows * columns)
    const table = g.constant(ndarray(largest.dtype ?? 'float32', [16], numbers))
    const block = g.op('Div', [rangeTo(g, rows * columns), integers(g, [size])])
    const values = multiply(g, g.op('Gather', [table, cast(g, codes, 'int32')]), g.op('Gather', [flat(g, largest), block]))
    return [linear(g, x, castLike(g, reshape(g, values, integers(g, [rows, columns])), x), null)]
  },
}

/** A table in blocks along one axis, of which rows are taken. */
export const gatherBlockQuantized: Expansion = {
  expand(node, g) {
    const [data, indices, scales, zeroPoint] = range(4, (i) => node.input(i))
    const [bits, size] = [node.int('bits', 4), node.int('block_size', 128)]
    const packed = data!.dtype === 'uint8'
    const scaleShape = shapeOf(scales!) as number[]
    const rows = (bytes: Value, width: number): Value => (packed ? unpackedRows(g, bytes, bits, width) : bytes)
    const codes = rows(data!, (Number(shapeOf(data!).at(-1)) * 8) / bits)
    const middle = packed ? scalar(g, 2 ** (bits - 1), data!) : null
    const zeros = zeroPoint ? rows(zeroPoint, scaleShape.at(-1)!) : middle && g.op('Expand', [middle, integers(g, scaleShape)])
    const axis = normalizeAxis(node.int('quantize_axis', 1), scaleShape.length)
    const table = g.op('DequantizeLinear', [codes, scales!, zeros], { axis: int(axis), block_size: int(size) })
    return [g.op('Gather', [table, indices!], { axis: int(node.int('gather_axis', 0)) })]
  },
}

/** The numbers of codes at an input whose scale and zero point follow it. */
function realInput(g: GradientBuilder, node: Node, index: number): Value {
  return dequantized(g, node.input(index)!, node.input(index + 1)!, node.input(index + 2), 0)
}

/** Computes with numbers between codes; the scale of the result is at input `at`. */
function betweenCodes(at: number, compute: (g: GradientBuilder, node: Node) => Value): Expansion {
  return {
    expand: (node, g) => [
      quantized(g, compute(g, node), node.input(at)!, node.input(at + 1) ?? scalar(g, 0, node.input(at === 0 ? 2 : 0)!), 0),
    ],
  }
}

function ofOne(compute: (g: GradientBuilder, x: Value, node: Node) => Value): Expansion {
  return betweenCodes(3, (g, node) => compute(g, realInput(g, node, 0), node))
}

export const qLinearAdd = betweenCodes(6, (g, node) => add(g, realInput(g, node, 0), realInput(g, node, 3)))
export const qLinearMul = betweenCodes(6, (g, node) => multiply(g, realInput(g, node, 0), realInput(g, node, 3)))
export const qLinearSigmoid = ofOne((g, x) => g.op('Sigmoid', [x]))
export const qLinearLeakyRelu = ofOne((g, x, node) =>
  g.op('LeakyRelu', [x], { alpha: { kind: 'float', value: node.float('alpha', 0.01) } }),
)
export const qLinearSoftmax = ofOne((g, x, node) => g.op('Softmax', [x], { axis: int(node.int('axis', -1)) }))

export const qLinearGlobalAveragePool = ofOne((g, x, node) => {
  const rank = shapeOf(x).length
  const space = node.int('channels_last', 0) === 1 ? range(rank - 2, (i) => i + 1) : axesOnwards(2, x)
  return g.op('ReduceMean', [x, integers(g, space)], { keepdims: int(1) })
})

export const qLinearConcat = betweenCodes(0, (g, node) => {
  const parts = range(Math.floor((node.inputs.length - 2) / 3), (i) => realInput(g, node, 2 + 3 * i))
  return g.op('Concat', parts, { axis: int(node.int('axis', 0)) })
})
