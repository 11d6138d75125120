import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ArrayTensor, BytesTensor, reshaped, transposed, transposeMatrix } from '../../src/ir/tensor.js'
import { packBits } from '../../src/numbers/storage.js'
import { unpackedCodes } from '../../src/raise/rules/blocks.js'

const matrices = fc
  .record({ rows: fc.integer({ min: 1, max: 20 }), columns: fc.integer({ min: 1, max: 20 }), seed: fc.nat(1000) })
  .map(({ rows, columns, seed }) => {
    const values = Float32Array.from({ length: rows * columns }, (_, i) => ((i + seed) * 7919) % 257)
    return new ArrayTensor('float32', [rows, columns], values)
  })

describe('a transposed tensor', () => {
  it('has rows for columns, and its transpose is the tensor itself', () =>
    fc.assert(
      fc.asyncProperty(matrices, async (matrix) => {
        const [rows, columns] = matrix.shape
        const turned = transposed(matrix)
        const values = (await turned.read()) as Float32Array
        for (let row = 0; row < rows; row++)
          for (let column = 0; column < columns; column++)
            expect(values[column * rows + row]).toBe(Number(matrix.data[row * columns + column]))
        expect(transposed(turned)).toBe(matrix)
        expect(transposeMatrix(values, columns, rows)).toEqual(matrix.data)
      }),
    ))

  it('is found again behind other shapes', () => {
    const turned = transposed(new ArrayTensor('float32', [6, 4], new Float32Array(24)))
    const deep = reshaped(reshaped(turned, [2, 2, 6]), [1, 4, 6])
    expect(deep.shape).toEqual([1, 4, 6])
    expect(reshaped(deep, [4, 6])).toBe(turned)
  })
})

describe('a tensor of bytes', () => {
  it('fetches them when asked for, and decodes them', async () => {
    let fetched = 0
    const tensor = new BytesTensor('uint4', [2, 2], async () => {
      fetched++
      return Uint8Array.of(0x21, 0x43)
    })
    expect(fetched).toBe(0)
    expect(await tensor.read()).toEqual(Uint8Array.of(1, 2, 3, 4))
    expect(await tensor.bytes()).toEqual(Uint8Array.of(0x21, 0x43))
  })

  it('is what MatMulNBits packs, whether or not blocks fill the rows', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom<2 | 4 | 8>(2, 4, 8),
        fc.constantFrom(16, 32),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 70 }),
        async (bits, blockSize, rows, columns) => {
          const width = Math.ceil(columns / blockSize) * blockSize
          const filled = Uint8Array.from({ length: rows * width }, (_, i) => (5 * i + 3) % 2 ** bits)
          const packed = new ArrayTensor('uint8', [rows, width / blockSize, (blockSize * bits) / 8], packBits(filled, bits))
          const codes = unpackedCodes(packed, { rows, columns, bits, blockSize })
          expect(codes.shape).toEqual([rows, columns])
          const expected = Uint8Array.from({ length: rows * columns }, (_, i) => filled[Math.floor(i / columns) * width + (i % columns)])
          expect(await codes.read()).toEqual(expected)
        },
      ),
    ))
})
