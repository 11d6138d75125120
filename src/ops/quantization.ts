/** Quantized operators of the standard. Rounding is half to even, as everywhere. */
import { badInput } from '../base/errors.js'
import type { Node } from '../ir/node.js'
import { type DType, isFloat, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { isMinifloat, roundToMinifloat } from '../numbers/minifloat.js'
import { affineFromRange, type CodeDType, groupCount, integerGrid, type Layout, walk } from '../numbers/quantizer.js'
import { roundHalfEven } from '../numbers/rounding.js'
import { addPerChannel, centred, centredFilters, convolutionShape, convolve } from './convolution.js'
import { dtypeOfCode } from './element-type.js'
import { factsAt, sameFacts } from './facts.js'
import * as gradients from './gradients/quantization.js'
import { matrixProduct, matrixProductShape, type RealArray } from './matrix.js'
import { type Operator, operator } from './record.js'
import { arrayOf, broadcastStrides, filled, offsets, required, scalarOf } from './support.js'

/** How the scales of a node lie over its first input. Throws `bad-input` where they do not fit it. */
function layoutOf(node: Node, shape: readonly number[], scale: NDArray): Layout {
  const blockSize = node.int('block_size', 0) || undefined
  if (sizeOf(scale.shape) === 1 && !blockSize) return { shape }
  const layout = { shape, axis: shape.length === 1 ? 0 : node.int('axis', 1), blockSize }
  if (groupCount(layout) !== sizeOf(scale.shape))
    throw badInput(`scales of shape [${scale.shape}] do not fit an input of shape [${shape}] along axis ${layout.axis}`)
  return layout
}

/** Calls `visit` with the index of each element and of its scale. */
export function eachScale(layout: Layout, visit: (i: number, group: number) => void): void {
  walk(layout, (start, end, first, step) => {
    for (let i = start, group = first; i < end; i++, group += step) visit(i, group)
  })
}

/** What storing a number in a floating-point dtype leaves of it. */
function roundedTo(dtype: DType): (x: number) => number {
  if (dtype === 'float64') return (x) => x
  if (!isMinifloat(dtype)) return Math.fround
  return (x) => roundToMinifloat(dtype, Float32Array.of(x))[0]
}

function clamp(x: number, min: number, max: number): number {
  return Math.min(Math.max(x, min), max)
}

function quantizedDtype(node: Node, zeroPoint: DType | null | undefined): DType {
  const code = node.int('output_dtype', 0)
  return zeroPoint ?? (code ? dtypeOfCode(code) : 'uint8')
}

/** Numbers to codes of an integer or float8 dtype. */
export const quantizeLinear = operator({
  name: 'QuantizeLinear',
  since: 10,
  gradient: gradients.quantizeLinearGradient,
  infer: (node, inputs) => sameFacts(inputs, inputs[2] && !inputs[2].dtype ? null : quantizedDtype(node, inputs[2]?.dtype)),
  evaluate: (node, inputs) => {
    const [x, scale, zeroPoint] = [required(inputs, 0), required(inputs, 1), inputs[2]]
    const dtype = quantizedDtype(node, zeroPoint?.dtype)
    const precision = node.int('precision', 0) ? dtypeOfCode(node.int('precision', 0)) : scale.dtype
    const round = roundedTo(precision)
    const [values, scales, zeros] = [numbersOf(x), numbersOf(scale), zeroPoint && numbersOf(zeroPoint)]
    const result = new Float64Array(values.length)
    const code = isFloat(dtype) ? floatCode(dtype, node.int('saturate', 1) === 1) : integerCode(dtype as CodeDType)
    eachScale(layoutOf(node, x.shape, scale), (i, group) => {
      result[i] = code(round(values[i] / scales[group]), zeros ? zeros[group] : 0)
    })
    return [arrayOf(dtype, x.shape, result)]
  },
})

function integerCode(dtype: CodeDType): (x: number, zero: number) => number {
  const { min, max } = integerGrid(dtype)
  return (x, zero) => clamp(roundHalfEven(x) + zero, min, max)
}

function floatCode(dtype: DType, saturate: boolean): (x: number, zero: number) => number {
  if (!isMinifloat(dtype)) throw badInput(`${dtype} is no dtype to quantize to`)
  return (x, zero) => roundToMinifloat(dtype, Float32Array.of(x + zero), { saturate })[0]
}

/** Codes to numbers. */
export const dequantizeLinear = operator({
  name: 'DequantizeLinear',
  since: 10,
  gradient: gradients.dequantizeLinearGradient,
  infer: (node, inputs) => {
    const code = node.int('output_dtype', 0)
    return sameFacts(inputs, code ? dtypeOfCode(code) : factsAt(inputs, 1).dtype)
  },
  evaluate: (node, inputs) => {
    const [x, scale, zeroPoint] = [required(inputs, 0), required(inputs, 1), inputs[2]]
    const code = node.int('output_dtype', 0)
    const [values, scales, zeros] = [numbersOf(x), numbersOf(scale), zeroPoint && numbersOf(zeroPoint)]
    const result = new Float64Array(values.length)
    eachScale(layoutOf(node, x.shape, scale), (i, group) => {
      result[i] = (values[i] - (zeros ? zeros[group] : 0)) * scales[group]
    })
    return [arrayOf(code ? dtypeOfCode(code) : scale.dtype, x.shape, result)]
  },
})

/** The codes, scale and zero point that DynamicQuantizeLinear makes of an array. */
export function quantizeDynamically(x: NDArray): { codes: NDArray; scale: number; zeroPoint: number } {
  const values = numbersOf(x)
  let [min, max] = [0, 0]
  for (const value of values) [min, max] = [Math.min(min, value), Math.max(max, value)]
  const { scale, zeroPoint } = affineFromRange(min, max, integerGrid('uint8'))
  const code = integerCode('uint8')
  return {
    codes: arrayOf(
      'uint8',
      x.shape,
      Float64Array.from(values, (value) => code(Math.fround(value / scale), zeroPoint)),
    ),
    scale,
    zeroPoint,
  }
}

const dynamicQuantizeLinear = operator({
  name: 'DynamicQuantizeLinear',
  since: 11,
  gradient: gradients.dynamicQuantizeLinearGradient,
  infer: (_, inputs) => [sameFacts(inputs, 'uint8')[0], { dtype: 'float32', shape: [] }, { dtype: 'uint8', shape: [] }],
  evaluate: (_, inputs) => {
    const { codes, scale, zeroPoint } = quantizeDynamically(required(inputs, 0))
    return [codes, filled('float32', [], scale), filled('uint8', [], zeroPoint)]
  },
})

/**
 * A per-row (of a) or per-column (of b) parameter shaped so that it broadcasts over its matrix: a vector [rows] of the left
 * operand becomes a column.
 */
function alignedParameter(parameter: NDArray, side: 'rows' | 'columns'): NDArray {
  if (parameter.shape.length !== 1 || parameter.shape[0] === 1) return parameter.shape.length <= 1 ? { ...parameter, shape: [] } : parameter
  return side === 'rows' ? { ...parameter, shape: [parameter.shape[0], 1] } : parameter
}

/** Codes less zero points: one for all, per row of a left operand, or per column of a right one. */
export function centredMatrix(codes: NDArray, zeroPoint: NDArray | null | undefined, side: 'rows' | 'columns'): RealArray {
  const values = Float64Array.from(numbersOf(codes))
  if (!zeroPoint) return { shape: codes.shape, values }
  const aligned = alignedParameter(zeroPoint, side)
  const [zeros, at] = [numbersOf(aligned), offsets(codes.shape, broadcastStrides(aligned.shape, codes.shape))]
  return { shape: codes.shape, values: values.map((code, i) => code - zeros[at[i]]) }
}

/** The exact product of two arrays of codes, each less its zero points. */
export function integerProduct(a: NDArray, b: NDArray, aZero?: NDArray | null, bZero?: NDArray | null): RealArray {
  return matrixProduct(centredMatrix(a, aZero, 'rows'), centredMatrix(b, bZero, 'columns'))
}

/** Numbers to codes of the zero point's dtype: one scale and zero point for all. */
export function requantized({ shape, values }: RealArray, scale: NDArray, zeroPoint: NDArray): NDArray {
  const [step, zero, code] = [scalarOf(scale), scalarOf(zeroPoint), integerCode(zeroPoint.dtype as CodeDType)]
  return arrayOf(
    zeroPoint.dtype,
    shape,
    values.map((value) => code(Math.fround(value / step), zero)),
  )
}

const matMulInteger = operator({
  name: 'MatMulInteger',
  since: 10,
  gradient: gradients.matMulIntegerGradient,
  infer: (_, inputs) => [{ dtype: 'int32', shape: matrixProductShape(factsAt(inputs, 0).shape, factsAt(inputs, 1).shape) }],
  evaluate: (_, inputs) => {
    const { shape, values } = integerProduct(required(inputs, 0), required(inputs, 1), inputs[2], inputs[3])
    return [arrayOf('int32', shape, values)]
  },
})

const qLinearMatMul = operator({
  name: 'QLinearMatMul',
  since: 10,
  gradient: gradients.qLinearMatMul,
  infer: (_, inputs) => [
    { dtype: factsAt(inputs, 7).dtype, shape: matrixProductShape(factsAt(inputs, 0).shape, factsAt(inputs, 3).shape) },
  ],
  evaluate: (_, inputs) => {
    const [a, aScale, aZero, b, bScale, bZero, yScale, yZero] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => required(inputs, i))
    const { shape, values } = integerProduct(a, b, aZero, bZero)
    const walkOver = (parameter: NDArray, side: 'rows' | 'columns') => {
      const aligned = alignedParameter(parameter, side)
      const [numbers, at] = [numbersOf(aligned), offsets(shape, broadcastStrides(aligned.shape, shape))]
      return (i: number) => numbers[at[i]]
    }
    const [sa, sb, sy, zy] = [walkOver(aScale, 'rows'), walkOver(bScale, 'columns'), walkOver(yScale, 'rows'), walkOver(yZero, 'rows')]
    const code = integerCode(yZero.dtype as CodeDType)
    const codes = values.map((sum, i) => code(Math.fround(sum * Math.fround(Math.fround(sa(i) * sb(i)) / sy(i))), zy(i)))
    return [arrayOf(yZero.dtype, shape, codes)]
  },
})

const qLinearConv = operator({
  name: 'QLinearConv',
  since: 10,
  gradient: gradients.qLinearConv,
  infer: (node, inputs) => [{ dtype: factsAt(inputs, 7).dtype, shape: convolutionShape(node, inputs, 0, 3) }],
  evaluate: (node, inputs) => {
    const [x, xScale, xZero, w, wScale, wZero, yScale, yZero] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => required(inputs, i))
    const y = convolve(node, centred(x, xZero), centredFilters(w, wZero))
    if (inputs[8]) addPerChannel(y, numbersOf(inputs[8]))
    const [scales, inner, code] = [numbersOf(wScale), sizeOf(y.shape.slice(2)), integerCode(yZero.dtype as CodeDType)]
    const codes = y.values.map((sum, i) => {
      const filter = scales.length === 1 ? 0 : Math.floor(i / inner) % y.shape[1]
      const multiplier = Math.fround(Math.fround(scalarOf(xScale) * scales[filter]) / scalarOf(yScale))
      return code(Math.fround(sum * multiplier), scalarOf(yZero))
    })
    return [arrayOf(yZero.dtype, y.shape, codes)]
  },
})

/** Quantized operators of the standard. */
export const quantizations: readonly Operator[] = [
  quantizeLinear,
  dequantizeLinear,
  dynamicQuantizeLinear,
  matMulInteger,
  qLinearMatMul,
  qLinearConv,
]
