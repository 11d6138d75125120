import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../../src/base/bytes.js'
import { Random } from '../../../src/base/random.js'
import { BlockTensor } from '../../../src/engine/compiled/plan/block-tensor.js'
import { presentBlocks, presentTable } from '../../../src/engine/compiled/plan/present-blocks.js'
import { ggufFormats } from '../../../src/formats/gguf-blocks.js'
import { GgufTensor } from '../../../src/formats/gguf-tensor.js'
import { ArrayTensor, transposed } from '../../../src/ir/tensor.js'
import { toCodes } from '../../../src/numbers/minifloat.js'

/** Numbers of ggml's formats, by the number of float16 factors in front of a block's codes. */
const formats = [
  { number: 2, factors: 1 },
  { number: 3, factors: 2 },
  { number: 8, factors: 1 },
]

/** A matrix [outputs, inputs] of random blocks. */
function matrixOf(random: Random, { number, factors }: (typeof formats)[number], outputs: number, blocks: number): GgufTensor {
  const format = ggufFormats[number]
  const bytes = Uint8Array.from({ length: outputs * blocks * format.bytes }, () => random.integer(256))
  for (let block = 0; block < outputs * blocks; block++) {
    const halves = toCodes(
      'float16',
      Float32Array.from({ length: factors }, () => random.normal()),
    ) as Uint16Array
    bytes.set(new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength), block * format.bytes)
  }
  return new GgufTensor(format, [outputs, blocks * format.size], new MemorySource(bytes, 'blocks'), 0)
}

describe('a matrix that is quantized in blocks already', () => {
  it('keeps its codes, and every number', () =>
    fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.constantFrom(...formats),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 4 }),
        async (seed, format, outputs, blocks) => {
          const rows = matrixOf(new Random(seed), format, outputs, blocks)
          const weight = presentBlocks(transposed(rows))!
          const [values, codes, scale, minimum] = (await Promise.all(
            [rows, weight.codes, weight.scale, weight.minimum].map((tensor) => tensor.read()),
          )) as Float32Array[]
          expect(weight.codes.shape).toEqual([outputs, 32 * blocks])
          expect(codes.every((code) => code >= 0 && code < 2 ** weight.bits)).toBe(true)
          for (const [i, value] of values.entries()) {
            const at = Math.floor(i / 32)
            expect(Math.fround(scale[at] * codes[i] + minimum[at]) === value).toBe(true)
          }
        },
      ),
    ))

  it('is one along its inputs only', () => {
    const matrix = matrixOf(new Random(1), formats[0], 32, 1)
    expect(presentBlocks(matrix)).toBeUndefined()
    expect(presentBlocks(new ArrayTensor('float32', [32, 1], new Float32Array(32)))).toBeUndefined()
  })

  it('is what DequantizeLinear makes of codes with scales for blocks of rows, and a table of signed bytes', async () => {
    const codes = new ArrayTensor(
      'uint8',
      [3, 64],
      Uint8Array.from({ length: 192 }, (_, i) => (37 * i) % 256),
    )
    const scale = new ArrayTensor('float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6))
    const zeros = (values: readonly number[]) => new ArrayTensor('uint8', [3, 2], Uint8Array.from(values))
    const middle = new BlockTensor(codes, scale, zeros(new Array(6).fill(128)), 32)
    expect(presentBlocks(transposed(middle))).toMatchObject({ bits: 8, block: 32 })
    const table = (await presentTable(middle))!
    const [values, bytes, scales] = (await Promise.all([middle, table.values, table.scale!].map((one) => one.read()))) as Float32Array[]
    expect([...values]).toEqual([...bytes].map((byte, i) => byte * scales[Math.floor(i / 32)]))
    expect(await presentTable(new BlockTensor(codes, scale, zeros([1, 2, 3, 4, 5, 6]), 32))).toBeUndefined()
  })
})
