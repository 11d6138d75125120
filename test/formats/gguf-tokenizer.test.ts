import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { readGguf } from '../../src/formats/gguf.js'
import { GgufMetadata } from '../../src/formats/gguf-metadata.js'
import { type GgufTexts, ggufTexts } from '../../src/formats/gguf-tokenizer.js'
import { Tokenizer } from '../../src/pipelines/tokenizer.js'
import { flag, floats, type GgufValue, ggufBytes, integers, text, texts, u32 } from '../support/gguf.js'
import { sharedPath } from '../support/shared.js'

async function textsOf(values: Readonly<Record<string, GgufValue>>): Promise<GgufTexts> {
  const metadata = Object.entries(values).map(([key, value]) => [key.includes('.') ? key : `tokenizer.ggml.${key}`, value] as const)
  return ggufTexts(new GgufMetadata(await readGguf(new MemorySource(ggufBytes({ metadata }), 'test.gguf'))))
}

const documentOf = ({ documents }: GgufTexts, name: string) => documents.get(name) as Record<string, never>
const tokenizerOf = (found: GgufTexts) => new Tokenizer(documentOf(found, 'tokenizer.json'), documentOf(found, 'tokenizer_config.json'))

/** GPT-2's characters for bytes: those that print stand for themselves, the others follow from 256 on. */
function byteCharacters(): string[] {
  const prints = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : next++))
}

const bytes = byteCharacters()
const space = bytes[32]
const merges = ['1 2', '12 3', '123 4', 'h e', `${space} he`, 'a 1', `${space} ${space}`]
const tokens = ['<s>', '</s>', '<tool>', ...bytes, ...merges.map((merge) => merge.replace(' ', ''))]
const byteLevel = (pre: string): Record<string, GgufValue> => ({
  model: text('gpt2'),
  pre: text(pre),
  tokens: texts(tokens),
  token_type: integers(tokens.map((_, id) => (id < 2 ? 3 : id === 2 ? 4 : 1))),
  merges: texts(merges),
  bos_token_id: u32(0),
  eos_token_id: u32(1),
})

describe('byte-level tokenizers of GGUF files', () => {
  it.each(['gpt-2', 'smollm', 'llama-bpe', 'qwen2', 'stablelm2', 'tekken', 'gpt-4o', 'dbrx'])('%s: every text comes back', async (pre) => {
    const tokenizer = tokenizerOf(await textsOf({ ...byteLevel(pre), add_bos_token: flag(false) }))
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('he', ' he', '1234', '\r\n', "'LL", ' é'))),
        (parts) => {
          const written = pre === 'qwen2' ? parts.join('').normalize('NFC') : parts.join('')
          expect(tokenizer.decode(tokenizer.ids(parts.join('')))).toBe(written)
        },
      ),
    )
  })

  const pieces = async (pre: string, written: string) => {
    const tokenizer = tokenizerOf(await textsOf({ ...byteLevel(pre), add_bos_token: flag(false) }))
    return tokenizer.ids(written).map((id) => tokenizer.decode([id]))
  }
  it('cut digits as their models do', async () => {
    expect(await pieces('gpt-2', '12345 he')).toEqual(['1234', '5', ' he'])
    expect(await pieces('smollm', '12345 he')).toEqual(['1', '2', '3', '4', '5', ' he'])
    expect(await pieces('qwen2', '12345 he')).toEqual(['1', '2', '3', '4', '5', ' he'])
    expect(await pieces('llama-bpe', '12345 he')).toEqual(['123', '4', '5', ' he'])
  })

  it('keep special and added tokens whole, and put the first token where the file or its kind says so', async () => {
    const encode = async (values: Record<string, GgufValue>) => tokenizerOf(await textsOf(values)).encodeOne('he<tool><s>').ids
    const [he, tool] = [tokens.indexOf('he'), 2]
    expect(await encode(byteLevel('gpt-2'))).toEqual([he, tool, 0])
    expect(await encode(byteLevel('llama-bpe'))).toEqual([0, he, tool, 0])
    expect(await encode({ ...byteLevel('llama-bpe'), add_bos_token: flag(false), add_eos_token: flag(true) })).toEqual([he, tool, 0, 1])
    const found = await textsOf(byteLevel('gpt-2'))
    expect([...tokenizerOf(found).specialIds]).toEqual([0, 1])
  })

  it('name the ends of texts and the chat template', async () => {
    const template = '{{ messages[0].content }}{{ eos_token }}'
    const found = await textsOf({ ...byteLevel('smollm'), eot_token_id: u32(2), 'tokenizer.chat_template': text(template) })
    expect(found.ids).toEqual({ bos_token_id: 0, eos_token_id: [1, 2] })
    expect(documentOf(found, 'tokenizer_config.json')).toMatchObject({ bos_token: '<s>', eos_token: '</s>', chat_template: template })
    expect(tokenizerOf(found).chat([{ role: 'user', content: 'Hi' }])).toBe('Hi</s>')
    expect((await textsOf({ ...byteLevel('smollm'), bos_token_id: u32(2 ** 32 - 1) })).ids).toEqual({ eos_token_id: 1 })
  })

  it('are not there where the file has no vocabulary', async () => {
    expect(await textsOf({ model: text('no_vocab') })).toEqual({ documents: new Map(), ids: {} })
  })

  it('take a tokenizer.json that the file carries', async () => {
    const own = { version: '1.0', model: { type: 'BPE', vocab: { a: 0 }, merges: [] } }
    const found = await textsOf({ ...byteLevel('gpt-2'), 'tokenizer.huggingface.json': text(JSON.stringify(own)) })
    expect(documentOf(found, 'tokenizer.json')).toEqual(own)
  })

  it.each<[string, Record<string, GgufValue>, string, RegExp]>([
    ['an unknown pre-tokenizer', { pre: text('qwen3') }, 'unsupported', /pre-tokenizer "qwen3" is not known\. Did you mean "qwen2"/],
    ['no pre-tokenizer', { pre: text('') }, 'unsupported', /does not name its pre-tokenizer/],
    ['an unknown kind', { model: text('rwkv') }, 'unsupported', /of the kind "rwkv"/],
    ['an id beyond the tokens', { eos_token_id: u32(9999) }, 'bad-input', /eos_token_id is 9999, and there are \d+ tokens/],
    ['kinds for other tokens', { token_type: integers([1, 1]) }, 'bad-input', /token_type has 2 entries for \d+ tokens/],
    ['tokens that are numbers', { tokens: integers([1]) }, 'bad-input', /tokens must be a list of texts/],
    ['scores for other tokens', { model: text('llama'), scores: floats([1]) }, 'bad-input', /scores has 1 entries for \d+ tokens/],
  ])('refuse %s', async (_, values, code, expected) => {
    const error: TinsmithError = await textsOf({ ...byteLevel('gpt-2'), ...values }).then(
      () => null,
      (reason) => reason,
    )
    expect(error).toBeInstanceOf(TinsmithError)
    expect(error.code).toBe(code)
    expect(error.sentence).toMatch(expected)
  })
})

const stories = sharedPath('models', 'stories260K')
describe.skipIf(!stories)('SentencePiece-like tokenizers of GGUF files', () => {
  const definition = stories && JSON.parse(fs.readFileSync(path.join(stories, 'tokenizer.json'), 'utf8'))
  const config = stories && JSON.parse(fs.readFileSync(path.join(stories, 'tokenizer_config.json'), 'utf8'))

  /** What SentencePiece would say: the earlier its merges, the higher a piece's score. */
  function values(): Record<string, GgufValue> {
    const { vocab, merges: known } = definition.model as { vocab: Record<string, number>; merges: string[] }
    const ordered = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b])
    const score = (token: string) => -known.findIndex((merge) => merge.replace(' ', '') === token)
    const kind = (token: string, id: number) => (id === 0 ? 2 : id < 3 ? 3 : /^<0x..>$/.test(token) ? 6 : 1)
    return {
      model: text('llama'),
      tokens: texts(ordered),
      token_type: integers(ordered.map(kind)),
      scores: floats(ordered.map(score)),
      bos_token_id: u32(1),
      eos_token_id: u32(2),
      unknown_token_id: u32(0),
    }
  }

  it('become the tokenizer.json that the reference library makes of them', async () => {
    const made = documentOf(await textsOf(values()), 'tokenizer.json')
    for (const part of ['added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder'])
      expect(made[part]).toEqual(definition[part])
    expect(made['model']).toMatchObject({ vocab: definition.model.vocab, merges: definition.model.merges, byte_fallback: true })
  })

  it('give the same ids for any text', async () => {
    const [made, reference] = [tokenizerOf(await textsOf(values())), new Tokenizer(definition, config)]
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('Once upon a time', ' Lily ', '<s>'))), (parts) => {
        expect(made.encodeOne(parts.join('')).ids).toEqual(reference.encodeOne(parts.join('')).ids)
      }),
    )
  })

  it('do without the first space where the file says so', async () => {
    const tokenizer = tokenizerOf(await textsOf({ ...values(), add_space_prefix: flag(false) }))
    expect(tokenizer.tokenOf(tokenizer.ids('the')[0])?.startsWith('▁')).toBe(false)
    expect(tokenizer.decode(tokenizer.ids(' the'))).toBe(' the')
  })
})
