import fs from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openFile } from '#platform'
import { MemoryFolder, MemorySource, readAll } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { readSafetensors, writeSafetensors } from '../../src/formats/safetensors.js'
import { ArrayTensor, type Tensor } from '../../src/ir/tensor.js'
import { allocate, type DType, dtypes, type Elements } from '../../src/numbers/dtype.js'
import { sharedPath } from '../support/shared.js'

const written: DType[] = (Object.keys(dtypes) as DType[]).filter((dtype) => !/string|complex128|u?int[24]$/.test(dtype))

async function write(tensors: ReadonlyMap<string, Tensor>, metadata: Record<string, string> = {}): Promise<Uint8Array> {
  const folder = new MemoryFolder()
  await writeSafetensors(await folder.create('file'), tensors, metadata)
  return folder.files.get('file')!
}

/** A file of a header and `dataSize` bytes. */
function file(header: unknown, dataSize: number, text = JSON.stringify(header)): MemorySource {
  const json = new TextEncoder().encode(text)
  const bytes = new Uint8Array(8 + json.length + dataSize)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  return new MemorySource(bytes, 'test.safetensors')
}

/** Random tensors of any dtype and shape whose numbers every dtype holds. */
const anyTensor = fc.tuple(fc.constantFrom(...written), fc.array(fc.nat(4), { maxLength: 3 }), fc.nat()).map(([dtype, dims, seed]) => {
  const shape = dtypes[dtype].bits < 8 ? [...dims, 2] : dims
  const data = allocate(
    dtype,
    shape.reduce((a, b) => a * b, 1),
  ) as unknown as (number | bigint)[]
  for (let i = 0; i < data.length; i++)
    data[i] = dtype.endsWith('int64') ? BigInt((i + seed) % 2) : dtype === 'float8e8m0' ? 1 : (i + seed) % 2
  return new ArrayTensor(dtype, shape, data as unknown as Elements)
})

async function sentenceOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  expect(['bad-input', 'unsupported']).toContain(error.code)
  return error.sentence
}

describe('safetensors', () => {
  it('reads back what it writes, for every dtype and shape', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.string({ unit: 'binary', maxLength: 12 }), anyTensor, { maxKeys: 8 }),
        fc.dictionary(fc.string(), fc.string()),
        async (named, metadata) => {
          const tensors = new Map(Object.entries(named))
          const bytes = await write(tensors, metadata)
          const read = await readSafetensors(new MemorySource(bytes))
          expect(read.metadata).toEqual(metadata)
          expect([...read.tensors.keys()].sort()).toEqual([...tensors.keys()].sort())
          for (const [name, tensor] of tensors) {
            const back = read.tensors.get(name)!
            expect([back.dtype, back.shape]).toEqual([tensor.dtype, tensor.shape])
            expect(await back.read()).toEqual(tensor.data)
          }
          expect(await write(read.tensors, metadata)).toEqual(bytes)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('aligns the data to 8 bytes and writes the same bytes in any order', async () => {
    const a = new ArrayTensor('float32', [1], Float32Array.of(1))
    const b = new ArrayTensor('int64', [1], BigInt64Array.of(2n))
    const bytes = await write(new Map<string, Tensor>([['a', a], ['b', b]])) // biome-ignore format: short
    expect(bytes).toEqual(await write(new Map<string, Tensor>([['b', b], ['a', a]]))) // biome-ignore format: short
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0)
    expect([...(await readSafetensors(new MemorySource(bytes))).tensors.keys()]).toEqual(['b', 'a'])
  })

  it.skipIf(!sharedPath('golden'))("writes a golden's bytes as the reference library wrote them", async () => {
    const golden = sharedPath('golden')!
    for (const name of fs.readdirSync(golden)) {
      const path = `${golden}/${name}/model.safetensors`
      if (!fs.existsSync(path)) continue
      const source = await openFile(path)
      const { tensors, metadata } = await readSafetensors(source)
      const same = Buffer.compare(await write(tensors, metadata), await readAll(source)) === 0
      expect(same, name).toBe(true)
    }
  })

  const float = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
  it.each<[string, unknown, number, RegExp]>([
    [
      'an offset past the end',
      { a: { ...float, shape: [250_000_000_000], data_offsets: [0, 1e12] } },
      8,
      /tensor a ends at byte 1000000000000, past the 8/,
    ],
    ['a negative offset', { a: { ...float, data_offsets: [-8, 0] } }, 8, /tensor a .*data_offsets/],
    ['a broken offset', { a: { ...float, data_offsets: [0, 7.5] } }, 8, /tensor a .*data_offsets/],
    ['three offsets', { a: { ...float, data_offsets: [0, 8, 8] } }, 8, /tensor a .*data_offsets/],
    ['an end before the start', { a: { ...float, data_offsets: [8, 0] } }, 8, /tensor a ends at byte 0, before/],
    [
      'a shape that does not fit',
      { a: { ...float, shape: [3] } },
      8,
      /tensor a has the shape \[3\] of F32, 12 bytes, but data_offsets of 8/,
    ],
    ['a shape of 2^60', { a: { ...float, shape: [2 ** 30, 2 ** 30] } }, 8, /tensor a has the shape .* too large/],
    ['a size of 2^63', { a: { ...float, shape: [2 ** 63] } }, 8, /tensor a has a shape that is no list/],
    ['an offset of 2^63', { a: { ...float, data_offsets: [0, 2 ** 63] } }, 8, /tensor a .*data_offsets/],
    ['a negative size', { a: { ...float, shape: [-2] } }, 8, /tensor a has a shape/],
    ['an unknown dtype', { a: { ...float, dtype: 'F31' } }, 8, /tensor a has the unknown dtype F31\. Did you mean/],
    ['a dtype without numbers here', { a: { ...float, dtype: 'F6_E2M3' } }, 8, /tensor a has the dtype F6_E2M3/],
    ['no dtype', { a: { shape: [2], data_offsets: [0, 8] } }, 8, /tensor a has no dtype/],
    ['half a byte', { a: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } }, 2, /tensor a has 12 bits/],
    ['no description', { a: 7 }, 8, /tensor a is described by no JSON object/],
    ['an overlap', { a: float, b: { ...float, data_offsets: [4, 12] } }, 12, /tensor b begins at byte 4, inside tensor a/],
    ['a hole', { a: float, b: { ...float, data_offsets: [12, 20] } }, 20, /the 4 bytes before tensor b belong to no tensor/],
    ['bytes left over', { a: float }, 12, /the last 4 bytes belong to no tensor/],
    ['a file cut off', { a: float }, 4, /tensor a ends at byte 8, past the 4 bytes/],
    ['metadata that are no texts', { __metadata__: { format: 1 }, a: float }, 8, /__metadata__/],
    ['a header that is a list', [float], 8, /does not begin with/],
  ])('refuses %s', async (_, header, dataSize, expected) => {
    expect(await sentenceOf(readSafetensors(file(header, dataSize)))).toMatch(expected)
  })

  it.each<[string, string, RegExp]>([
    ['a tensor given twice', `{"a":${JSON.stringify(float)},"\\u0061":${JSON.stringify(float)}}`, /the key "a" is given twice/],
    ['a dtype given twice', '{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', /the key "dtype" is given twice/],
    ['deep nesting', `{"a":${'['.repeat(50_000)}`, /nested deeper than 3/],
    ['braces only', '{'.repeat(1000), /nested deeper than 3/],
    ['what is no JSON', '{"a" 1}', /not JSON/],
    ['an unfinished text', '{"a', /not JSON/],
  ])('refuses %s', async (_, text, expected) => {
    expect(await sentenceOf(readSafetensors(file(null, 8, text)))).toMatch(expected)
  })

  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /the file is empty/],
    ['a file of 5 bytes', new Uint8Array(5), /only 5 bytes/],
    ['a header size of 2^63', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b), /9223372036854775808 bytes/],
    ['a header past the end', Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0x7b), /9 bytes but the file has 9/],
    ['a header of no bytes', new Uint8Array(8), /does not begin with/],
    ['a header that is not UTF-8', Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff), /not UTF-8/],
  ])('refuses %s', async (_, bytes, expected) => {
    expect(await sentenceOf(readSafetensors(new MemorySource(bytes, 'x')))).toMatch(expected)
  })

  it('refuses to write what the format lacks', async () => {
    expect(await sentenceOf(write(new Map([['a', new ArrayTensor('int4', [2], Int8Array.of(1, 2))]])))).toMatch(/tensor a is int4/)
  })

  it.skipIf(!sharedPath('golden', 'bert'))('survives any change to a real file', async () => {
    const good = new Uint8Array(fs.readFileSync(sharedPath('golden', 'bert', 'model.safetensors')!))
    const headerEnd = 8 + Number(new DataView(good.buffer).getBigUint64(0, true))
    const change = fc.record({ at: fc.nat(headerEnd - 1), byte: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 6 }), fc.option(fc.nat(good.length)), async (changes, length) => {
        const bytes = good.slice(0, length ?? good.length)
        for (const { at, byte } of changes) if (at < bytes.length) bytes[at] = byte
        try {
          const { tensors } = await readSafetensors(new MemorySource(bytes, 'mutated'))
          for (const tensor of tensors.values()) expect((await tensor.bytes()).length).toBe(tensor.byteLength)
        } catch (error) {
          expect(error).toBeInstanceOf(TinsmithError)
          expect((error as TinsmithError).sentence.length).toBeLessThan(800)
        }
      }),
      { numRuns: 1500 },
    )
  })
})
