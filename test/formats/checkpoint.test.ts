import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryFolder, MemorySource, writeFile } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { openCheckpoint } from '../../src/formats/checkpoint.js'
import { assertFinite } from '../../src/formats/finite.js'
import { writeSafetensors } from '../../src/formats/safetensors.js'
import { travellingFiles } from '../../src/formats/travel.js'
import { ArrayTensor, StoredTensor, type Tensor } from '../../src/ir/tensor.js'
import { allocate, type DType, dtypes } from '../../src/numbers/dtype.js'
import { decode, encode } from '../../src/numbers/storage.js'

const numbers = (...values: number[]) => new ArrayTensor('float32', [values.length], Float32Array.from(values))

async function folderOf(files: Record<string, string | Record<string, Tensor>>): Promise<MemoryFolder> {
  const folder = new MemoryFolder(new Map(), 'some-model')
  for (const [path, content] of Object.entries(files))
    if (typeof content === 'string') await writeFile(folder, path, content)
    else await writeSafetensors(await folder.create(path), new Map(Object.entries(content)))
  return folder
}

const index = (weightMap: unknown) => JSON.stringify({ metadata: {}, weight_map: weightMap })

async function refusal(files: Parameters<typeof folderOf>[0]): Promise<string> {
  const error = await openCheckpoint(await folderOf(files)).then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  expect(error.exitCode).toBe(2)
  return error.sentence
}

describe('openCheckpoint', () => {
  it('opens a single file', async () => {
    const files = { 'config.json': '{"model_type": "bert"}', 'model.safetensors': { a: numbers(1, 2) }, 'vocab.txt': 'x', 'notes.txt': '' }
    const checkpoint = await openCheckpoint(await folderOf(files))
    expect(checkpoint.config).toEqual({ model_type: 'bert' })
    expect(await checkpoint.tensors.get('a')!.read()).toEqual(Float32Array.of(1, 2))
    expect(checkpoint.files).toEqual(['config.json', 'vocab.txt'])
    expect((await openCheckpoint(await folderOf({ 'model.safetensors': {} }))).config).toBeNull()
  })

  it('opens shards, and takes tensors along that the index forgets', async () => {
    const checkpoint = await openCheckpoint(
      await folderOf({
        'model.safetensors.index.json': index({ a: 'one.safetensors', b: 'two.safetensors' }),
        'one.safetensors': { a: numbers(1), extra: numbers(3) },
        'two.safetensors': { b: numbers(2) },
      }),
    )
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['a', 'b', 'extra'])
    expect(await checkpoint.tensors.get('b')!.read()).toEqual(Float32Array.of(2))
  })

  it('names missing shards, missing tensors and shards that the index lies about', async () => {
    const one = { a: numbers(1) }
    const shards = (map: unknown, more = {}) => ({ 'model.safetensors.index.json': index(map), 'one.safetensors': one, ...more })
    expect(await refusal(shards({ a: 'one.safetensors', b: 'two.safetensors', c: 'three.safetensors' }))).toContain(
      '2 of 3 shards are missing: three.safetensors, two.safetensors',
    )
    expect(await refusal(shards({ a: 'one.safetensors', b: 'one.safetensors' }))).toContain('missing in the shards: b (one.safetensors)')
    expect(await refusal(shards({ a: 'two.safetensors', b: 'one.safetensors' }, { 'two.safetensors': { b: numbers(2) } }))).toContain(
      'tensor a lies in two.safetensors, but it lies in one.safetensors',
    )
    expect(await refusal(shards({ a: 7 }))).toContain('names no file for tensor a')
    expect(await refusal(shards({}))).toContain('empty')
    expect(await refusal({ 'model.safetensors.index.json': '[]' })).toContain('must hold a JSON object')
  })

  it('says what to do where there are no weights', async () => {
    expect(await refusal({ 'config.json': '{}', 'pytorch_model.bin': '' })).toContain('Save them as safetensors')
    expect(await refusal({ 'adapter_config.json': '{}', 'adapter_model.safetensors': {} })).toContain('adapter without the model')
    expect(await refusal({ 'config.json': '{}' })).toContain('neither model.safetensors nor')
    expect(await refusal({ 'config.json': '{"model_type": "bert",', 'model.safetensors': {} })).toMatch(
      /^some-model\/config\.json: this is not JSON/,
    )
    expect(await refusal({ 'config.json': '7', 'model.safetensors': {} })).toContain('must hold a JSON object')
    expect(await refusal({ 'config.json': '['.repeat(1e5), 'model.safetensors': {} })).toContain('nested deeper')
  })
})

describe('travellingFiles', () => {
  it('keeps configuration, tokenizer, pooling and licence, and no weights', () => {
    const kept = ['1_Pooling/config.json', '2_Dense/config.json', 'LICENSE', 'LICENSE.txt', 'chat_template.jinja', 'config.json'].concat(
      ['config_sentence_transformers.json', 'generation_config.json', 'merges.txt', 'modules.json', 'preprocessor_config.json'],
      [
        'processor_config.json',
        'sentence_bert_config.json',
        'special_tokens_map.json',
        'spiece.model',
        'tokenizer.json',
        'tokenizer.model',
      ],
      ['tokenizer_config.json', 'vocab.txt'],
    )
    expect(travellingFiles([...kept, 'model.safetensors', 'onnx/model.onnx', 'README.md', 'reference.json', 'deep/vocab.txt'])).toEqual(
      [...kept].sort(),
    )
  })
})

describe('assertFinite', () => {
  const floats = (Object.keys(dtypes) as DType[]).filter((dtype) => dtypes[dtype].kind === 'float' && dtype !== 'float4e2m1')

  const storedTensor = (dtype: DType, shape: number[], bytes: Uint8Array) => new StoredTensor(dtype, shape, new MemorySource(bytes), 0)

  it.each(floats)('finds the first odd number exactly where the decoded elements have one: %s', async (dtype) => {
    const width = dtypes[dtype].bits / 8
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 6 * width, maxLength: 6 * width }),
        fc.constantFrom(null, 0xff, 0x7f, 0x80, 0x7c),
        fc.boolean(),
        async (bytes, odd, stored) => {
          if (odd !== null) bytes.fill(odd, 3 * width, 4 * width)
          const data = decode(dtype, bytes, 6) as Float32Array
          const at = data.findIndex((x) => !Number.isFinite(x))
          const tensor = stored ? storedTensor(dtype, [2, 3], bytes) : new ArrayTensor(dtype, [2, 3], data)
          const sentence = await assertFinite('w', tensor).then(
            () => null,
            (error) => error.sentence,
          )
          if (at < 0) expect(sentence).toBeNull()
          else expect(sentence).toMatch(new RegExp(`tensor w holds (NaN|-?Infinity) at \\[${Math.floor(at / 3)}, ${at % 3}\\]`))
        },
      ),
    )
  })

  it('lets every finite number pass, the largest too', async () => {
    const largest = {
      float32: 3.4028234663852886e38,
      float16: 65504,
      bfloat16: 3.3895313892515355e38,
      float8e5m2: 57344,
      float8e4m3fn: 448,
    }
    for (const [dtype, value] of Object.entries(largest)) {
      const data = allocate(dtype as DType, 2) as Float32Array
      data.set([value, -value])
      expect(decode(dtype as DType, encode(dtype as DType, data), 2)).toEqual(data)
      await assertFinite('w', storedTensor(dtype as DType, [2], encode(dtype as DType, data)))
    }
    await assertFinite('w', new ArrayTensor('int32', [1], Int32Array.of(0x7fc00000)))
  })
})
