/**
 * What reference evaluations share: walking arrays of any rank, broadcasting, typed creation, integers that wrap around.
 */
import { badInput } from '../base/errors.js'
import { allocate, type DType, dtypes, type Elements, isInteger, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'

/** One element as it lies in an array. */
export type Entry = number | bigint | string

/** A function of one number. */
export type Unary<T> = (x: T) => T

/** A function of two numbers. */
export type Binary<T> = (x: T, y: T) => T

/** Whether a dtype's elements are bigints in memory. */
export function isBig(dtype: DType): boolean {
  return dtype === 'int64' || dtype === 'uint64'
}

/** An integer reduced modulo 2^bits into the range of an integer dtype, as overflow does. */
export function wrap(dtype: DType, value: bigint): bigint {
  const { bits, kind } = dtypes[dtype]
  return kind === 'int' ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)
}

/**
 * An array from plain numbers or bigints. Numbers are truncated and wrapped around for integer dtypes; everything but
 * zero is true for bool; what float dtypes narrower than their array cannot hold is rounded by evaluateNode.
 *
 * @example
 * arrayOf('int8', [2], [127, 128]).data // Int8Array [127, -128]
 */
export function arrayOf(dtype: DType, shape: readonly number[], values: ArrayLike<Entry>): NDArray {
  const data = allocate(dtype, sizeOf(shape))
  const target = data as unknown as Entry[]
  if (dtype === 'string') for (let i = 0; i < data.length; i++) target[i] = String(values[i])
  else if (dtype === 'bool') for (let i = 0; i < data.length; i++) target[i] = Number(values[i]) !== 0 ? 1 : 0
  else if (isInteger(dtype)) for (let i = 0; i < data.length; i++) target[i] = integerEntry(dtype, values[i])
  else for (let i = 0; i < data.length; i++) target[i] = Number(values[i])
  return { dtype, shape, data }
}

function integerEntry(dtype: DType, value: Entry): number | bigint {
  if (typeof value === 'number' && !isBig(dtype) && dtypes[dtype].bits >= 8 && Math.abs(value) < 2 ** 52) return Math.trunc(value)
  const whole = typeof value === 'bigint' ? value : Number.isFinite(Number(value)) ? BigInt(Math.trunc(Number(value))) : 0n
  const wrapped = wrap(dtype, whole)
  return isBig(dtype) ? wrapped : Number(wrapped)
}

/** An array with one value everywhere. */
export function filled(dtype: DType, shape: readonly number[], value: Entry): NDArray {
  const data = allocate(dtype, sizeOf(shape)) as unknown as Entry[]
  data.fill(arrayOf(dtype, [1], [value]).data[0])
  return { dtype, shape, data: data as unknown as Elements }
}

/** The same elements under another shape. */
export function reshaped(array: NDArray, shape: readonly number[]): NDArray {
  return { dtype: array.dtype, shape, data: array.data }
}

/** An input that the operator cannot do without. Throws `bad-input` when it is absent. */
export function required<T>(inputs: readonly (T | null | undefined)[], index: number): T {
  const input = inputs[index]
  if (input === null || input === undefined) throw badInput(`input ${index} is missing`)
  return input
}

/** The integers of a small array (axes, a shape, pads) as JavaScript numbers. */
export function integersOf(array: NDArray): number[] {
  return Array.from(numbersOf(array))
}

/** The only element of an array as a number. */
export function scalarOf(array: NDArray): number {
  return Number((array.data as ArrayLike<Entry>)[0])
}

/** An axis counted from the front. Throws `bad-input` outside of [-rank, rank). */
export function normalizeAxis(axis: number, rank: number): number {
  if (!(axis >= -rank && axis < rank)) throw badInput(`axis ${axis} is not one of a rank ${rank} array`)
  return axis < 0 ? axis + rank : axis
}

/** Axes counted from the front, all of them when undefined. Throws `bad-input` outside of [-rank, rank). */
export function normalizeAxes(axes: readonly number[] | undefined, rank: number): number[] {
  return axes ? axes.map((axis) => normalizeAxis(axis, rank)) : Array.from({ length: rank }, (_, i) => i)
}

/** Elements between neighbours along each axis of a row-major array. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride
    stride *= shape[i]
  }
  return strides
}

/** Strides that walk an array as if it had been expanded to `target` (0 along expanded axes). */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const strides = stridesOf(shape)
  const lead = target.length - shape.length
  return target.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : strides[i - lead]))
}

/** The shape that NumPy's broadcasting gives. Throws `bad-input` where the shapes clash. */
export function broadcastShape(...shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length))
  const result = new Array<number>(rank).fill(1)
  for (const shape of shapes)
    shape.forEach((dim, i) => {
      const at = rank - shape.length + i
      if (result[at] === 1) result[at] = dim
      else if (dim !== 1 && dim !== result[at]) throw badInput(`shapes ${shapes.map((s) => `[${s}]`).join(' and ')} do not broadcast`)
    })
  return result
}

/**
 * The index into a flat array of each element of `shape`, in row-major order, when walked with `strides` from `start`.
 * Transposing, slicing, expanding are all this with other strides.
 *
 * @example
 * offsets([3, 2], [1, 3]) // [0, 3, 1, 4, 2, 5]: the transpose of a [2, 3] array
 */
export function offsets(shape: readonly number[], strides: readonly number[], start = 0): Float64Array {
  let result = Float64Array.of(start)
  for (let axis = 0; axis < shape.length; axis++) {
    const [dim, stride] = [shape[axis], strides[axis]]
    const next = new Float64Array(result.length * dim)
    for (let i = 0, at = 0; i < result.length; i++) for (let j = 0; j < dim; j++) next[at++] = result[i] + j * stride
    result = next
  }
  return result
}

/**
 * Like {@link offsets} with the indices along each axis spelled out; -1 where one of them is negative (outside).
 *
 * @example
 * axisOffsets([[1, -1], [0, 2]], [3, 1]) // [3, 5, -1, -1]
 */
export function axisOffsets(indices: readonly ArrayLike<number>[], strides: readonly number[]): Float64Array {
  let result = Float64Array.of(0)
  indices.forEach((along, axis) => {
    const next = new Float64Array(result.length * along.length)
    for (let i = 0, at = 0; i < result.length; i++)
      for (let j = 0; j < along.length; j++) next[at++] = result[i] < 0 || along[j] < 0 ? -1 : result[i] + along[j] * strides[axis]
    result = next
  })
  return result
}

/** The integers from 0 to count - 1, or `f` of them. */
export function range(count: number): number[]
export function range<T>(count: number, f: (i: number) => T): T[]
export function range<T>(count: number, f?: (i: number) => T): (T | number)[] {
  return Array.from({ length: count }, (_, i) => (f ? f(i) : i))
}

/** All indices of a shape in row-major order. The yielded array is reused: copy what you keep. */
export function* iterate(shape: readonly number[]): Generator<number[]> {
  const index = new Array<number>(shape.length).fill(0)
  for (let count = sizeOf(shape); count > 0; count--) {
    yield index
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0
  }
}

/** The array whose i-th element is the one of `array` at `at[i]`, or `fill` where `at[i]` is negative. Any dtype. */
export function pick(array: NDArray, shape: readonly number[], at: ArrayLike<number>, fill: Entry = 0): NDArray {
  const data = allocate(array.dtype, at.length)
  const target = data as unknown as Entry[]
  const source = array.data as unknown as ArrayLike<Entry>
  const width = dtypes[array.dtype].kind === 'complex' ? 2 : 1
  const other = arrayOf(array.dtype, [1], [fill]).data[0]
  for (let i = 0; i < at.length; i++) for (let k = 0; k < width; k++) target[i * width + k] = at[i] < 0 ? other : source[at[i] * width + k]
  return { dtype: array.dtype, shape, data }
}

/** The array that takes the given indices along each axis; `fill` where an index is negative. */
export function pickAlong(array: NDArray, indices: readonly ArrayLike<number>[], fill: Entry = 0): NDArray {
  const shape = indices.map((along) => along.length)
  return pick(array, shape, axisOffsets(indices, stridesOf(array.shape)), fill)
}

/** The array of `shape` that {@link offsets} walks over `array`. */
export function strided(array: NDArray, shape: readonly number[], strides: readonly number[], start = 0): NDArray {
  return pick(array, shape, offsets(shape, strides, start))
}

/** The array expanded to a shape that it broadcasts to. */
export function expanded(array: NDArray, shape: readonly number[]): NDArray {
  if (array.shape.length === shape.length && array.shape.every((dim, i) => dim === shape[i])) return array
  return strided(array, shape, broadcastStrides(array.shape, shape))
}

/** The array with its axes in another order. */
export function transposedArray(array: NDArray, permutation: readonly number[]): NDArray {
  const strides = stridesOf(array.shape)
  const [shape, walk] = [permutation.map((axis) => array.shape[axis]), permutation.map((axis) => strides[axis])]
  return strided(array, shape, walk)
}

/**
 * A function of each element, in float64. The result has `dtype`, by default the input's.
 *
 * @example
 * mapElements(x, Math.sqrt)
 */
export function mapElements(array: NDArray, f: (x: number) => number, dtype: DType = array.dtype): NDArray {
  const source = numbersOf(array)
  const values = new Float64Array(source.length)
  for (let i = 0; i < values.length; i++) values[i] = f(source[i])
  return arrayOf(dtype, array.shape, values)
}

/**
 * A function of pairs of elements under NumPy's broadcasting, in float64.
 *
 * @param dtype of the result
 * @example
 * broadcast(a, b, 'bool', (x, y) => Number(x < y))
 */
export function broadcast(a: NDArray, b: NDArray, dtype: DType, f: (x: number, y: number) => number): NDArray {
  const [x, y] = [numbersOf(a), numbersOf(b)]
  return combine(a.shape, b.shape, dtype, (i, j) => f(x[i], y[j]))
}

/** Like {@link broadcast} on the entries as they lie in memory: exact for 64-bit integers, and for strings. */
export function broadcastEntries(a: NDArray, b: NDArray, dtype: DType, f: (x: Entry, y: Entry) => Entry): NDArray {
  const [x, y] = [a.data as ArrayLike<Entry>, b.data as ArrayLike<Entry>]
  return combine(a.shape, b.shape, dtype, (i, j) => f(x[i], y[j]))
}

function combine(a: readonly number[], b: readonly number[], dtype: DType, f: (i: number, j: number) => Entry): NDArray {
  const shape = broadcastShape(a, b)
  const [left, right] = [offsets(shape, broadcastStrides(a, shape)), offsets(shape, broadcastStrides(b, shape))]
  return arrayOf(
    dtype,
    shape,
    Array.from(left, (i, at) => f(i, right[at])),
  )
}

/**
 * Arithmetic of two arrays of one dtype: floats in float64, integers as bigints, wrapped around at the end.
 *
 * @param integer the same on bigints; `real` itself by default, which does for plain operators such as `x + y`
 * @example
 * numericBinary(a, b, (x, y) => x * y)
 */
export function numericBinary(a: NDArray, b: NDArray, real: Binary<number>, integer = real as unknown as Binary<bigint>): NDArray {
  if (!isInteger(a.dtype)) return broadcast(a, b, a.dtype, real)
  return broadcastEntries(a, b, a.dtype, (x, y) => integer(BigInt(x), BigInt(y)))
}

/** Arithmetic of one array: floats in float64, integers as bigints (by `real` itself by default), wrapped around at the end. */
export function numericUnary(array: NDArray, real: Unary<number>, integer = real as unknown as Unary<bigint>): NDArray {
  if (!isInteger(array.dtype)) return mapElements(array, real)
  const values = Array.from(array.data as ArrayLike<number | bigint>, (x) => integer(BigInt(x)))
  return arrayOf(array.dtype, array.shape, values)
}
