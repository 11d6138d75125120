import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import type { DType } from '../../src/numbers/dtype.js'
import { decode } from '../../src/onnx/decode.js'
import { encodeBytes } from '../../src/onnx/encode.js'
import { ExternalFiles } from '../../src/onnx/external.js'
import { readTensorProto } from '../../src/onnx/index.js'
import { dataTypes, emptyTensor, type TensorProto, tensorProto } from '../../src/onnx/schema.js'
import { denseOf, tensorOf } from '../../src/onnx/tensor-proto.js'

function varint(value: bigint): number[] {
  const bytes: number[] = []
  for (value = BigInt.asUintN(64, value); value >= 128n; value >>= 7n) bytes.push(Number(value & 127n) | 128)
  return [...bytes, Number(value)]
}

const packed = (values: (number | bigint)[]) => [Uint8Array.from(values.flatMap((value) => varint(BigInt(value))))]

function read(proto: Partial<TensorProto>, dtype: DType, dims: number[]) {
  return readTensorProto(encodeBytes(tensorProto, { ...emptyTensor, ...proto, dims, dataType: dataTypes[dtype], name: 't' })).tensor
    .elements
}

/** From the comments of onnx.proto: which field holds which dtype, and how. */
describe('typed data', () => {
  const int32: [DType, number[], ArrayLike<number>][] = [
    ['int32', [1, -2, 2 ** 31 - 1], Int32Array.of(1, -2, 2 ** 31 - 1)],
    ['int16', [1, -2, -32768], Int16Array.of(1, -2, -32768)],
    ['uint16', [1, 65535, 7], Uint16Array.of(1, 65535, 7)],
    ['int8', [1, -2, -128], Int8Array.of(1, -2, -128)],
    ['uint8', [1, 255, 0], Uint8Array.of(1, 255, 0)],
    ['bool', [1, 0, 1], Uint8Array.of(1, 0, 1)],
    ['float16', [0x3c00, 0xc000, 0x7c00], Float32Array.of(1, -2, Number.POSITIVE_INFINITY)],
    ['bfloat16', [0x3f80, 0xc000, 0x7f80], Float32Array.of(1, -2, Number.POSITIVE_INFINITY)],
    ['float8e4m3fn', [0x38, 0xc0, 0x7e], Float32Array.of(1, -2, 448)],
    ['float8e5m2', [0x3c, 0xc0, 0x7b], Float32Array.of(1, -2, 57344)],
    ['float8e8m0', [127, 128, 126], Float32Array.of(1, 2, 0.5)],
    ['float4e2m1', [0x42, 0x0f], Float32Array.of(1, 2, -6)],
    ['uint4', [0x21, 0x0f], Uint8Array.of(1, 2, 15)],
    ['int4', [0x21, 0x0f], Int8Array.of(1, 2, -1)],
    ['uint2', [0b111001], Uint8Array.of(1, 2, 3)],
    ['int2', [0b111001], Int8Array.of(1, -2, -1)],
  ]
  test.each(int32)('%s in int32_data', (dtype, values, expected) => {
    expect(read({ int32Data: packed(values) }, dtype, [3])).toEqual(expected)
  })

  test('64-bit integers', () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })), (values) => {
        expect(read({ int64Data: packed(values) }, 'int64', [values.length])).toEqual(BigInt64Array.from(values))
        expect(read({ uint64Data: packed(values) }, 'uint64', [values.length])).toEqual(
          BigUint64Array.from(values.map((value) => BigInt.asUintN(64, value))),
        )
      }),
    )
    expect(read({ uint64Data: packed([1, 2 ** 32 - 1]) }, 'uint32', [2])).toEqual(Uint32Array.of(1, 2 ** 32 - 1))
  })

  test('floats and complex numbers', () => {
    const singles = Float32Array.of(1.5, -2, 3, 4)
    const doubles = Float64Array.of(1.1, -2, 3, 4)
    const [floatData, doubleData] = [[new Uint8Array(singles.buffer)], [new Uint8Array(doubles.buffer)]]
    expect(read({ floatData }, 'float32', [2, 2])).toEqual(singles)
    expect(read({ floatData }, 'complex64', [2])).toEqual(singles)
    expect(read({ doubleData }, 'float64', [4])).toEqual(doubles)
    expect(read({ doubleData }, 'complex128', [2])).toEqual(doubles)
  })

  test('strings', () => {
    const stringData = ['a', '', 'žluť'].map((text) => new TextEncoder().encode(text))
    expect(read({ stringData }, 'string', [3])).toEqual(['a', '', 'žluť'])
  })

  test('that is long stays in the file until it is read', async () => {
    const values = Array.from({ length: 5000 }, (_, i) => (i % 256) - 128)
    const proto = { ...emptyTensor, dims: [5000], dataType: dataTypes.int8, int32Data: packed(values) }
    const tensor = await tensorOf(
      await decode(tensorProto, new MemorySource(encodeBytes(tensorProto, proto))),
      't',
      new ExternalFiles(undefined),
    )
    expect(tensor.elements).toBeNull()
    expect(await tensor.read()).toEqual(Int8Array.from(values))
    expect(await tensor.bytes()).toHaveLength(5000)
  })

  test('of another count than the shape asks for', () => {
    expect(() => read({ int32Data: packed([1, 2]) }, 'int32', [3])).toThrow('fewer numbers than shape [3] needs')
    expect(() => read({ int32Data: packed([1, 2, 3, 4]) }, 'int32', [3])).toThrow('there are 4 numbers and the shape asks for 3')
    expect(() => read({ floatData: [new Uint8Array(8)] }, 'float32', [3])).toThrow(
      'there are 8 bytes and dtype float32 with shape [3] needs 12',
    )
    expect(() => read({}, 'string', [1])).toThrow('there are 0 strings')
  })
})

describe('shapes and types', () => {
  test('of impossible size', () => {
    for (const dims of [[-1], [2 ** 40, 2 ** 40], [2 ** 53 - 1]])
      expect(() => read({ rawData: new Uint8Array(4) }, 'float32', dims)).toThrow('is no shape')
    expect(read({ rawData: new Uint8Array(0) }, 'float32', [0, 5])).toEqual(new Float32Array(0))
  })

  test('that are unknown', () => {
    expect(() => readTensorProto(encodeBytes(tensorProto, { ...emptyTensor, dataType: 27 }))).toThrow('the data type 27 is not known')
  })

  test('sequences, maps and optionals are told from tensors', () => {
    const sequence = Uint8Array.of(0x0a, 1, 0x73, 0x10, 1, 0x1a, 4, 8, 1, 16, 1)
    expect(() => readTensorProto(sequence)).toThrow('a sequence, map or optional')
  })
})

describe('sparse tensors', () => {
  const files = new ExternalFiles(undefined)
  const values = { ...emptyTensor, name: 's', dims: [2], dataType: 1, rawData: new Uint8Array(Float32Array.of(5, 7).buffer) }
  const indicesOf = (dims: number[], list: bigint[]) => ({
    ...emptyTensor,
    dims,
    dataType: 7,
    rawData: new Uint8Array(BigInt64Array.from(list).buffer),
  })

  test('become dense from linear and from coordinate indices', async () => {
    const dense = [0, 5, 0, 0, 0, 7]
    for (const indices of [indicesOf([2], [1n, 5n]), indicesOf([2, 2], [0n, 1n, 1n, 2n])]) {
      const { name, tensor } = await denseOf({ values, indices, dims: [2, 3] }, files)
      expect(name).toBe('s')
      expect([...((await tensor.read()) as Float32Array)]).toEqual(dense)
    }
  })

  test('with indices outside', async () => {
    const { tensor } = await denseOf({ values, indices: indicesOf([2], [1n, 6n]), dims: [2, 3] }, files)
    await expect(tensor.read()).rejects.toThrow('index 6 of the sparse tensor is outside')
    await expect(denseOf({ values, indices: indicesOf([1], [1n]), dims: [2, 3] }, files)).rejects.toThrow('make no sparse tensor')
    await expect(denseOf({ values, indices: indicesOf([2], [1n, 2n]), dims: [2 ** 20, 2 ** 20] }, files)).rejects.toThrow('too large')
  })
})
