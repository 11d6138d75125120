import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { ggufModels, ggufParts, openGguf, readGguf } from '../../src/formats/gguf.js'
import { GgufMetadata } from '../../src/formats/gguf-metadata.js'
import {
  f16Bytes,
  f32,
  f32Bytes,
  f32Entry,
  flag,
  type GgufEntry,
  type GgufFile,
  type GgufValue,
  ggufBytes,
  integers,
  joined,
  list,
  text,
  textBytes,
  texts,
  u32,
  u32Bytes,
  u64Bytes,
} from '../support/gguf.js'

const open = (bytes: Uint8Array) => readGguf(new MemorySource(bytes, 'test.gguf'))
const read = (file: GgufFile) => open(ggufBytes(file))

async function sentenceOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  expect(error.exitCode).toBe(2)
  return error.sentence
}

const name: readonly [string, GgufValue] = ['general.architecture', text('llama')]
const weights = f32Entry('a.weight', [2, 3], [1, 2, 3, 4, 5, 6])

const small: GgufFile = {
  metadata: [
    name,
    ['general.alignment', u32(32)],
    ['tokenizer.ggml.tokens', texts(['a', '', 'ü'])],
    ['tokenizer.ggml.scores', integers([1, -2, 3])],
    ['deep', list(9, [joined(u32Bytes(0), u64Bytes(2), Uint8Array.of(7, 8)), joined(u32Bytes(0), u64Bytes(0))])],
  ],
  tensors: [
    weights,
    { name: 'b', shape: [2, 32], type: 8, bytes: joined(...[1, 2].map((d) => joined(f16Bytes([d]), new Uint8Array(32).fill(3)))) },
  ],
}

describe('readGguf', () => {
  it('reads values of all types', async () => {
    const scalar = (type: number, size: number, write: (view: DataView) => void): GgufValue => {
      const bytes = new Uint8Array(size)
      write(new DataView(bytes.buffer))
      return { type, bytes }
    }
    const { metadata } = await read({
      metadata: [
        ['uint8', scalar(0, 1, (view) => view.setUint8(0, 200))],
        ['int8', scalar(1, 1, (view) => view.setInt8(0, -3))],
        ['uint16', scalar(2, 2, (view) => view.setUint16(0, 60000, true))],
        ['int16', scalar(3, 2, (view) => view.setInt16(0, -300, true))],
        ['uint32', u32(4e9)],
        ['int32', scalar(5, 4, (view) => view.setInt32(0, -4e5, true))],
        ['float32', f32(1e-5)],
        ['bool', flag(true)],
        ['string', text('naïve 日本')],
        ['uint64', { type: 10, bytes: u64Bytes(2n ** 60n) }],
        ['int64', scalar(11, 8, (view) => view.setBigInt64(0, -5n, true))],
        ['float64', scalar(12, 8, (view) => view.setFloat64(0, Math.PI, true))],
        ['texts', texts(['x', 'y'])],
        ['numbers', integers([1, -1])],
        ['lists', list(9, [texts(['deep']).bytes])],
      ],
    })
    expect(Object.fromEntries(metadata)).toEqual({
      uint8: 200,
      int8: -3,
      uint16: 60000,
      int16: -300,
      uint32: 4e9,
      int32: -4e5,
      float32: 1e-5,
      bool: true,
      string: 'naïve 日本',
      uint64: 2n ** 60n,
      int64: -5,
      float64: Math.PI,
      texts: ['x', 'y'],
      numbers: Int32Array.of(1, -1),
      lists: [['deep']],
    })
  })

  it('gives float32 numbers as the shortest decimals that are the same in float32', async () => {
    await fc.assert(
      fc.asyncProperty(fc.float({ noNaN: true, noDefaultInfinity: true }), async (value) => {
        const { metadata } = await read({ metadata: [['x', f32(value)]] })
        const decimal = metadata.get('x') as number
        expect(Math.fround(decimal) + 0).toBe(value + 0)
        expect(String(decimal).length).toBeLessThanOrEqual(String(value).length)
      }),
    )
  })

  it.each([2, 3])('finds tensors of every plain format, rows first, in version %i', async (version) => {
    const plain: GgufEntry[] = [
      weights,
      { name: 'f16', shape: [3], type: 1, bytes: f16Bytes([1, -2, 0.5]) },
      { name: 'bf16', shape: [2], type: 30, bytes: new Uint8Array(Uint16Array.of(0x3f80, 0xc000).buffer) },
      { name: 'f64', shape: [1], type: 28, bytes: new Uint8Array(Float64Array.of(Math.E).buffer) },
      { name: 'i64', shape: [1, 1, 1], type: 27, bytes: u64Bytes(9) },
      { name: 'scalar', shape: [], type: 0, bytes: f32Bytes([7]) },
    ]
    const { tensors } = await read({ metadata: [name, ['general.alignment', u32(64)]], tensors: plain, version, alignment: 64 })
    const seen = await Promise.all([...tensors].map(async ([key, tensor]) => [key, tensor.dtype, tensor.shape, await tensor.read()]))
    expect(seen).toEqual([
      ['a.weight', 'float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)],
      ['f16', 'float16', [3], Float32Array.of(1, -2, 0.5)],
      ['bf16', 'bfloat16', [2], Float32Array.of(1, -2)],
      ['f64', 'float64', [1], Float64Array.of(Math.E)],
      ['i64', 'int64', [1, 1, 1], BigInt64Array.of(9n)],
      ['scalar', 'float32', [], Float32Array.of(7)],
    ])
    expect(await tensors.get('a.weight')!.withRows([1, 0]).bytes()).toEqual(f32Bytes([4, 5, 6, 1, 2, 3]))
  })

  it('reads headers that are longer than what it looks at first', async () => {
    const numbers: GgufValue = { type: 9, bytes: joined(u32Bytes(0), u64Bytes(20_000_000), new Uint8Array(20_000_000)) }
    const { metadata, tensors } = await read({ metadata: [['numbers', numbers], name], tensors: [weights] })
    expect((metadata.get('numbers') as Uint8Array).length).toBe(20_000_000)
    expect(await tensors.get('a.weight')!.bytes()).toEqual(weights.bytes)
  })

  const magic = new TextEncoder().encode('GGUF')
  const counts = (tensors: bigint, keys: bigint) => joined(magic, u32Bytes(3), u64Bytes(tensors), u64Bytes(keys))
  const key = (type: number, ...rest: Uint8Array[]) => joined(counts(0n, 1n), textBytes('k'), u32Bytes(type), ...rest)
  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /the file is empty/],
    ['another file', new TextEncoder().encode('PK..............'), /does not begin with GGUF/],
    ['a file of eight bytes', joined(magic, u32Bytes(3)), /goes on after the file's end/],
    ['version 1', joined(magic, u32Bytes(1), new Uint8Array(16)), /version 1 of GGUF/],
    ['version 0', joined(magic, u32Bytes(0), new Uint8Array(16)), /version 0 of GGUF/],
    ['a big-endian file', joined(magic, Uint8Array.of(0, 0, 0, 3), new Uint8Array(16)), /big-endian/],
    ['2^63 tensors', counts(2n ** 63n, 0n), /there are 9223372036854775808 tensors/],
    ['2^63 keys', counts(0n, 2n ** 63n), /there are 9223372036854775808 keys/],
    ['more tensors than fit', counts(2n, 0n), /there are 2 tensors, more than/],
    ['a text of 2^40 bytes', key(8, u64Bytes(2n ** 40n)), /there are 1099511627776 bytes in the text of k/],
    ['2^40 texts', key(9, u32Bytes(8), u64Bytes(2n ** 40n)), /there are 1099511627776 texts of k/],
    ['2^61 numbers', key(9, u32Bytes(4), u64Bytes(2n ** 61n)), /there are 2305843009213693952 numbers of k/],
    ['an unknown type', key(13), /the key k has the unknown type 13/],
    ['a list of an unknown type', key(9, u32Bytes(99), u64Bytes(0)), /the key k has the unknown type 99/],
    ['deep lists', key(9, ...Array.from({ length: 1000 }, () => joined(u32Bytes(9), u64Bytes(1)))), /nested deeper than 4/],
  ])('refuses %s', async (_, bytes, expected) => {
    expect(await sentenceOf(open(bytes))).toMatch(expected)
  })

  const block = { name: 'q', shape: [1, 32], type: 2, bytes: new Uint8Array(18) }
  it.each<[string, Partial<GgufFile>, RegExp]>([
    ['a key given twice', { metadata: [name, name] }, /the key general.architecture is given twice/],
    ['a tensor given twice', { tensors: [weights, weights] }, /tensor a.weight is given twice/],
    ['five dimensions', { tensors: [{ ...weights, shape: [1, 1, 1, 1, 6] }] }, /tensor a.weight has 5 dimensions/],
    ['a shape of 2^60', { tensors: [{ ...weights, shape: [2 ** 30, 2 ** 30] }] }, /tensor a.weight has the shape .* too large/],
    ['a tensor beyond the end', { tensors: [{ ...weights, shape: [200, 3] }] }, /tensor a.weight ends at byte \d+, past the file's end/],
    ['an offset beyond the end', { tensors: [{ ...weights, offset: 2n ** 40n }] }, /tensor a.weight ends at byte \d+, past/],
    ['an offset of 2^63', { tensors: [{ ...weights, offset: 2n ** 63n }] }, /the offset of tensor a.weight is \d+, too large/],
    ['an offset between', { tensors: [{ ...weights, offset: 8n }] }, /begins at byte 8 of the data, .* alignment 32/],
    [
      'an overlap',
      {
        tensors: [
          { ...weights, shape: [3, 3] },
          { ...weights, name: 'b' },
        ],
      },
      /tensor b begins at byte 32 .*, inside tensor a/,
    ],
    ['half a block', { tensors: [{ ...block, shape: [2, 16] }] }, /tensor q is Q4_0 in blocks of 32, and its rows of 16/],
    ['a block without rows', { tensors: [{ ...block, shape: [] }] }, /tensor q is Q4_0 in blocks of 32/],
    ['a format that is not read', { tensors: [{ ...block, type: 16 }] }, /tensor q is IQ2_XXS, a format that Tinsmith does not read/],
    ['an unknown format', { tensors: [{ ...block, type: 1000 }] }, /tensor q has the unknown format 1000/],
    ['an alignment of 0', { metadata: [['general.alignment', u32(0)]] }, /general.alignment is 0/],
    ['an alignment of 3', { metadata: [['general.alignment', u32(3)]] }, /general.alignment is 3/],
    ['an alignment in words', { metadata: [['general.alignment', text('much')]] }, /general.alignment is much/],
    ['an alignment beyond the file', { metadata: [['general.alignment', u32(2 ** 31)]], tensors: [weights] }, /past the file's end/],
  ])('refuses %s', async (_, file, expected) => {
    expect(await sentenceOf(read({ metadata: [name], ...file }))).toMatch(expected)
  })

  it('reads what was mutated or cut off, or says in one sentence why not', async () => {
    const bytes = ggufBytes(small)
    const edit = fc.tuple(fc.nat(bytes.length - 1), fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)))
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 6 }), fc.nat(bytes.length), async (edits, cut) => {
        const copy = bytes.slice(0, cut % 3 ? bytes.length : cut)
        for (const [at, byte] of edits) if (at < copy.length) copy[at] = byte
        try {
          const { tensors } = await open(copy)
          for (const tensor of tensors.values()) expect(await tensor.bytes()).toHaveLength(tensor.byteLength)
        } catch (error) {
          expect(error).toBeInstanceOf(TinsmithError)
          expect((error as TinsmithError).sentence.length).toBeLessThan(600)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

describe('models in parts', () => {
  const split = (number: number, count: number, total: number): [string, GgufValue][] => [
    ['split.no', { type: 2, bytes: Uint8Array.of(number, 0) }],
    ['split.count', { type: 2, bytes: Uint8Array.of(count, 0) }],
    ['split.tensors.count', { type: 5, bytes: u32Bytes(total) }],
  ]
  const first = { metadata: [name, ...split(0, 2, 2)], tensors: [weights] }
  const second = { metadata: split(1, 2, 2), tensors: [f32Entry('b', [1], [9])] }
  const parts = ggufParts('m-00002-of-00002.gguf')
  const folder = (...files: (GgufFile | null)[]) =>
    new MemoryFolder(new Map(files.flatMap((file, i) => (file ? [[parts[i], ggufBytes(file)] as const] : []))), 'folder')

  it('are read as one', async () => {
    expect(parts).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
    const { metadata, tensors } = await openGguf(folder(first, second), parts)
    expect(metadata.get('general.architecture')).toBe('llama')
    expect(await tensors.get('b')!.read()).toEqual(Float32Array.of(9))
    expect([...tensors.keys()]).toEqual(['a.weight', 'b'])
  })

  it.each<[string, (GgufFile | null)[], RegExp]>([
    ['a missing part', [first, null], /1 of 2 parts are missing: m-00002-of-00002.gguf/],
    ['the wrong order', [second, first], /m-00001-of-00002.gguf: this is part 2 of 2, not part 1 of 2/],
    ['a part of another model', [first, { ...second, metadata: split(1, 3, 2) }], /this is part 2 of 3, not part 2 of 2/],
    ['a whole model as a part', [first, { metadata: [name] }], /this is part 1 of 1, not part 2 of 2/],
    ['a tensor in both', [first, { ...second, tensors: [weights] }], /tensor a.weight lies in another part too/],
    ['too few tensors', [first, { ...second, tensors: [] }], /the parts hold 1 tensors and should hold 2/],
  ])('are refused with %s', async (_, files, expected) => {
    expect(await sentenceOf(openGguf(folder(...files), parts))).toMatch(expected)
  })

  it('count as one model of a folder, and projectors as none', () => {
    expect(ggufModels(['x/a.gguf', ...parts, 'mmproj-a.gguf', 'x/imatrix.gguf', 'readme.md'])).toEqual(['x/a.gguf', parts[0]])
  })
})

describe('GgufMetadata', () => {
  it('takes a list as one number where all its entries are equal, and names what is wrong', async () => {
    const { metadata } = await read({ metadata: [['l.heads', integers([3, 3])], ['l.inner', integers([3, 4])], ['l.big', u32(0)], name] })
    const reader = new GgufMetadata({ name: 'test.gguf', metadata })
    expect(reader.size('l.heads')).toBe(3)
    expect(() => reader.size('l.inner')).toThrow(/l.inner differs from layer to layer \(3, 4\)/)
    expect(() => reader.size('l.big')).toThrow(/l.big must be a positive integer and it is 0/)
    expect(() => reader.size('l.absent')).toThrow(/l.absent must be a positive integer and it is not there/)
    expect(() => reader.text('l.heads')).toThrow(/l.heads must be a text and it is a list of 2/)
    expect(() => reader.texts('general.architecture')).toThrow(/must be a list of texts and it is llama/)
    expect(() => reader.flag('l.big', false)).toThrow(/must be true or false/)
  })
})
