/** The small steps that gradient rules are made of. */
import { unsupported } from '../../base/errors.js'
import { int, ints } from '../../ir/attribute.js'
import type { Dim } from '../../ir/dimension.js'
import type { Value } from '../../ir/node.js'
import { type DType, ndarray } from '../../numbers/dtype.js'
import { dataTypes } from '../../onnx/schema.js'
import type { GradientBuilder } from './rule.js'

/** A scalar constant of the dtype of `like`. */
export function scalar(g: GradientBuilder, value: number, like: Value): Value {
  return g.constant(ndarray(like.dtype ?? 'float32', [], [value]))
}

/** An int64 constant: a list. */
export function integers(g: GradientBuilder, values: readonly number[]): Value {
  return g.constant(ndarray('int64', [values.length], values))
}

export function add(g: GradientBuilder, a: Value, b: Value | number): Value {
  return g.op('Add', [a, operand(g, b, a)])
}

export function subtract(g: GradientBuilder, a: Value, b: Value | number): Value {
  return g.op('Sub', [a, operand(g, b, a)])
}

export function multiply(g: GradientBuilder, a: Value, b: Value | number): Value {
  return b === 1 ? a : g.op('Mul', [a, operand(g, b, a)])
}

export function divide(g: GradientBuilder, a: Value, b: Value | number): Value {
  return g.op('Div', [a, operand(g, b, a)])
}

export function negate(g: GradientBuilder, a: Value): Value {
  return g.op('Neg', [a])
}

function operand(g: GradientBuilder, value: Value | number, like: Value): Value {
  return typeof value === 'number' ? scalar(g, value, like) : value
}

/** `x` where the bool `condition` holds, zero elsewhere. */
export function where(g: GradientBuilder, condition: Value, x: Value): Value {
  return g.op('Where', [condition, x, scalar(g, 0, x)])
}

/** Sum over some axes. */
export function sumOver(g: GradientBuilder, x: Value, axes: readonly number[], keep = true): Value {
  return axes.length ? g.op('ReduceSum', [x, integers(g, axes)], { keepdims: int(keep ? 1 : 0) }) : x
}

/** Mean over some axes, which stay as 1. */
export function meanOver(g: GradientBuilder, x: Value, axes: readonly number[]): Value {
  return g.op('ReduceMean', [x, integers(g, axes)], { keepdims: int(1) })
}

export function transpose(g: GradientBuilder, x: Value, permutation: readonly number[]): Value {
  return g.op('Transpose', [x], { perm: ints(permutation) })
}

/** The last two axes exchanged. */
export function transposeMatrix(g: GradientBuilder, x: Value): Value {
  const rank = shapeOf(x).length
  return transpose(g, x, [...Array(rank - 2).keys(), rank - 1, rank - 2])
}

/**
 * The dimensions of a value.
 *
 * @throws TinsmithError `unsupported` when its rank is not known
 */
export function shapeOf(value: Value): readonly Dim[] {
  if (!value.shape) throw unsupported(`${value.name} has no known rank, and its gradient needs one`)
  return value.shape
}

/** The shape of `like` as an int64 vector, as a constant where possible. */
export function shapeValue(g: GradientBuilder, like: Value): Value {
  const shape = shapeOf(like)
  return shape.every((dim) => typeof dim === 'number') ? integers(g, shape) : g.op('Shape', [like])
}

/** `x` in the shape of `like`, which has as many elements. */
export function reshapeLike(g: GradientBuilder, x: Value, like: Value): Value {
  const [from, to] = [shapeOf(x), shapeOf(like)]
  if (from.join() === to.join() && from.length === to.length) return x
  const known = to.map((dim, axis) => (typeof dim === 'number' ? dim : from[axis] === dim ? 0 : -1))
  const simple = known.filter((size) => size === -1).length <= 1 && !to.includes(0)
  return reshape(g, x, simple ? integers(g, known) : g.op('Shape', [like]), to)
}

/** Reshape with the shape that is known to come out. */
export function reshape(g: GradientBuilder, x: Value, shape: Value, known: readonly Dim[] | null = null): Value {
  const result = g.op('Reshape', [x, shape])
  if (known) result.shape = known
  return result
}

/** `x` repeated along axes until it has the shape of `like`. */
export function expandLike(g: GradientBuilder, x: Value, like: Value): Value {
  if (shapeOf(x).join() === shapeOf(like).join()) return x
  const result = g.op('Expand', [x, shapeValue(g, like)])
  result.shape = like.shape
  return result
}

/**
 * The inverse of broadcasting: `x` summed until it has the shape of `like`. Different symbols are taken for equal sizes: a
 * symbolic dimension is never a broadcast 1.
 */
export function sumTo(g: GradientBuilder, x: Value, like: Value): Value {
  const [from, to] = [shapeOf(x), shapeOf(like)]
  const extra = from.length - to.length
  const axes = from.flatMap((dim, axis) => (axis < extra || (to[axis - extra] === 1 && dim !== 1) ? [axis] : []))
  if (!axes.length) return x
  const keeps = axes.every((axis) => axis >= extra)
  const summed = sumOver(g, x, axes, keeps)
  return keeps ? summed : reshapeLike(g, summed, like)
}

/** `x` in another dtype. */
export function cast(g: GradientBuilder, x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : g.op('Cast', [x], { to: int(dataTypes[dtype]) })
}

/** `x` in the dtype of `like`. */
export function castLike(g: GradientBuilder, x: Value, like: Value): Value {
  return like.dtype ? cast(g, x, like.dtype) : g.op('CastLike', [x, like])
}

/** `x` with the dimensions of `like`, where inference cannot know them. */
export function shaped(x: Value, like: Value): Value {
  x.shape = like.shape
  return x
}

/** A size that is a number, or an int64 vector of sizes that is known only when the graph runs. */
export type Size = number | Value

/** The size of `x` along one axis. */
export function sizeAlong(g: GradientBuilder, x: Value, axis: number): Size {
  const dim = shapeOf(x)[axis]
  return typeof dim === 'number' ? dim : g.op('Shape', [x], { start: int(axis), end: int(axis + 1) })
}

/** Sizes one after the other as an int64 vector. */
export function sizes(g: GradientBuilder, parts: readonly Size[]): Value {
  if (parts.every((part) => typeof part === 'number')) return integers(g, parts)
  const vectors = parts.map((part) => (typeof part === 'number' ? integers(g, [part]) : part))
  return vectors.length === 1 ? vectors[0] : g.op('Concat', vectors, { axis: int(0) })
}

/** All elements in one axis. */
export function flat(g: GradientBuilder, x: Value): Value {
  return shapeOf(x).length === 1 ? x : reshape(g, x, integers(g, [-1]))
}

/** Zeros in the shape of `like`, of its dtype or of the one of `dtype`. */
export function zerosLike(g: GradientBuilder, like: Value, dtype: Value = like): Value {
  return expandLike(g, scalar(g, 0, dtype), like)
}

/** An axis of 1 put in at each of the given places. */
export function unsqueeze(g: GradientBuilder, x: Value, ...axes: readonly number[]): Value {
  return g.op('Unsqueeze', [x, integers(g, axes)])
}

/** The axes from `first` on. */
export function axesOnwards(first: number, x: Value): number[] {
  return shapeOf(x).flatMap((_, axis) => (axis >= first ? [axis] : []))
}

/** Elements `start` to `end` along an axis; counted from the end where negative. */
export function slice(g: GradientBuilder, x: Value, axis: number, start: number, end = 2 ** 31 - 1): Value {
  return g.op('Slice', [x, ...[start, end, axis].map((bound) => integers(g, [bound]))])
}

/** 0, 1, 2 ... up to a size, as int64. */
export function rangeTo(g: GradientBuilder, size: Size): Value {
  const first = g.constant(ndarray('int64', [], [0]))
  const step = g.constant(ndarray('int64', [], [1]))
  if (typeof size === 'number') return g.op('Range', [first, g.constant(ndarray('int64', [], [size])), step])
  return g.op('Range', [first, reshape(g, size, integers(g, []), []), step])
}

/** Codes as numbers like `like`, less their zero points. */
export function centred(g: GradientBuilder, codes: Value, zeroPoint: Value | null, like: Value): Value {
  const numbers = castLike(g, codes, like)
  return zeroPoint ? subtract(g, numbers, castLike(g, zeroPoint, like)) : numbers
}
