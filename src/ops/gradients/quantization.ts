/**
 * Gradients of quantization: straight through the rounding. Together QuantizeLinear and DequantizeLinear give the gradients
 * of LSQ (Esser et al. 2020, eq. 3) for the scale and of LSQ+ (Bhalgat et al. 2020) for the zero point.
 */
import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { type DType, dtypes, isFloat } from '../../numbers/dtype.js'
import { isMinifloat, roundToMinifloat } from '../../numbers/minifloat.js'
import { normalizeAxis, range } from '../support.js'
import { matrixGradients } from './matrix.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import {
  add,
  castLike,
  centred,
  divide,
  integers,
  multiply,
  negate,
  reshape,
  reshapeLike,
  scalar,
  shaped,
  shapeOf,
  sizeAlong,
  sizes,
  subtract,
  sumOver,
  sumTo,
  unsqueeze,
  where,
} from './terms.js'

/** Brings scales and zero points to the shape of what they belong to, and gradients back. */
interface Spread {
  /** Broadcasts to the codes. */
  over(parameter: Value): Value
  /** The sum over all codes that share a parameter. */
  sum(x: Value): Value
}

function spreadOf(g: GradientBuilder, node: Node): Spread {
  const [x, scale] = [node.inputs[0]!, node.inputs[1]!]
  const [rank, size] = [shapeOf(x).length, node.int('block_size', 0)]
  const axis = rank === 1 ? 0 : normalizeAxis(node.int('axis', 1), Math.max(rank, 2))
  if (size) return blocks(g, x, scale, axis, size)
  const single = shapeOf(scale).every((dim) => dim === 1)
  if (single) return { over: (parameter) => parameter, sum: (each) => reshapeLike(g, sumOver(g, each, range(rank), false), scale) }
  const others = range(rank).filter((i) => i !== axis)
  return {
    over: (parameter) => (others.length ? unsqueeze(g, parameter, ...others) : parameter),
    sum: (each) => shaped(sumOver(g, each, others, false), scale),
  }
}

/** A parameter for each run of `size` elements along an axis, the last of which may be shorter. */
function blocks(g: GradientBuilder, x: Value, scale: Value, axis: number, size: number): Spread {
  const [shape, count] = [shapeOf(x), Number(shapeOf(scale)[axis])]
  const length = Number(shape[axis])
  if (Number.isNaN(count * length)) throw unsupported(`axis ${axis} of ${x.name} must be of known size, since its scales are in blocks`)
  const filling = count * size - length
  const parts = sizes(
    g,
    shape.flatMap((_, i) => (i === axis ? [count, size] : [sizeAlong(g, x, i)])),
  )
  const split = shape.flatMap((dim, i) => (i === axis ? [count, size] : [dim]))
  const joined = sizes(
    g,
    shape.map((_, i) => (i === axis ? count * size : sizeAlong(g, x, i))),
  )
  return {
    over(parameter) {
      const wide = g.op('Expand', [unsqueeze(g, parameter, axis + 1), parts])
      const runs = reshape(g, wide, joined, shape.with(axis, count * size))
      return filling ? shaped(g.op('Slice', [runs, integers(g, [0]), integers(g, [length]), integers(g, [axis])]), x) : runs
    },
    sum(each) {
      const full = filling ? g.op('Pad', [each, integers(g, [0, filling]), null, integers(g, [axis])]) : each
      return shaped(sumOver(g, reshape(g, full, parts, split), [axis + 1], false), scale)
    },
  }
}

/** The zero point as numbers like `scale`, 0 where there is none. */
function zeroOf(g: GradientBuilder, node: Node, scale: Value): Value {
  const zeroPoint = node.input(2)
  return zeroPoint ? castLike(g, zeroPoint, scale) : scalar(g, 0, scale)
}

/** d/d(codes) = dy scale, d/d(scale) = sum dy (codes - zero), d/d(zero) = - sum dy scale */
export const dequantizeLinearGradient: GradientRule = (node, [dy], g) => {
  const [codes, scale] = [node.inputs[0]!, node.inputs[1]!]
  const spread = spreadOf(g, node)
  const flowing = castLike(g, dy!, scale)
  const byCode = multiply(g, flowing, spread.over(scale))
  const steps = subtract(g, castLike(g, codes, scale), node.input(2) ? spread.over(zeroOf(g, node, scale)) : scalar(g, 0, scale))
  return [byCode, spread.sum(multiply(g, flowing, steps)), negate(g, spread.sum(byCode))]
}

/** The least and the greatest code of a dtype. */
function limitsOf(dtype: DType): { min: number; max: number } {
  if (isMinifloat(dtype)) {
    const [max] = roundToMinifloat(dtype, Float32Array.of(3e38), { saturate: true })
    return { min: -max, max }
  }
  const { bits, kind } = dtypes[dtype]
  const min = kind === 'int' ? -(2 ** (bits - 1)) : 0
  return { min, max: min + 2 ** bits - 1 }
}

/** Inside of the grid: dx = dq / scale, d/d(scale) = - sum dq x / scale^2, d/d(zero) = sum dq. Nothing outside. */
export const quantizeLinearGradient: GradientRule = (node, [dq], g) => {
  const [x, scale] = [castLike(g, node.inputs[0]!, node.inputs[1]!), node.inputs[1]!]
  const dtype = node.output.dtype!
  const spread = spreadOf(g, node)
  const step = spread.over(scale)
  const steps = divide(g, x, step)
  const zero = spread.over(zeroOf(g, node, scale))
  const code = add(g, isFloat(dtype) ? steps : g.op('Round', [steps]), zero)
  const { min, max } = limitsOf(dtype)
  const inside = g.op('And', [g.op('GreaterOrEqual', [code, scalar(g, min, scale)]), g.op('LessOrEqual', [code, scalar(g, max, scale)])])
  const arriving = where(g, inside, dq!)
  const dx = divide(g, arriving, step)
  return [castLike(g, dx, node.inputs[0]!), negate(g, spread.sum(multiply(g, dx, steps))), spread.sum(arriving)]
}

/** Straight through: scale and zero point follow the largest and least element, and are taken for constants. */
export const dynamicQuantizeLinearGradient: GradientRule = (node, [dq], g) => [dq && divide(g, dq, g.output(node, 1))]

/** A vector of one parameter per row of a left operand, as a column. */
function perRow(g: GradientBuilder, parameter: Value | null): Value | null {
  return parameter && shapeOf(parameter).length === 1 && shapeOf(parameter)[0] !== 1 ? unsqueeze(g, parameter, 1) : parameter
}

/** Of the product of codes less their zero points; what flows to codes is a float. */
export const matMulIntegerGradient: GradientRule = (node, [dy], g) => {
  const [a, b] = [node.inputs[0]!, node.inputs[1]!]
  const [aZero, bZero] = [perRow(g, node.input(2)), node.input(3)]
  const [da, db] = matrixGradients(g, centred(g, a, aZero, dy!), centred(g, b, bZero, dy!), dy!)
  return [da, db, aZero && reshapeLike(g, negate(g, sumTo(g, da, aZero)), node.inputs[2]!), bZero && negate(g, sumTo(g, db, bZero))]
}

/** The numbers that codes stand for; parameters that are vectors lie along `axis`. */
export function dequantized(g: GradientBuilder, codes: Value, scale: Value, zeroPoint: Value | null, axis: number): Value {
  return g.op('DequantizeLinear', [codes, scale, zeroPoint], { axis: int(axis) })
}

/** The codes of numbers. */
export function quantized(g: GradientBuilder, x: Value, scale: Value, zeroPoint: Value | null, axis: number): Value {
  return g.op('QuantizeLinear', [x, scale, zeroPoint], { axis: int(axis) })
}

export const qLinearMatMul: Expansion = {
  expand(node, g) {
    const [a, aScale, aZero, b, bScale, bZero, yScale, yZero] = node.inputs as Value[]
    const product = g.op('MatMul', [dequantized(g, a, aScale, aZero, -2), dequantized(g, b, bScale, bZero, -1)])
    return [quantized(g, product, yScale, yZero, -2)]
  },
}

export const qLinearConv: Expansion = {
  expand(node, g) {
    const [x, xScale, xZero, w, wScale, wZero, yScale, yZero] = node.inputs as Value[]
    const bias = node.input(8) && dequantized(g, node.input(8)!, multiply(g, wScale, xScale), null, 0)
    const y = g.op('Conv', [dequantized(g, x, xScale, xZero, 1), dequantized(g, w, wScale, wZero, 0), bias], node.attributes)
    return [quantized(g, y, yScale, yZero, 1)]
  },
}
