import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { readSafetensors } from '../../src/formats/index.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { openTokenizer, pad, Tokenizer } from '../../src/pipelines/index.js'
import { modelPath, sharedPath } from '../support/shared.js'
import { byteTokenizer, wordPieceConfig, wordPieceDefinition } from './fakes.js'

const folderOf = (directory: string) =>
  new MemoryFolder(
    new Map(
      fs
        .readdirSync(directory)
        .filter((name) => /\.(json|jinja)$/.test(name))
        .map((name) => [name, fs.readFileSync(path.join(directory, name))]),
    ),
    directory,
  )
const json = (object: unknown) => new TextEncoder().encode(JSON.stringify(object))

describe('encode', () => {
  const tokenizer = new Tokenizer(wordPieceDefinition, wordPieceConfig, { maxLength: 6 })

  it('pads, marks special tokens and gives int64 arrays', () => {
    const encoding = tokenizer.encode(['A be', 'c'])
    expect(encoding.input_ids).toEqual({ dtype: 'int64', shape: [2, 5], data: BigInt64Array.of(2n, 4n, 5n, 8n, 3n, 2n, 6n, 3n, 0n, 0n) })
    expect([...numbersOf(encoding.attention_mask)]).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
    expect([...numbersOf(encoding.special_tokens_mask)]).toEqual([1, 0, 0, 0, 1, 1, 0, 1, 1, 1])
    expect(encoding.lengths).toEqual([5, 3])
    expect([...numbersOf(tokenizer.encode(['a b', 'c'], { side: 'left', padding: 5 }).input_ids)]).toEqual([0, 2, 4, 5, 3, 0, 0, 2, 6, 3])
  })

  it('cuts to the limit and keeps special tokens, the longer text of a pair first', () => {
    expect(tokenizer.encodeOne('a b c d a b').ids).toEqual([2, 4, 5, 6, 7, 3])
    expect(tokenizer.encodeOne(['a b c d', 'd'])).toEqual({
      ids: [2, 4, 5, 3, 7, 3],
      types: [0, 0, 0, 0, 1, 1],
      special: [1, 0, 0, 1, 0, 1],
    })
    expect(tokenizer.encodeOne(['a', 'b c d']).ids).toEqual([2, 4, 3, 5, 6, 3])
    expect(tokenizer.encodeOne(['a', '']).ids).toEqual([2, 4, 3, 3])
    expect(tokenizer.encodeOne('a b', { maxLength: 1 }).ids).toEqual([2, 3])
  })

  it('counts special tokens that the text spells as text', () => {
    expect(tokenizer.encodeOne('[CLS] a')).toEqual({ ids: [2, 2, 4, 3], types: [0, 0, 0, 0], special: [1, 0, 0, 1] })
  })

  it('keeps every pair within the limit and as long as it can be', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 }).map((list) => list.join(' '))
    fc.assert(
      fc.property(text, text, fc.integer({ min: 3, max: 20 }), (first, second, maxLength) => {
        const whole = tokenizer.encodeOne([first, second], { maxLength: 100 }).ids.length
        expect(tokenizer.encodeOne([first, second], { maxLength }).ids.length).toBe(Math.min(whole, maxLength))
      }),
    )
  })

  it('pads nothing to nothing', () => {
    expect(pad([]).input_ids.shape).toEqual([0, 0])
  })
})

describe('openTokenizer', () => {
  const files = (extra: Record<string, unknown>) =>
    new MemoryFolder(
      new Map(Object.entries({ 'tokenizer.json': wordPieceDefinition, ...extra }).map(([name, document]) => [name, json(document)])),
    )

  it('takes the least limit that is named', async () => {
    const limit = async (extra: Record<string, unknown>) => (await openTokenizer(files(extra))).maxLength
    expect(await limit({})).toBe(Number.POSITIVE_INFINITY)
    expect(await limit({ 'tokenizer_config.json': { model_max_length: 1e30 }, 'config.json': { max_position_embeddings: 512 } })).toBe(512)
    expect(await limit({ 'sentence_bert_config.json': { max_seq_length: 256 }, 'config.json': { max_position_embeddings: 512 } })).toBe(256)
    expect(await limit({ 'config.json': { model_type: 'roberta', max_position_embeddings: 514 } })).toBe(512)
  })

  it('says in a sentence what is missing or broken', async () => {
    await expect(openTokenizer(new MemoryFolder())).rejects.toMatchObject({
      code: 'bad-input',
      message: 'the model has no tokenizer.json, which texts need',
    })
    const broken = new MemoryFolder(new Map([['tokenizer.json', json({ model: {} })]]))
    await expect(openTokenizer(broken)).rejects.toMatchObject({ code: 'bad-input', where: 'tokenizer.json' })
  })
})

describe('decode', () => {
  const tokenizer = byteTokenizer()

  it('streams whole characters only, and all of the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', ' ', 'é', '日', '🙂', '\n') }), (text) => {
        const ids = tokenizer.ids(text)
        const decoder = tokenizer.streamDecoder()
        const pieces = ids.map((id) => decoder.push(id))
        expect(pieces.join('')).toBe(text)
        expect(pieces.join('')).not.toContain('\uFFFD')
        expect(decoder.end()).toBe('')
      }),
    )
  })

  it('gives an incomplete character at the end only', () => {
    const decoder = tokenizer.streamDecoder()
    const [first, ...rest] = tokenizer.ids('🙂')
    expect([decoder.push(97), decoder.push(first), decoder.push(rest[0]), decoder.end()]).toEqual(['a', '', '', '\uFFFD'])
  })

  it('leaves special tokens out unless asked, and decodes nothing to nothing', () => {
    expect(tokenizer.decode([97, 256])).toBe('a')
    expect(tokenizer.decode([97, 256], { specialTokens: true })).toBe('a<end>')
    expect(tokenizer.decode([])).toBe('')
  })
})

describe('chat', () => {
  it('renders the template with the special tokens, and refuses without one', () => {
    expect(byteTokenizer().chat([{ role: 'user', content: 'Hi' }])).toBe('user: Hi<end>bot:')
    expect(() => new Tokenizer(wordPieceDefinition).chat([])).toThrow('the model has no chat template')
  })
})

describe('real tokenizers', () => {
  const miniLM = modelPath('all-MiniLM-L6-v2')
  const stories = sharedPath('models', 'stories260K')

  it.skipIf(!miniLM)('gives the reference ids of MiniLM', async () => {
    const tokenizer = await openTokenizer(folderOf(miniLM!))
    expect(tokenizer.maxLength).toBe(256)
    const texts = JSON.parse(fs.readFileSync(path.join(miniLM!, 'reference.json'), 'utf8')) as string[]
    const { tensors } = await readSafetensors(new MemorySource(fs.readFileSync(path.join(miniLM!, 'reference.safetensors'))))
    const encoding = tokenizer.encode(texts)
    for (const name of ['input_ids', 'attention_mask', 'token_type_ids'] as const)
      expect(encoding[name]).toEqual(await tensors.get(`in.${name}`)!.array())
  })

  it.skipIf(!stories)('streams what stories260K decodes, byte tokens and the first space too', async () => {
    const tokenizer = await openTokenizer(folderOf(stories!))
    const { prompt, prompt_ids: ids } = JSON.parse(fs.readFileSync(path.join(stories!, 'reference.json'), 'utf8')) as {
      prompt: string
      prompt_ids: number[]
    }
    expect(tokenizer.ids(prompt, { specialTokens: true })).toEqual(ids)
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'The', ' ', 'é', '日', '🙂') }), fc.nat(20), (text, split) => {
        const all = tokenizer.ids(`Once ${text}`)
        const decoder = tokenizer.streamDecoder(all.slice(0, split))
        const pieces = all.slice(split).map((id) => decoder.push(id))
        const tail = pieces.join('') + decoder.end()
        if (!tokenizer.decode(all.slice(0, split)).endsWith('\uFFFD'))
          expect(tokenizer.decode(all.slice(0, split)) + tail).toBe(tokenizer.decode(all))
      }),
    )
  })
})
