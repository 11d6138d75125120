import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  type BlockBits,
  type BlockCodes,
  dequantizeBlocks,
  packGatherBlockQuantized,
  packMatMulNBits,
  unpackGatherBlockQuantized,
  unpackMatMulNBits,
} from '../../src/numbers/matmul-nbits.js'
import { dequantize, integerGrid, minMaxParameters, quantize } from '../../src/numbers/quantizer.js'

const weights = fc
  .record({
    rows: fc.integer({ min: 1, max: 5 }),
    columns: fc.integer({ min: 1, max: 90 }),
    bits: fc.constantFrom<BlockBits>(2, 4, 8),
    blockSize: fc.constantFrom(16, 32, 64),
    zero: fc.constantFrom('absent', 'packed', 'real'),
    seed: fc.nat(),
  })
  .map(({ rows, columns, bits, blockSize, zero, seed }): BlockCodes => {
    const random = new Random(seed)
    const draw = (length: number) => Uint8Array.from({ length }, () => random.integer(2 ** bits))
    const count = rows * Math.ceil(columns / blockSize)
    const zeroPoint = zero === 'packed' ? draw(count) : zero === 'real' ? random.normals(count, 3) : undefined
    return { rows, columns, bits, blockSize, codes: draw(rows * columns), zeroPoint }
  })

describe('MatMulNBits', () => {
  test('round trips for any shape', () => {
    fc.assert(
      fc.property(weights, (weight) => {
        const { data, shape, zeroPoint } = packMatMulNBits(weight)
        expect(data.length).toBe(shape[0] * shape[1] * shape[2])
        const { rows, columns, bits, blockSize } = weight
        expect(unpackMatMulNBits({ rows, columns, bits, blockSize }, data, zeroPoint)).toEqual(weight)
      }),
    )
  })

  test('every code and zero point sits where the operator looks for it', () => {
    fc.assert(
      fc.property(weights, (weight) => {
        const { rows, columns, bits, blockSize, codes } = weight
        const { data, shape, zeroPoint } = packMatMulNBits(weight)
        const per = 8 / bits
        const mask = 2 ** bits - 1
        const blocks = shape[1]
        for (let n = 0; n < rows; n++)
          for (let k = 0; k < blocks * blockSize; k++) {
            const byte = data[(n * blocks + Math.floor(k / blockSize)) * shape[2] + Math.floor((k % blockSize) / per)]
            const code = (byte >> ((k % per) * bits)) & mask
            if (k < columns) expect(code).toBe(codes[n * columns + k])
            else if (!weight.zeroPoint) expect(code).toBe(2 ** (bits - 1))
            else if (weight.zeroPoint instanceof Uint8Array) expect(code).toBe(weight.zeroPoint[(n + 1) * blocks - 1])
          }
        if (weight.zeroPoint instanceof Uint8Array)
          for (let n = 0; n < rows; n++)
            for (let b = 0; b < blocks; b++) {
              const byte = zeroPoint![n * Math.ceil(blocks / per) + Math.floor(b / per)]
              expect((byte >> ((b % per) * bits)) & mask).toBe(weight.zeroPoint[n * blocks + b])
            }
      }),
    )
  })

  test('means the same numbers as the quantizer', () => {
    const x = new Random(2).normals(3 * 70)
    for (const floatZeroPoint of [true, false]) {
      const layout = { shape: [3, 70], axis: 1, blockSize: 32 }
      const parameters = minMaxParameters(x, layout, integerGrid('uint4'), { symmetric: false, floatZeroPoint })
      const codes = quantize(x, parameters, integerGrid('uint4'), layout) as Uint8Array
      const zeroPoint = parameters.zeroPoint instanceof Float32Array ? parameters.zeroPoint : Uint8Array.from(parameters.zeroPoint)
      const weight: BlockCodes = { rows: 3, columns: 70, bits: 4, blockSize: 32, codes, zeroPoint }
      expect(dequantizeBlocks(weight, parameters.scale)).toEqual(dequantize(codes, parameters, layout))
    }
    const symmetric: BlockCodes = { rows: 1, columns: 2, bits: 4, blockSize: 16, codes: Uint8Array.of(8, 9) }
    expect(dequantizeBlocks(symmetric, Float32Array.of(0.5))).toEqual(Float32Array.of(0, 0.5))
  })

  test('refuses what does not fit', () => {
    const weight: BlockCodes = { rows: 1, columns: 16, bits: 4, blockSize: 16, codes: new Uint8Array(16) }
    expect(() => packMatMulNBits({ ...weight, codes: new Uint8Array(15) })).toThrow(/15 codes are no matrix/)
    expect(() => packMatMulNBits({ ...weight, codes: new Uint8Array(16).fill(16) })).toThrow(/does not fit in 4 bits/)
    expect(() => packMatMulNBits({ ...weight, zeroPoint: new Uint8Array(2) })).toThrow(/1 blocks need as many zero points/)
    expect(() => packMatMulNBits({ ...weight, blockSize: 24 })).toThrow(/no blocks of 24/)
    expect(() => unpackMatMulNBits(weight, new Uint8Array(7))).toThrow(/7 bytes are no/)
    expect(() => dequantizeBlocks(weight, new Float32Array(2))).toThrow(/as many scales/)
  })
})

describe('GatherBlockQuantized', () => {
  test('round trips, and rows are packed each by itself', () => {
    fc.assert(
      fc.property(weights, (weight) => {
        if (weight.zeroPoint instanceof Float32Array || (weight.columns * weight.bits) % 8)
          return void expect(() => packGatherBlockQuantized(weight)).toThrow()
        const { data, shape, zeroPoint } = packGatherBlockQuantized(weight)
        const { rows, columns, bits, blockSize } = weight
        expect(data.length).toBe(shape[0] * shape[1])
        expect(unpackGatherBlockQuantized({ rows, columns, bits, blockSize }, data, zeroPoint)).toEqual(weight)
      }),
    )
  })

  test('whole blocks have the same bytes for both operators (tied embeddings)', () => {
    const codes = Uint8Array.from({ length: 4 * 64 }, (_, i) => (i * 7) % 16)
    const weight: BlockCodes = { rows: 4, columns: 64, bits: 4, blockSize: 32, codes }
    expect(packGatherBlockQuantized(weight).data).toEqual(packMatMulNBits(weight).data)
  })
})
