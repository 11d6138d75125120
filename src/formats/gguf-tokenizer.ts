import { badInput, unsupported } from '../base/errors.js'
import type { GgufMetadata } from './gguf-metadata.js'
import { byteLevelParts } from './gguf-pre-tokenizers.js'
import { isRecord, parseJson } from './json.js'

type Document = Readonly<Record<string, unknown>>

/** What a GGUF file knows about text, as the Hugging Face libraries keep it. */
export interface GgufTexts {
  /** By file name: `tokenizer.json`, `tokenizer_config.json`. */
  readonly documents: ReadonlyMap<string, Document>
  /** `bos_token_id`, `eos_token_id`, `pad_token_id`, as far as the file names them. */
  readonly ids: Readonly<Record<string, number | readonly number[]>>
}

/** Kinds of tokens by ggml's numbers. */
const [unknownToken, controlToken, userToken, unusedToken] = [2, 3, 4, 5]
const normalToken = 1

interface Vocabulary {
  readonly tokens: readonly string[]
  readonly kinds: ArrayLike<number>
}

/**
 * The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json: byte-level BPE with the pre-tokenizers that llama.cpp
 * knows by name, and the SentencePiece-like BPE with byte fallback of Llama 1 and 2.
 *
 * Sources: llama-vocab.cpp of llama.cpp; convert_slow_tokenizer.py of transformers (merges from the scores of SentencePiece)
 * Nothing where the file has no vocabulary.
 *
 * @throws TinsmithError `bad-input` when the vocabulary contradicts itself; `unsupported` for other kinds of tokenizers
 * @example
 * ggufTexts(new GgufMetadata(await readGguf(file))).documents.get('tokenizer.json')
 */
export function ggufTexts(metadata: GgufMetadata): GgufTexts {
  if (!metadata.has('tokenizer.ggml.tokens')) return { documents: new Map(), ids: {} }
  const vocabulary = vocabularyOf(metadata)
  const ids = idsOf(metadata, vocabulary)
  const definition = definitionOf(metadata, vocabulary)
  return {
    documents: new Map([
      ['tokenizer.json', definition],
      ['tokenizer_config.json', configOf(metadata, vocabulary)],
    ]),
    ids,
  }
}

function vocabularyOf(metadata: GgufMetadata): Vocabulary {
  const tokens = metadata.texts('tokenizer.ggml.tokens')
  const kinds = metadata.numbers('tokenizer.ggml.token_type')
  if (kinds.length && kinds.length !== tokens.length)
    throw badInput(`tokenizer.ggml.token_type has ${kinds.length} entries for ${tokens.length} tokens`, { where: metadata.where })
  return { tokens, kinds: kinds.length ? kinds : new Uint8Array(tokens.length).fill(normalToken) }
}

/** The number under a key, checked against the vocabulary. */
function tokenId(metadata: GgufMetadata, { tokens }: Vocabulary, name: string): number | undefined {
  const key = `tokenizer.ggml.${name}_token_id`
  if (!metadata.has(key)) return undefined
  const id = metadata.number(key)
  // An id of 2^32 - 1 is how some converters write that there is no such token.
  if (id === 0xffffffff || id === -1) return undefined
  if (tokens[id] === undefined) throw badInput(`${key} is ${id}, and there are ${tokens.length} tokens`, { where: metadata.where })
  return id
}

function idsOf(metadata: GgufMetadata, vocabulary: Vocabulary): GgufTexts['ids'] {
  const id = (name: string) => tokenId(metadata, vocabulary, name)
  const ends = [...new Set([id('eos'), id('eot'), id('eom')].filter((end) => end !== undefined))]
  const known = { bos_token_id: id('bos'), eos_token_id: ends.length > 1 ? ends : ends[0], pad_token_id: id('padding') }
  return Object.fromEntries(Object.entries(known).filter((entry): entry is [string, number | number[]] => entry[1] !== undefined))
}

function configOf(metadata: GgufMetadata, vocabulary: Vocabulary): Document {
  const named = [
    ['bos', 'bos_token'],
    ['eos', 'eos_token'],
    ['unknown', 'unk_token'],
    ['padding', 'pad_token'],
    ['mask', 'mask_token'],
  ].flatMap(([name, token]) => {
    const id = tokenId(metadata, vocabulary, name)
    return id === undefined ? [] : [[token, vocabulary.tokens[id]]]
  })
  const limit = `${metadata.text('general.architecture', '')}.context_length`
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(metadata.has(limit) ? { model_max_length: metadata.size(limit) } : {}),
    ...Object.fromEntries(named),
    clean_up_tokenization_spaces: false,
    ...(metadata.has('tokenizer.chat_template') ? { chat_template: metadata.text('tokenizer.chat_template') } : {}),
  }
}

function definitionOf(metadata: GgufMetadata, vocabulary: Vocabulary): Document {
  if (metadata.has('tokenizer.huggingface.json')) {
    const document = parseJson(metadata.text('tokenizer.huggingface.json'), metadata.where)
    if (isRecord(document)) return document
  }
  const kind = metadata.text('tokenizer.ggml.model')
  const parts = kind === 'gpt2' ? byteLevel(metadata, vocabulary) : kind === 'llama' ? sentencePiece(metadata, vocabulary) : null
  if (!parts) throw unsupported(`the tokenizer is of the kind "${kind}", which Tinsmith does not read`, { where: metadata.where })
  return { version: '1.0', truncation: null, padding: null, added_tokens: addedTokens(vocabulary), ...parts }
}

function addedTokens({ tokens, kinds }: Vocabulary): Document[] {
  const added: Document[] = []
  tokens.forEach((content, id) => {
    const special = kinds[id] === controlToken || kinds[id] === unknownToken
    if (special || kinds[id] === userToken)
      added.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special })
  })
  return added
}

/** Ids by token, without the entries that fill up the embedding's table. */
function idsByToken({ tokens, kinds }: Vocabulary): Map<string, number> {
  const ids = new Map<string, number>()
  tokens.forEach((token, id) => {
    const filler = kinds[id] === unusedToken && /^\[PAD\d+\]$/.test(token)
    if (!filler && !ids.has(token)) ids.set(token, id)
  })
  return ids
}

function byteLevel(metadata: GgufMetadata, vocabulary: Vocabulary): Document {
  const name = metadata.text('tokenizer.ggml.pre', '')
  const { normalizer, preTokenizer, ignoreMerges, addsBos } = byteLevelParts(name, metadata.where)
  return {
    normalizer,
    pre_tokenizer: preTokenizer,
    post_processor: postProcessor(metadata, vocabulary, addsBos),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...bpe,
      ignore_merges: ignoreMerges,
      vocab: Object.fromEntries(idsByToken(vocabulary)),
      merges: metadata.texts('tokenizer.ggml.merges'),
    },
  }
}

const bpe = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
}

function sentencePiece(metadata: GgufMetadata, vocabulary: Vocabulary): Document {
  const prefix = metadata.flag('tokenizer.ggml.add_space_prefix', true)
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const unknown = vocabulary.tokens[tokenId(metadata, vocabulary, 'unknown') ?? 0]
  const ids = idsByToken(vocabulary)
  return {
    normalizer: { type: 'Sequence', normalizers: [...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []), spaces] },
    pre_tokenizer: null,
    post_processor: postProcessor(metadata, vocabulary, true),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpe,
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges: mergesFromScores(metadata, vocabulary, ids),
    },
  }
}

/** SentencePiece joins the neighbours whose union has the highest score: every way to part a piece in two is a merge, best scores first. */
function mergesFromScores(metadata: GgufMetadata, { tokens, kinds }: Vocabulary, ids: ReadonlyMap<string, number>): string[] {
  const scores = metadata.numbers('tokenizer.ggml.scores')
  if (scores.length !== tokens.length)
    throw badInput(`tokenizer.ggml.scores has ${scores.length} entries for ${tokens.length} tokens`, { where: metadata.where })
  const mergeable = (id: number | undefined): id is number => id !== undefined && kinds[id] === normalToken
  const merges: { text: string; score: number; ids: readonly [number, number] }[] = []
  tokens.forEach((token, id) => {
    if (!mergeable(id) || ids.get(token) !== id) return
    const characters = [...token]
    for (let at = 1; at < characters.length; at++) {
      const [left, right] = [characters.slice(0, at).join(''), characters.slice(at).join('')]
      const [first, second] = [ids.get(left), ids.get(right)]
      if (mergeable(first) && mergeable(second)) merges.push({ text: `${left} ${right}`, score: scores[id], ids: [first, second] })
    }
  })
  merges.sort((a, b) => b.score - a.score || a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1])
  return merges.map((merge) => merge.text)
}

/** Which of the model's tokens stand around a text. */
function postProcessor(metadata: GgufMetadata, vocabulary: Vocabulary, addsBos: boolean): Document | null {
  const token = (name: string, by: boolean) =>
    metadata.flag(`tokenizer.ggml.add_${name}_token`, by) ? tokenId(metadata, vocabulary, name) : undefined
  const [first, last] = [token('bos', addsBos), token('eos', false)]
  if (first === undefined && last === undefined) return null
  const special = (id: number | undefined, type: number) =>
    id === undefined ? [] : [{ SpecialToken: { id: vocabulary.tokens[id], type_id: type } }]
  const around = (id: string, type: number) => [...special(first, type), { Sequence: { id, type_id: type } }, ...special(last, type)]
  const tokens = [first, last].filter((id) => id !== undefined)
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      tokens.map((id) => [vocabulary.tokens[id], { id: vocabulary.tokens[id], ids: [id], tokens: [vocabulary.tokens[id]] }]),
    ),
  }
}
