import type { DType } from '../../numbers/dtype.js'

/** Our names of ONNXTensorElementDataType, by its numbers. */
const elementTypes: readonly (DType | undefined)[] = [
  undefined,
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'complex64',
  'complex128',
  'bfloat16',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'uint4',
  'int4',
  'float4e2m1',
  'uint2',
  'int2',
  'float8e8m0',
]

/** The element type of that number, or undefined for numbers that we do not know. */
export function elementType(code: number): DType | undefined {
  return elementTypes[code]
}

/** The number of ONNXTensorElementDataType. */
export function elementTypeCode(dtype: DType): number {
  return elementTypes.indexOf(dtype)
}
