import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ByteSource, MemorySource } from '../../src/base/bytes.js'
import { decode, decodeBytes, decodeVarints, StoredBytes } from '../../src/onnx/decode.js'
import { encode, encodeBytes } from '../../src/onnx/encode.js'
import { attributeProto, emptyTensor, modelProto, nodeProto, tensorProto } from '../../src/onnx/schema.js'
import { bytes, type Integer, int, ints, type Message, message, text, texts, varints } from '../../src/onnx/wire.js'
import { noAttribute } from './protos.js'

interface Sample {
  a?: Integer
  b?: string
  c?: Sample
  d: readonly Integer[]
  e: readonly string[]
  f?: Uint8Array
}
const sample: Message<Sample> = {
  name: 'Sample',
  fields: { a: int(1), b: text(2), c: message(3, () => sample), d: ints(4), e: texts(5), f: bytes(6) },
}
const hex = (text: string) => Uint8Array.from(text.split(' ').map((byte) => Number.parseInt(byte, 16)))

describe('the wire format', () => {
  test('agrees with the examples of its documentation', () => {
    expect(encodeBytes(sample, { a: 150, d: [], e: [] })).toEqual(hex('08 96 01'))
    expect(encodeBytes(sample, { b: 'testing', d: [], e: [] })).toEqual(hex('12 07 74 65 73 74 69 6e 67'))
    expect(encodeBytes(sample, { c: { a: 150, d: [], e: [] }, d: [], e: [] })).toEqual(hex('1a 03 08 96 01'))
    expect(decodeBytes(sample, hex('22 06 03 8e 02 9e a7 05')).d).toEqual([3, 270, 86942])
    expect(encodeBytes(sample, { a: -2, d: [], e: [] })).toEqual(hex('08 fe ff ff ff ff ff ff ff ff 01'))
  })

  test('keeps 64-bit integers exactly and texts of all kinds', async () => {
    const integer = fc.oneof(fc.maxSafeInteger(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
    const arbitrary = fc.record({
      a: integer,
      b: fc.string({ unit: 'binary' }),
      d: fc.array(integer),
      e: fc.array(fc.string({ unit: 'binary' })),
      f: fc.uint8Array(),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, fc.option(arbitrary), async (outer, inner) => {
        const value: Sample = inner ? { ...outer, c: inner } : outer
        const coded = encodeBytes(sample, value)
        expect(coded.length).toBe(encode(sample, value).byteLength)
        for (const again of [decodeBytes(sample, coded), await decode(sample, new MemorySource(coded))]) {
          expect(BigInt(again.a!)).toBe(BigInt(value.a!))
          expect(again.b).toBe(value.b)
          expect(again.d.map(BigInt)).toEqual(value.d.map(BigInt))
          expect(again.e).toEqual(value.e)
          expect(again.f).toEqual(value.f)
          expect(encodeBytes(sample, again)).toEqual(coded)
        }
      }),
    )
  })

  test('integers within 2^53 are numbers, others bigints', () => {
    const { d } = decodeBytes(sample, encodeBytes(sample, { d: [2 ** 53 - 1, 2n ** 53n + 1n, -(2n ** 63n)], e: [] }))
    expect(d).toEqual([2 ** 53 - 1, 2n ** 53n + 1n, -(2n ** 63n)])
  })

  test('skips unknown fields of every wire type', () => {
    expect(decodeBytes(sample, hex('78 05 79 01 02 03 04 05 06 07 08 7a 02 ff ff 7d 01 02 03 04 08 07')).a).toBe(7)
  })

  test('reads varints of packed and single fields, with their count', () => {
    interface Numbers {
      n: readonly (Uint8Array | { length: number; read(): Promise<Uint8Array> })[]
    }
    const numbers: Message<Numbers> = { name: 'Numbers', fields: { n: varints(1) } }
    const { n } = decodeBytes(numbers, hex('08 05 0a 03 96 01 07 08 ff ff ff ff ff ff ff ff ff 01'))
    expect([...decodeVarints(n as Uint8Array[], 4, 'n')]).toEqual([5n, 150n, 7n, 2n ** 64n - 1n])
    expect(() => decodeVarints(n as Uint8Array[], 5, 'n')).toThrow('there are 4 numbers and the shape asks for 5')
  })
})

describe('broken bytes get one sentence with the path', () => {
  const cases: [string, string, string][] = [
    ['a cut off number', '08 96', 'a: the file ends within a number'],
    ['a number of 11 bytes', '08 ff ff ff ff ff ff ff ff ff ff 01', 'a: a number has more than 64 bits'],
    ['a length beyond the end', '12 09 74', 'b: 9 bytes are announced where 1 are left'],
    ['a length of 2^63', '12 ff ff ff ff ff ff ff ff 7f 00', 'b: 9223372036854776000 bytes are announced where 1 are left'],
    ['a length beyond the parent', '1a 02 12 05 74 74 74 74 74', 'c.b: 5 bytes are announced where 0 are left'],
    ['a number beyond the parent', '1a 02 08 96 01', 'c.a: the field runs past the end'],
    ['a wrong wire type', '0d 00 00 00 00', 'a: wire type 5 stands where 0 must'],
    ['a text as a number', '10 05', 'b: wire type 0 stands where 2 must'],
    ['a group', '7b 7c', 'wire type 3 does not exist'],
    ['field number 0', '00 05', '0 is no field number'],
    ['a message twice', '1a 00 1a 00', 'c: the message is there twice'],
    ['a list element', '2a 01 61 2a 05 61', 'e[1]: 5 bytes are announced where 1 are left'],
  ]
  test.each(cases)('%s', async (_, text, expected) => {
    expect(() => decodeBytes(sample, hex(text))).toThrow(expected)
    await expect(decode(sample, new MemorySource(hex(text), 'x.onnx'))).rejects.toThrow(expected)
  })

  test('nesting deeper than 100', () => {
    let value: Sample = { d: [], e: [] }
    for (let i = 0; i < 100; i++) value = { c: value, d: [], e: [] }
    expect(() => decodeBytes(sample, encodeBytes(sample, value))).not.toThrow()
    expect(() => decodeBytes(sample, encodeBytes(sample, { c: value, d: [], e: [] }))).toThrow('nested more than 100 deep')
  })
})

describe('files', () => {
  /** A file of zeros with other bytes at some places, which counts what is read of it. */
  class Sparse implements ByteSource {
    readonly name = 'sparse'
    readonly reads: [number, number][] = []
    readonly size: number
    readonly #parts: readonly [number, Uint8Array][]

    constructor(size: number, parts: readonly [number, Uint8Array][]) {
      this.size = size
      this.#parts = parts
    }

    async read(offset: number, length: number): Promise<Uint8Array> {
      this.reads.push([offset, offset + length])
      const result = new Uint8Array(length)
      for (const [at, part] of this.#parts)
        for (let i = Math.max(0, offset - at); i < Math.min(part.length, offset + length - at); i++) result[at + i - offset] = part[i]
      return result
    }
  }

  test('of more than 4 GB keep their blobs unread, and nothing is read twice', async () => {
    const gigabytes = 5 * 2 ** 30
    const lazy = { length: gigabytes, read: async () => new Uint8Array(0) }
    const attribute = { ...noAttribute, name: 'value', t: { ...emptyTensor, rawData: lazy, name: 'after', dims: [] } }
    const { byteLength, parts } = encode(nodeProto, {
      input: [],
      output: [],
      attribute: [attribute, { ...noAttribute, name: 'last' }],
      metadata: [],
      operator: 'Constant',
    })
    let at = 0
    const known: [number, Uint8Array][] = []
    for (const part of parts) {
      if (part instanceof Uint8Array) known.push([at, part])
      at += part.length
    }
    expect(byteLength).toBe(at)
    const source = new Sparse(byteLength, known)
    const node = await decode(nodeProto, source)
    const blob = node.attribute[0].t!.rawData as StoredBytes
    expect(blob).toBeInstanceOf(StoredBytes)
    expect(blob.length).toBe(gigabytes)
    expect(node.attribute[0].t!.name).toBe('after')
    expect(node.attribute[1].name).toBe('last')
    const sorted = source.reads.toSorted(([a], [b]) => a - b)
    sorted.slice(1).forEach(([start], i) => void expect(start).toBeGreaterThanOrEqual(sorted[i][1]))
    expect(source.reads.reduce((sum, [from, to]) => sum + to - from, 0)).toBeLessThan(20_000)
  })

  test('in chunks of any size give what they give in memory', async () => {
    const strings = Array.from({ length: 3000 }, (_, i) => new TextEncoder().encode(`text ${i}`.repeat(1 + (i % 7))))
    const value = { ...noAttribute, name: 'many', strings, ints: [1, 2, 3], f: 2 }
    const coded = encodeBytes(attributeProto, value)
    const source = new Sparse(coded.length, [[0, coded]])
    expect(await decode(attributeProto, source)).toEqual(decodeBytes(attributeProto, coded))
    expect(source.reads.reduce((sum, [from, to]) => sum + to - from, 0)).toBe(coded.length)
  })

  test('a length is checked before memory is asked for', async () => {
    const announced = new Sparse(2 ** 40, [[0, hex('12 ff ff ff ff 7f')]])
    await expect(decode(sample, announced)).rejects.toThrow('are more than the 67108864 that such a value may have')
    expect(announced.reads).toHaveLength(1)
  })

  test('that are no ONNX files', async () => {
    await expect(decode(modelProto, new MemorySource(new TextEncoder().encode('{"a": 1}'), 'x'))).rejects.toThrow()
    await expect(decode(tensorProto, new MemorySource(new Uint8Array(100), 'x'))).rejects.toThrow('0 is no field number')
  })
})
