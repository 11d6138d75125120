import { Template } from '@huggingface/jinja'
import { type Folder, readJson, readText } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { type Encoded, type Encoding, type PaddingSide, pad } from './encoding.js'
import { StreamDecoder } from './stream-decoder.js'
import { parseDefinition } from './token-table.js'
import { createTokenizer, type LibraryTokenizer } from './tokenizer-library.js'

/** A text, or two that the model reads together. */
export type TextOrPair = string | readonly [string, string]

/** One turn of a conversation. */
export interface Message {
  readonly role: string
  readonly content: string
}

export interface EncodeOptions {
  /** Most tokens of a text, special tokens included; longer texts are cut. Default: the model's limit. */
  readonly maxLength?: number
  /** Put the model's special tokens around texts. Default true. */
  readonly specialTokens?: boolean
}

export interface BatchOptions extends EncodeOptions {
  /** `longest`: to the longest text of the batch; a number: to that length. Default `longest`. */
  readonly padding?: 'longest' | number
  /** Default as tokenizer_config.json says, else `right`. */
  readonly side?: PaddingSide
}

export interface TokenizerLimits {
  /** Most tokens that the model reads. Default: no limit. */
  readonly maxLength?: number
  /** Jinja; default tokenizer_config.json's. */
  readonly chatTemplate?: string
}

/** A special token, or the place of a text. */
type Slot = { readonly id: number; readonly type: number } | { readonly text: number; readonly type: number }

const placeholders = ['\uE000first', '\uE000second']

type Settings = Readonly<Record<string, unknown>>

/**
 * Text to token ids and back, as the model's tokenizer.json says.
 *
 * @example
 * const { tokenizer } = await load('all-MiniLM-L6-v2')
 * tokenizer.encode(['one text', 'and another']).input_ids.shape // [2, 4]
 */
export class Tokenizer {
  readonly maxLength: number
  readonly side: PaddingSide
  readonly padId: number
  readonly eosId: number | undefined
  readonly specialIds: ReadonlySet<number>
  readonly #library: LibraryTokenizer
  readonly #config: Settings
  readonly #templateText: string | undefined
  #template: Template | undefined

  /**
   * @param definition the document of tokenizer.json
   * @param config the document of tokenizer_config.json, `{}` where there is none
   * @throws TinsmithError `bad-input` when the definition cannot be used
   */
  constructor(definition: object, config: Settings = {}, limits: TokenizerLimits = {}) {
    try {
      this.#library = createTokenizer(definition, config)
    } catch (error) {
      throw badInput(`the tokenizer cannot be used (${(error as Error).message})`, { where: 'tokenizer.json', cause: error })
    }
    this.#config = config
    this.maxLength = limits.maxLength ?? Number.POSITIVE_INFINITY
    this.#templateText = limits.chatTemplate ?? defaultTemplate(config['chat_template'])
    this.side = config['padding_side'] === 'left' ? 'left' : 'right'
    this.specialIds = new Set([...this.#library.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id))
    this.eosId = this.#idOf('eos_token')
    this.padId = this.#idOf('pad_token') ?? this.eosId ?? 0
  }

  /** Number of entries of the vocabulary, added tokens included. */
  get vocabularySize(): number {
    return this.#library.get_vocab().size
  }

  /** The id of a token, where there is such a token. */
  idOf(token: string): number | undefined {
    return this.#library.token_to_id(token)
  }

  /** The token of an id, where there is one. */
  tokenOf(id: number): string | undefined {
    return this.#library.id_to_token(id)
  }

  /** Whether the model has a chat template. */
  get canChat(): boolean {
    return this.#templateText !== undefined
  }

  /** One text or pair, cut to the limit: of pairs the longer text loses its last tokens first, special tokens stay. */
  encodeOne(text: TextOrPair, options: EncodeOptions = {}): Encoded {
    const texts = typeof text === 'string' ? [text] : text
    return this.#surround(
      texts.map((part) => this.#library.tokenize(part).map((token) => this.#tokenId(token))),
      options,
    )
  }

  /** Ids of a text with the model's special tokens around them, cut to the limit. */
  wrap(ids: readonly number[], options: EncodeOptions = {}): Encoded {
    return this.#surround([ids], options)
  }

  /** A padded batch of texts. */
  encode(texts: readonly TextOrPair[], { padding = 'longest', side = this.side, ...options }: BatchOptions = {}): Encoding {
    const rows = texts.map((text) => this.encodeOne(text, options))
    return pad(rows, { padId: this.padId, side, length: padding === 'longest' ? undefined : padding })
  }

  /** The ids of a text without limit; `specialTokens` (default false) puts the model's own around it. */
  ids(text: string, { specialTokens = false }: { specialTokens?: boolean } = {}): number[] {
    return [...this.encodeOne(text, { specialTokens, maxLength: Number.POSITIVE_INFINITY }).ids]
  }

  /** The text of ids; special tokens are left out unless `specialTokens` is true. */
  decode(ids: readonly number[], { specialTokens = false }: { specialTokens?: boolean } = {}): string {
    return ids.length ? this.#library.decode([...ids], { skip_special_tokens: !specialTokens }) : ''
  }

  /** A decoder that takes the ids that follow `context` one by one and gives the text as soon as its characters are whole. */
  streamDecoder(context: readonly number[] = []): StreamDecoder {
    return new StreamDecoder((ids) => this.decode(ids), context)
  }

  /**
   * The text that a conversation becomes, special tokens included as text: tokenize it without adding others.
   *
   * @throws TinsmithError `bad-input` when the model has no chat template or the template refuses the messages
   */
  chat(messages: readonly Message[], { generationPrompt = true }: { generationPrompt?: boolean } = {}): string {
    if (this.#templateText === undefined)
      throw badInput('the model has no chat template', { where: 'tokenizer_config.json', hint: 'Give a text instead of messages.' })
    try {
      this.#template ??= new Template(this.#templateText)
      const tokens = ['bos_token', 'eos_token', 'pad_token', 'unk_token', 'sep_token', 'cls_token', 'mask_token']
      const names = Object.fromEntries(
        tokens.flatMap((name) => (this.#tokenText(name) === undefined ? [] : [[name, this.#tokenText(name)]])),
      )
      return this.#template.render({ messages, add_generation_prompt: generationPrompt, tools: null, documents: null, ...names })
    } catch (error) {
      throw badInput(`the chat template refuses the messages (${(error as Error).message})`, { where: 'chat template', cause: error })
    }
  }

  #surround(texts: readonly (readonly number[])[], { maxLength = this.maxLength, specialTokens = true }: EncodeOptions): Encoded {
    const layout = this.#layout(texts.length, specialTokens)
    const around = layout.filter((slot) => 'id' in slot).length
    const cut = cutLengths(texts[0].length, texts[1]?.length ?? 0, Math.max(0, maxLength - around))
    const tokens = layout.flatMap((slot) => {
      if ('id' in slot) return [{ id: slot.id, type: slot.type, special: 1 }]
      return texts[slot.text].slice(0, cut[slot.text]).map((id) => ({ id, type: slot.type, special: 0 }))
    })
    return { ids: tokens.map(({ id }) => id), types: tokens.map(({ type }) => type), special: tokens.map(({ special }) => special) }
  }

  /** Where special tokens stand around the texts: learnt from two placeholders. */
  #layout(texts: number, specialTokens: boolean): Slot[] {
    const processor = this.#library.post_processor
    if (!processor || !specialTokens) return placeholders.slice(0, texts).map((_, text) => ({ text, type: 0 }))
    const [first, second] = placeholders
    const { tokens, token_type_ids: types } = processor([first], texts > 1 ? [second] : null, true)
    return tokens.map((token, i) => {
      const text = placeholders.indexOf(token)
      return text < 0 ? { id: this.#tokenId(token), type: types?.[i] ?? 0 } : { text, type: types?.[i] ?? 0 }
    })
  }

  #tokenId(token: string): number {
    return this.#library.token_to_id(token) ?? this.#library.model?.unk_token_id ?? 0
  }

  #tokenText(name: string): string | undefined {
    const token = this.#config[name]
    const text = token && typeof token === 'object' ? (token as { content?: unknown }).content : token
    return typeof text === 'string' ? text : undefined
  }

  #idOf(name: string): number | undefined {
    const text = this.#tokenText(name)
    return text === undefined ? undefined : this.#library.token_to_id(text)
  }
}

/**
 * The tokenizer of a model's folder: tokenizer.json with tokenizer_config.json, cut to the least limit that
 * sentence_bert_config.json, tokenizer_config.json and config.json name.
 *
 * @throws TinsmithError `bad-input` when there is no tokenizer.json or it cannot be used
 */
export async function openTokenizer(folder: Folder): Promise<Tokenizer> {
  if (!(await folder.has('tokenizer.json')))
    throw badInput('the model has no tokenizer.json, which texts need', {
      where: folder.name,
      hint: "Copy tokenizer.json and tokenizer_config.json from the model's source.",
    })
  const definition = await readObject(folder, 'tokenizer.json', parseDefinition)
  const config = await readObject(folder, 'tokenizer_config.json')
  const sentences = await readObject(folder, 'sentence_bert_config.json')
  const limits = [sentences['max_seq_length'], config['model_max_length'], positionsOf(await readObject(folder, 'config.json'))]
  const chatTemplate = (await folder.has('chat_template.jinja')) ? await readText(folder, 'chat_template.jinja') : undefined
  const known = limits.filter((limit): limit is number => typeof limit === 'number' && limit > 0)
  return new Tokenizer(definition, config, { maxLength: Math.min(Number.POSITIVE_INFINITY, ...known), chatTemplate })
}

/** The object of a JSON file, `{}` where the file is absent. */
export async function readObject(folder: Folder, path: string, parse?: (text: string) => unknown): Promise<Settings> {
  if (!(await folder.has(path))) return {}
  const document = await readJson(folder, path, parse)
  if (document === null || typeof document !== 'object' || Array.isArray(document))
    throw badInput('this is no JSON object', { where: `${folder.name}/${path}` })
  return document as Settings
}

/** Families whose positions begin after the padding token's id, so that two entries of the table are never used. */
const shiftedPositions: ReadonlySet<unknown> = new Set(['roberta', 'xlm-roberta', 'camembert', 'mpnet', 'longformer'])

function positionsOf(config: Settings): number | undefined {
  const positions = config['max_position_embeddings'] ?? config['n_positions']
  if (typeof positions !== 'number') return undefined
  return shiftedPositions.has(config['model_type']) ? positions - 2 : positions
}

/** How many tokens of each text fit into `room` when the longer one loses tokens first. */
function cutLengths(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second]
  const half = Math.floor(room / 2)
  if (second <= half) return [Math.min(first, room - second), second]
  if (first <= room - half) return [first, Math.min(second, room - first)]
  return [room - half, half]
}

function defaultTemplate(template: unknown): string | undefined {
  if (typeof template === 'string') return template
  if (!Array.isArray(template)) return undefined
  const named = template as { name?: unknown; template?: unknown }[]
  const found = named.find(({ name }) => name === 'default') ?? named[0]
  return typeof found?.template === 'string' ? found.template : undefined
}
