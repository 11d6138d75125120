import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { openFolder } from '#platform'
import { MemorySource, readText } from '../../src/base/bytes.js'
import { Random } from '../../src/base/random.js'
import { openCheckpoint, readGguf } from '../../src/formats/index.js'
import type { Config, Model } from '../../src/ir/model.js'
import { printGraph } from '../../src/ir/print.js'
import type { Tensor } from '../../src/ir/tensor.js'
import { restoreCheckpoint } from '../../src/models/gguf.js'
import { architectures } from '../../src/models/index.js'
import { importModel } from '../../src/raise/import.js'
import { tinyLlama } from '../support/checkpoints.js'
import { f32, f32Bytes, f32Entry, type GgufFile, ggufBytes, text, texts, u32 } from '../support/gguf.js'
import { llamaGguf } from '../support/gguf-llama.js'
import { goldens } from '../support/goldens.js'

const forms = architectures.flatMap((architecture) => architecture.gguf ?? [])
const restore = async (file: GgufFile) => restoreCheckpoint(await readGguf(new MemorySource(ggufBytes(file), 'test.gguf')), forms)

async function contents(tensors: ReadonlyMap<string, Tensor>): Promise<Record<string, unknown>> {
  const read = await Promise.all([...tensors].map(async ([name, tensor]) => [name, [tensor.shape, await tensor.read()]] as const))
  return Object.fromEntries(read)
}

/** `expected` as far as the restored configuration speaks of it. */
const sameKeys = (config: Config, expected: Config) =>
  Object.fromEntries(Object.keys(config).flatMap((key) => (key in expected ? [[key, expected[key]]] : [])))

describe('restoreCheckpoint', () => {
  it('gives back the checkpoint that llama.cpp converted', async () => {
    const sizes = fc.record({
      heads: fc.constantFrom(2, 4),
      kvHeads: fc.constantFrom(1, 2),
      headSize: fc.constantFrom(4, 6, 8),
      layers: fc.integer({ min: 1, max: 11 }),
      tied: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), async (chosen, seed) => {
        const { config, tensors } = tinyLlama(new Random(seed, 'gguf'), chosen, { rope_theta: 5e5, rms_norm_eps: 1e-5 })
        const restored = await restore(await llamaGguf(config, tensors))
        expect(await contents(restored.tensors)).toEqual(await contents(tensors))
        expect(restored.config).toMatchObject(config)
      }),
      { numRuns: 20 },
    )
  })

  it('finds the scaling of rotary positions that a file names', async () => {
    const { config, tensors } = tinyLlama(new Random(1, 'gguf'))
    const file = await llamaGguf(config, tensors)
    const scaled = async (more: GgufFile['metadata']) => (await restore({ ...file, metadata: [...file.metadata, ...more] })).config
    expect(await scaled([])).not.toHaveProperty('rope_scaling')
    const linear: GgufFile['metadata'] = [
      ['llama.rope.scaling.type', text('linear')],
      ['llama.rope.scaling.factor', f32(2.5)],
    ]
    expect((await scaled(linear))['rope_scaling']).toEqual({ rope_type: 'linear', factor: 2.5 })
    const yarn: GgufFile['metadata'] = [
      ['llama.rope.scaling.type', text('yarn')],
      ['llama.rope.scaling.factor', f32(4)],
      ['llama.rope.scaling.original_context_length', u32(8)],
    ]
    expect((await scaled(yarn))['rope_scaling']).toEqual({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 8 })
    await expect(scaled([['llama.rope.scaling.type', text('longrope')]])).rejects.toThrow(/"longrope" is not known in GGUF files/)
  })

  it.each([[2048], [4096], [8192]])('finds Llama 3 scaled from a context of %i', async (original) => {
    const scaling = { rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: original }
    const sizes = { heads: 2, kvHeads: 1, headSize: 64, layers: 1, positions: 131072 }
    const { config, tensors } = tinyLlama(new Random(2, 'gguf'), sizes, { rope_theta: 5e5, rope_scaling: scaling })
    const file = await llamaGguf(config, tensors)
    expect((await restore(file)).config['rope_scaling']).toEqual(scaling)
    const others = file.tensors!.map((entry) =>
      entry.name === 'rope_freqs.weight' ? { ...entry, bytes: f32Bytes(new Array(32).fill(2)) } : entry,
    )
    expect((await restore({ ...file, tensors: others })).config['rope_scaling']).toMatchObject({ factor: 2 })
    const odd = others.map((entry) =>
      entry.name === 'rope_freqs.weight' ? { ...entry, bytes: f32Bytes(Array.from({ length: 32 }, (_, i) => 1 + (i % 2))) } : entry,
    )
    await expect(restore({ ...file, tensors: odd })).rejects.toThrow(/rope_freqs.weight is not Llama 3's scaling/)
  })

  it('says what it cannot restore', async () => {
    const { config, tensors } = tinyLlama(new Random(3, 'gguf'))
    const file = await llamaGguf(config, tensors)
    const without = (key: string) => ({ ...file, metadata: [...file.metadata].filter(([other]) => other !== key) })
    await expect(restore({ metadata: [['general.architecture', text('lama')]] })).rejects.toThrow(/architecture "lama" is not known/)
    await expect(restore({ metadata: [] })).rejects.toThrow(/general.architecture must be a text and it is not there/)
    await expect(restore(without('llama.block_count'))).rejects.toThrow(/llama.block_count must be a positive integer/)
    const lying = (key: string) => ({ ...file, metadata: [...without(key).metadata, [key, u32(2 ** 31)] as const] })
    await expect(restore(lying('llama.block_count'))).rejects.toThrow(/llama.block_count is 2147483648, and the file has 21 tensors/)
    await expect(restore(lying('llama.context_length'))).rejects.toThrow(/llama.context_length is 2147483648, and at most/)
    await expect(restore(lying('llama.attention.key_length'))).rejects.toThrow(/blk.0.attn_q.weight has 16 rows, and 4 heads of 2147483648/)
    await expect(restore({ ...file, tensors: file.tensors!.slice(1) })).rejects.toThrow(/token_embd.weight is missing/)
    await expect(restore({ ...file, metadata: [...file.metadata, ['llama.expert_count', u32(8)]] })).rejects.toThrow(/mixtures of experts/)
  })
})

describe('importModel of a GGUF file', () => {
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-test-'))
  afterAll(() => fs.rmSync(work, { recursive: true, force: true }))

  async function importBytes(file: GgufFile, name: string): Promise<{ model: Model; warnings: readonly string[] }> {
    fs.writeFileSync(path.join(work, name), ggufBytes(file))
    return importModel(path.join(work, name))
  }

  it('brings configuration, tokenizer and generation settings along', async () => {
    const { config, tensors } = tinyLlama(new Random(4, 'gguf'))
    const file = await llamaGguf(config, tensors)
    const vocabulary = ['<s>', ...Array.from({ length: 39 }, (_, i) => String.fromCodePoint(97 + i))]
    const metadata: GgufFile['metadata'] = [
      ...file.metadata,
      ['tokenizer.ggml.model', text('gpt2')],
      ['tokenizer.ggml.pre', text('gpt-2')],
      ['tokenizer.ggml.tokens', texts(vocabulary)],
      ['tokenizer.ggml.merges', texts(['a b'])],
      ['tokenizer.ggml.eos_token_id', u32(0)],
    ]
    const { model, warnings } = await importBytes(
      { ...file, metadata, tensors: [...file.tensors!, f32Entry('extra', [1], [0])] },
      'texts.gguf',
    )
    expect([...model.files.keys()].sort()).toEqual(['generation_config.json', 'tokenizer.json', 'tokenizer_config.json'])
    expect(JSON.parse(await readText({ open: async (file: string) => model.files.get(file)! } as never, 'generation_config.json'))).toEqual(
      {
        eos_token_id: 0,
      },
    )
    expect(model.config).toMatchObject({ model_type: 'llama', eos_token_id: 0 })
    expect(warnings).toEqual(['1 tensors of the checkpoint are not part of the graph: extra'])
  })

  it('names the tensors that are missing or hold NaN, by their names in the checkpoint', async () => {
    const { config, tensors } = tinyLlama(new Random(5, 'gguf'))
    const file = await llamaGguf(config, tensors)
    const incomplete = file.tensors!.filter((entry) => entry.name !== 'blk.1.ffn_up.weight')
    await expect(importBytes({ ...file, tensors: incomplete }, 'incomplete.gguf')).rejects.toThrow(/model.layers.1.mlp.up_proj.weight/)
    const broken = file.tensors!.map((entry) =>
      entry.name === 'output_norm.weight' ? { ...entry, bytes: f32Bytes(new Array(16).fill(Number.NaN)) } : entry,
    )
    const { model } = await importBytes({ ...file, tensors: broken }, 'broken.gguf')
    await expect(model.graph.constants.get('model.norm.weight')!.tensor!.read()).rejects.toThrow(/model.norm.weight holds NaN at \[0\]/)
  })

  it.each(goldens().filter(({ name }) => name.startsWith('llama')))(
    '$name: the graph is the one of its checkpoint',
    async ({ name, folder }) => {
      const expected = (await importModel(folder)).model
      const { config, tensors } = await openCheckpoint(await openFolder(folder))
      const { model } = await importBytes(await llamaGguf(config!, tensors), `${name}.gguf`)
      expect(printGraph(model.graph)).toBe(printGraph(expected.graph))
      for (const [key, constant] of expected.graph.constants)
        expect(await model.graph.constants.get(key)?.tensor?.read(), key).toEqual(await constant.tensor!.read())
      expect(model.config).toMatchObject(sameKeys(model.config!, expected.config!))
    },
  )
})
