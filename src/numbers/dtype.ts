/** What the field calls each element type; the order is of no meaning. */
export const dtypes = {
  float32: { bits: 32, kind: 'float', array: Float32Array },
  float64: { bits: 64, kind: 'float', array: Float64Array },
  float16: { bits: 16, kind: 'float', array: Float32Array },
  bfloat16: { bits: 16, kind: 'float', array: Float32Array },
  float8e4m3fn: { bits: 8, kind: 'float', array: Float32Array },
  float8e4m3fnuz: { bits: 8, kind: 'float', array: Float32Array },
  float8e5m2: { bits: 8, kind: 'float', array: Float32Array },
  float8e5m2fnuz: { bits: 8, kind: 'float', array: Float32Array },
  float8e8m0: { bits: 8, kind: 'float', array: Float32Array },
  float4e2m1: { bits: 4, kind: 'float', array: Float32Array },
  int64: { bits: 64, kind: 'int', array: BigInt64Array },
  int32: { bits: 32, kind: 'int', array: Int32Array },
  int16: { bits: 16, kind: 'int', array: Int16Array },
  int8: { bits: 8, kind: 'int', array: Int8Array },
  int4: { bits: 4, kind: 'int', array: Int8Array },
  int2: { bits: 2, kind: 'int', array: Int8Array },
  uint64: { bits: 64, kind: 'uint', array: BigUint64Array },
  uint32: { bits: 32, kind: 'uint', array: Uint32Array },
  uint16: { bits: 16, kind: 'uint', array: Uint16Array },
  uint8: { bits: 8, kind: 'uint', array: Uint8Array },
  uint4: { bits: 4, kind: 'uint', array: Uint8Array },
  uint2: { bits: 2, kind: 'uint', array: Uint8Array },
  bool: { bits: 8, kind: 'bool', array: Uint8Array },
  complex64: { bits: 64, kind: 'complex', array: Float32Array },
  complex128: { bits: 128, kind: 'complex', array: Float64Array },
  string: { bits: 0, kind: 'string', array: Array },
} as const

export type DType = keyof typeof dtypes

/**
 * Elements in memory, one entry each: half and smaller floats as Float32Array, sub-byte integers as Int8Array or
 * Uint8Array, bool as 0 and 1 in Uint8Array, complex numbers as pairs.
 */
export type Elements =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | string[]

/** The elements whose entries are JavaScript numbers. */
export type NumberElements = Exclude<Elements, BigInt64Array | BigUint64Array | string[]>

/** An array of any rank in memory, row major. What engines and reference evaluation take and give. */
export interface NDArray {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Elements
}

export function isFloat(dtype: DType): boolean {
  return dtypes[dtype].kind === 'float'
}

export function isInteger(dtype: DType): boolean {
  return dtypes[dtype].kind === 'int' || dtypes[dtype].kind === 'uint'
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1
  for (const dim of shape) size *= dim
  return size
}

/** Bytes that `count` elements take in storage; sub-byte types are packed. Strings have no fixed size: 0. */
export function storageBytes(dtype: DType, count: number): number {
  return Math.ceil((dtypes[dtype].bits * count) / 8)
}

/** An empty array of the right class for `count` elements. */
export function allocate(dtype: DType, count: number): Elements {
  if (dtype === 'string') return new Array<string>(count).fill('')
  const length = dtypes[dtype].kind === 'complex' ? 2 * count : count
  return new (dtypes[dtype].array as Float32ArrayConstructor)(length)
}

/**
 * An NDArray from plain numbers.
 *
 * @example
 * ndarray('int64', [2], [3, 4]).data // BigInt64Array [3n, 4n]
 */
export function ndarray(dtype: DType, shape: readonly number[], values: ArrayLike<number | bigint>): NDArray {
  const count = sizeOf(shape)
  const data = allocate(dtype, count)
  const big = dtype === 'int64' || dtype === 'uint64'
  for (let i = 0; i < data.length; i++) (data as unknown as (number | bigint)[])[i] = big ? BigInt(values[i]) : Number(values[i])
  return { dtype, shape, data }
}

/** The elements as JavaScript numbers (a copy only where the entries are bigints). Throws for strings. */
export function numbersOf(array: { data: Elements }): NumberElements {
  if (Array.isArray(array.data)) throw new TypeError('strings are no numbers')
  if (array.data instanceof BigInt64Array || array.data instanceof BigUint64Array) return Float64Array.from(array.data, Number)
  return array.data
}
