import { badInput, usage } from '../../base/errors.js'
import type { TextSample } from '../../data/index.js'
import type { Feeds, Port } from '../../engine/session.js'
import type { Graph } from '../../ir/graph.js'
import type { Config } from '../../ir/model.js'
import { type NDArray, ndarray } from '../../numbers/dtype.js'
import { type Encoded, feedsOfEncoding, pad, type TextOrPair, type Tokenizer, textFeeds } from '../../pipelines/index.js'

/** What an objective on texts needs to know of its model. */
export interface TextModel {
  readonly tokenizer: Tokenizer
  /** The model's graph: its inputs are what batches feed. */
  readonly graph: Graph
  /** The document of config.json; null where the model has none. */
  readonly config: Config | null
  /** Most tokens of a sample, special tokens included; longer ones are cut. Default: the model's limit. */
  readonly maxLength?: number
}

/** A stretch of a long text as token ids, special tokens not included. */
export interface TokenWindow {
  readonly ids: readonly number[]
}

/** Tokens of samples that are kept, so that later epochs need not tokenize them again. */
const keptTokens = 2 ** 22

/** Turns samples of text into the feeds of a graph. */
export class TextInputs {
  readonly tokenizer: Tokenizer
  readonly maxLength: number
  readonly #ports: readonly Port[]
  readonly #together = new WeakMap<TextSample, readonly Encoded[]>()
  readonly #apart = new WeakMap<TextSample, readonly Encoded[]>()
  #kept = 0

  /** @throws TinsmithError `usage` for a length that the model does not read */
  constructor({ tokenizer, graph, config, maxLength }: TextModel) {
    this.tokenizer = tokenizer
    this.maxLength = lengthWithin(Math.min(tokenizer.maxLength, positionsOf(config)), maxLength)
    this.#ports = portsOf(graph)
  }

  /** A text, a pair that the model reads together, or a window, with special tokens around it. */
  together(sample: TextSample | TokenWindow): Encoded {
    if ('ids' in sample) return this.tokenizer.wrap(sample.ids, { maxLength: this.maxLength })
    return this.#remembered(this.#together, sample, () => [this.encode(textOrPair(sample))])[0]
  }

  /** The two texts of a sample, each for itself. */
  apart(sample: TextSample): readonly Encoded[] {
    return this.#remembered(this.#apart, sample, () => sample.texts.map((text) => this.encode(text)))
  }

  /** @throws TinsmithError `bad-input` for a text without any token */
  encode(text: TextOrPair): Encoded {
    const encoded = this.tokenizer.encodeOne(text, { maxLength: this.maxLength })
    if (encoded.ids.length) return encoded
    throw badInput(`the text "${String(text).slice(0, 40)}" has no tokens`, { hint: 'Leave empty texts out of the training data.' })
  }

  #remembered(memory: WeakMap<TextSample, readonly Encoded[]>, sample: TextSample, encode: () => readonly Encoded[]): readonly Encoded[] {
    const known = memory.get(sample)
    if (known) return known
    const encoded = encode()
    this.#kept += encoded.reduce((sum, { ids }) => sum + ids.length, 0)
    if (this.#kept <= keptTokens) memory.set(sample, encoded)
    return encoded
  }

  /** All inputs of the graph, padded on the right; also the mask and the token types where the graph has no such input. */
  feeds(rows: readonly Encoded[]): Feeds {
    const text = feedsOfEncoding(pad(rows, { padId: this.tokenizer.padId, side: 'right' }))
    return { ...text, ...textFeeds({ inputs: this.#ports }, text) }
  }
}

/** The inputs of a graph, as a session of it would name them. */
export function portsOf(graph: Graph): Port[] {
  return graph.inputs.map(({ name, dtype, shape }) => {
    if (!dtype || !shape) throw badInput(`the input ${name} of the graph has no known dtype and shape`)
    return { name, dtype, shape }
  })
}

/**
 * An int64 array [rows, tokens] of labels from those of each row; what is left of a row has `filler`.
 *
 * @param tokens of the longest row
 */
export function paddedLabels(rows: readonly (readonly number[])[], tokens: number, filler: number): NDArray {
  const data = rows.flatMap((row) => [...row, ...new Array<number>(tokens - row.length).fill(filler)])
  return ndarray('int64', [rows.length, tokens], data)
}

function textOrPair({ texts: [first, second] }: TextSample): TextOrPair {
  return second === undefined ? first : [first, second]
}

function lengthWithin(limit: number, wanted = limit): number {
  if (wanted > limit || wanted < 1 || (Number.isFinite(wanted) && !Number.isInteger(wanted)))
    throw usage(`a length of ${wanted} tokens is not between 1 and the model's limit of ${limit}`, { hint: 'Set maxLength.' })
  return wanted
}

function positionsOf(config: Config | null): number {
  return Number(config?.['max_position_embeddings'] ?? config?.['n_positions'] ?? Number.POSITIVE_INFINITY)
}
