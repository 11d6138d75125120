import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { ggufFormats } from '../../src/formats/gguf-blocks.js'
import { GgufTensor } from '../../src/formats/gguf-tensor.js'
import { asHalf, f16Bytes, joined } from '../support/gguf.js'

/** A block as ggml-common.h describes it, from the codes and factors that it holds, and what it means. */
interface Block {
  readonly bytes: Uint8Array
  readonly values: readonly number[]
}

type Draw = (least: number, most: number) => number

/** The bytes whose low and high halves are neighbouring runs of `run` codes. */
function nibbles(codes: readonly number[], run: number): Uint8Array {
  const bytes: number[] = []
  for (let at = 0; at < codes.length; at += 2 * run)
    for (let i = 0; i < run; i++) bytes.push((codes[at + i] & 15) | ((codes[at + run + i] & 15) << 4))
  return Uint8Array.from(bytes)
}

/** Bit `bit` of every code, eight codes a byte. */
function plane(codes: readonly number[], bit: number): Uint8Array {
  const bytes = new Uint8Array(codes.length / 8)
  codes.forEach((code, i) => {
    bytes[i >> 3] |= ((code >> bit) & 1) << (i & 7)
  })
  return bytes
}

/** Zeros lose their sign. */
const plain = (values: ArrayLike<unknown>): Float32Array => Float32Array.from(values, (value) => Number(value) + 0)

const many = <T>(count: number, draw: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => draw(i))

function simple(draw: Draw, bits: 4 | 5, zero: number, hasMinimum: boolean): Block {
  const [scale, minimum] = [asHalf(draw(-2000, 2000) / 1000), hasMinimum ? asHalf(draw(-2000, 2000) / 100) : 0]
  const codes = many(32, () => draw(0, 2 ** bits - 1))
  const bytes = joined(
    f16Bytes(hasMinimum ? [scale, minimum] : [scale]),
    bits === 5 ? plane(codes, 4) : new Uint8Array(0),
    nibbles(codes, 16),
  )
  return { bytes, values: codes.map((code) => scale * (code - zero) + minimum) }
}

/** Eight scales and eight minimums of 6 bits in twelve bytes. */
function sixBits(scales: readonly number[], minimums: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(12)
  for (let j = 0; j < 4; j++) {
    bytes[j] = scales[j] | ((scales[j + 4] >> 4) << 6)
    bytes[j + 4] = minimums[j] | ((minimums[j + 4] >> 4) << 6)
    bytes[j + 8] = (scales[j + 4] & 15) | ((minimums[j + 4] & 15) << 4)
  }
  return bytes
}

function scaled(draw: Draw, bits: 4 | 5): Block {
  const [scale, minimum] = [asHalf(draw(1, 2000) / 1000), asHalf(draw(0, 2000) / 1000)]
  const [scales, minimums] = [many(8, () => draw(0, 63)), many(8, () => draw(0, 63))]
  const codes = many(256, () => draw(0, 2 ** bits - 1))
  const high = new Uint8Array(bits === 5 ? 32 : 0)
  if (bits === 5)
    codes.forEach((code, i) => {
      high[i % 32] |= (code >> 4) << (i >> 5)
    })
  return {
    bytes: joined(f16Bytes([scale, minimum]), sixBits(scales, minimums), high, nibbles(codes, 32)),
    values: codes.map((code, i) => scale * scales[i >> 5] * code - minimum * minimums[i >> 5]),
  }
}

/** Two bits a code: 32 bytes hold 128 codes, codes 32 apart share a byte. */
function pairs(codes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(codes.length / 4)
  codes.forEach((code, i) => {
    bytes[(i >> 7) * 32 + (i % 32)] |= (code & 3) << (2 * ((i >> 5) & 3))
  })
  return bytes
}

function twoBit(draw: Draw): Block {
  const [scale, minimum] = [asHalf(draw(1, 2000) / 1000), asHalf(draw(0, 2000) / 1000)]
  const [scales, minimums] = [many(16, () => draw(0, 15)), many(16, () => draw(0, 15))]
  const codes = many(256, () => draw(0, 3))
  return {
    bytes: joined(Uint8Array.from(many(16, (i) => scales[i] | (minimums[i] << 4))), pairs(codes), f16Bytes([scale, minimum])),
    values: codes.map((code, i) => scale * scales[i >> 4] * code - minimum * minimums[i >> 4]),
  }
}

function threeBit(draw: Draw): Block {
  const scale = asHalf(draw(-2000, 2000) / 1000)
  const [scales, codes] = [many(16, () => draw(-32, 31)), many(256, () => draw(-4, 3))]
  const mask = new Uint8Array(32)
  codes.forEach((code, i) => {
    mask[i % 32] |= Number(code >= 0) << (i >> 5)
  })
  const packed = new Uint8Array(12)
  scales.forEach((factor, j) => {
    packed[j % 8] |= ((factor + 32) & 15) << (j < 8 ? 0 : 4)
    packed[8 + (j % 4)] |= ((factor + 32) >> 4) << (2 * (j >> 2))
  })
  return {
    bytes: joined(mask, pairs(codes), packed, f16Bytes([scale])),
    values: codes.map((code, i) => scale * scales[i >> 4] * code),
  }
}

function sixBit(draw: Draw): Block {
  const scale = asHalf(draw(-2000, 2000) / 1000)
  const [scales, codes] = [many(16, () => draw(-128, 127)), many(256, () => draw(0, 63))]
  const [low, high] = [new Uint8Array(128), new Uint8Array(64)]
  codes.forEach((code, i) => {
    const [part, quarter, place] = [i >> 7, (i >> 5) & 3, i % 32]
    low[part * 64 + (quarter % 2) * 32 + place] |= (code & 15) << (quarter < 2 ? 0 : 4)
    high[part * 32 + place] |= (code >> 4) << (2 * quarter)
  })
  return {
    bytes: joined(low, high, Uint8Array.from(scales), f16Bytes([scale])),
    values: codes.map((code, i) => scale * scales[i >> 4] * (code - 32)),
  }
}

function eightBit(draw: Draw): Block {
  const scale = asHalf(draw(-2000, 2000) / 1000)
  const codes = many(32, () => draw(-128, 127))
  return { bytes: joined(f16Bytes([scale]), Uint8Array.from(codes)), values: codes.map((code) => scale * code) }
}

/** kvalues_iq4nl of ggml-common.h. */
const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

function nonLinear(draw: Draw): Block {
  const scale = asHalf(draw(-2000, 2000) / 1000)
  const codes = many(32, () => draw(0, 15))
  return { bytes: joined(f16Bytes([scale]), nibbles(codes, 16)), values: codes.map((code) => scale * levels[code]) }
}

function nonLinearScaled(draw: Draw): Block {
  const scale = asHalf(draw(-2000, 2000) / 1000)
  const [scales, codes] = [many(8, () => draw(-32, 31)), many(256, () => draw(0, 15))]
  const [low, high] = [new Uint8Array(4), new Uint8Array(2)]
  scales.forEach((factor, j) => {
    low[j >> 1] |= ((factor + 32) & 15) << (4 * (j % 2))
    high[j >> 2] |= ((factor + 32) >> 4) << (2 * (j % 4))
  })
  return {
    bytes: joined(f16Bytes([scale]), high, low, nibbles(codes, 16)),
    values: codes.map((code, i) => scale * scales[i >> 5] * levels[code]),
  }
}

const makers: Readonly<Record<string, (draw: Draw) => Block>> = {
  Q4_0: (draw) => simple(draw, 4, 8, false),
  Q4_1: (draw) => simple(draw, 4, 0, true),
  Q5_0: (draw) => simple(draw, 5, 16, false),
  Q5_1: (draw) => simple(draw, 5, 0, true),
  Q8_0: eightBit,
  Q2_K: twoBit,
  Q3_K: threeBit,
  Q4_K: (draw) => scaled(draw, 4),
  Q5_K: (draw) => scaled(draw, 5),
  Q6_K: sixBit,
  IQ4_NL: nonLinear,
  IQ4_XS: nonLinearScaled,
}

const formats = Object.values(ggufFormats).filter((format) => format.decode)

describe('blocks of GGUF files', () => {
  it('has a test for every quantized format', () => {
    expect(formats.map((format) => format.name).sort()).toEqual(Object.keys(makers).sort())
  })

  it.each(formats.map((format) => [format.name, format] as const))(
    '%s: codes and scales give the float32 numbers of ggml',
    async (name, format) => {
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.infiniteStream(fc.nat()), async (rows, numbers) => {
          const draw: Draw = (least, most) => least + (numbers.next().value % (most - least + 1))
          const blocks = many(rows, () => makers[name](draw))
          const bytes = joined(...blocks.map((block) => block.bytes))
          expect(bytes.length).toBe(rows * format.bytes)
          const tensor = new GgufTensor(format, [rows, format.size], new MemorySource(bytes), 0)
          const expected = Float32Array.from(blocks.flatMap((block) => block.values))
          expect(plain(await tensor.read())).toEqual(plain(expected))
          const turned = tensor.withRows(many(rows, (row) => rows - 1 - row))
          expect(plain(await turned.read())).toEqual(plain(blocks.toReversed().flatMap((block) => block.values)))
          const codes = await turned.blocks()
          if (!codes) return
          const { scales, minimums, zeroPoint, blockSize } = codes
          const again = Float32Array.from(codes.codes, (code, i) => {
            const block = Math.floor(i / blockSize)
            return scales[block] * (code - zeroPoint) + (minimums?.[block] ?? 0)
          })
          expect(plain(again)).toEqual(plain(await turned.read()))
        }),
        { numRuns: 25 },
      )
    },
  )

  it('offers codes for the formats that have one scale and one minimum a block', async () => {
    const offered: string[] = []
    for (const format of formats) {
      const tensor = new GgufTensor(format, [1, format.size], new MemorySource(new Uint8Array(format.bytes)), 0)
      if (await tensor.blocks()) offered.push(format.name)
    }
    expect(offered).toEqual(['Q4_0', 'Q4_1', 'Q8_0'])
  })
})
