import { badInput } from '../base/errors.js'
import type { Session } from '../engine/session.js'
import type { Config } from '../ir/index.js'
import type { BatchRunOptions } from './batching.js'
import { type Classification, classify, classifyLogits } from './classify.js'
import { embed } from './embed.js'
import { type GenerateOptions, generate, streamText } from './generate.js'
import type { Pooling } from './pooling.js'
import { type Entity, findEntities } from './token-classify.js'
import type { Message, TextOrPair, Tokenizer } from './tokenizer.js'

/** What a pipeline is made of. */
export interface PipelineParts {
  /** For messages. */
  readonly name: string
  readonly session: Session
  /** Null where the model has none: an error only when text comes. */
  readonly tokenizer: Tokenizer | null
  readonly config: Config
  readonly generationConfig: Config
  readonly pooling: Pooling
}

/** What a model's outputs are good for. */
export type PipelineKind = 'embed' | 'classify' | 'classify-tokens' | 'fill-mask' | 'generate'

/**
 * A loaded model that takes text.
 *
 * @example
 * const pipeline = await load('all-MiniLM-L6-v2')
 * const [vector] = await pipeline.embed(['A man is playing a flute.'])
 */
export class Pipeline implements PipelineParts {
  readonly name: string
  readonly session: Session
  readonly config: Config
  readonly generationConfig: Config
  readonly pooling: Pooling
  readonly #tokenizer: Tokenizer | null

  constructor(parts: PipelineParts) {
    this.name = parts.name
    this.session = parts.session
    this.config = parts.config
    this.generationConfig = parts.generationConfig
    this.pooling = parts.pooling
    this.#tokenizer = parts.tokenizer
  }

  /** @throws TinsmithError `bad-input` when the model has none */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer
    throw badInput('the model has no tokenizer.json, which texts need', {
      where: this.name,
      hint: "Copy tokenizer.json and tokenizer_config.json from the model's source.",
    })
  }

  /** What the model is for, by config.json's `architectures` and the graph's inputs and outputs. */
  get kind(): PipelineKind {
    const architecture = String([this.config['architectures'] ?? ''].flat()[0] ?? '')
    if (/SequenceClassification$/.test(architecture)) return 'classify'
    if (/TokenClassification$/.test(architecture)) return 'classify-tokens'
    if (/MaskedLM$/.test(architecture)) return 'fill-mask'
    const { inputs, outputs } = this.session
    const logits = outputs.find(({ name }) => name === 'logits')
    if (/(CausalLM|LMHeadModel)$/.test(architecture) || (logits && inputs.some(({ name }) => name.startsWith('past')))) return 'generate'
    return logits?.shape.length === 2 ? 'classify' : 'embed'
  }

  /** One vector a text, in the order of the texts. */
  embed(texts: readonly string[], options: BatchRunOptions = {}): Promise<Float32Array[]> {
    return embed(this, texts, options)
  }

  /** All labels with their scores for each text or pair, the best first. */
  classify(texts: readonly TextOrPair[], options: BatchRunOptions = {}): Promise<Classification[][]> {
    return classify(this, texts, options)
  }

  /** The raw scores of each text or pair, by label index. */
  classifyLogits(texts: readonly TextOrPair[], options: BatchRunOptions = {}): Promise<Float32Array[]> {
    return classifyLogits(this, texts, options)
  }

  /** Named entities (or other spans that labels B-, I- mark) of each text. */
  findEntities(texts: readonly string[], options: BatchRunOptions = {}): Promise<Entity[][]> {
    return findEntities(this, texts, options)
  }

  /** The text that follows a prompt or conversation. */
  generate(prompt: string | readonly Message[], options: GenerateOptions = {}): Promise<string> {
    return generate(this, prompt, options)
  }

  /** As `generate`, piece by piece as the pieces come. */
  stream(prompt: string | readonly Message[], options: GenerateOptions = {}): AsyncGenerator<string> {
    return streamText(this, prompt, options)
  }

  dispose(): Promise<void> {
    return this.session.dispose()
  }
}
