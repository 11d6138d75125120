import { badInput } from '../base/errors.js'
import type { ImageSource } from '../data/index.js'
import type { Session } from '../engine/session.js'
import type { Config } from '../ir/index.js'
import type { BatchRunOptions } from './batching.js'
import { type Classification, classify, classifyLogits } from './classify.js'
import { classifyImageLogits, classifyImages } from './classify-images.js'
import { embed } from './embed.js'
import { type GenerateOptions, generate, streamText } from './generate.js'
import { ImageProcessor } from './image-processor.js'
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
  /** The document of preprocessor_config.json. Default `{}`. */
  readonly imageSettings?: Config
}

/** What a model's outputs are good for. */
export type PipelineKind = 'embed' | 'classify' | 'classify-images' | 'classify-tokens' | 'fill-mask' | 'generate'

/**
 * A loaded model that takes text or images.
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
  readonly #imageSettings: Config
  #imageProcessor: ImageProcessor | undefined

  constructor(parts: PipelineParts) {
    this.name = parts.name
    this.session = parts.session
    this.config = parts.config
    this.generationConfig = parts.generationConfig
    this.pooling = parts.pooling
    this.#tokenizer = parts.tokenizer
    this.#imageSettings = parts.imageSettings ?? {}
  }

  /** @throws TinsmithError `bad-input` when the model has none */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer
    throw badInput('the model has no tokenizer.json, which texts need', {
      where: this.name,
      hint: "Copy tokenizer.json and tokenizer_config.json from the model's source.",
    })
  }

  /** @throws TinsmithError `bad-input` when the model reads no images of a fixed size, or preprocessor_config.json is wrong */
  get imageProcessor(): ImageProcessor {
    const [, channels, height, width] = this.session.inputs.find(({ name }) => name === 'pixel_values')?.shape ?? []
    if (typeof channels !== 'number' || typeof height !== 'number' || typeof width !== 'number')
      throw badInput('the model reads no images of a fixed size', { where: this.name })
    this.#imageProcessor ??= new ImageProcessor(this.#imageSettings, { channels, height, width })
    return this.#imageProcessor
  }

  /** What the model is for, by config.json's `architectures` and the graph's inputs and outputs. */
  get kind(): PipelineKind {
    const architecture = String([this.config['architectures'] ?? ''].flat()[0] ?? '')
    if (/ImageClassification$/.test(architecture)) return 'classify-images'
    if (/SequenceClassification$/.test(architecture)) return 'classify'
    if (/TokenClassification$/.test(architecture)) return 'classify-tokens'
    if (/MaskedLM$/.test(architecture)) return 'fill-mask'
    const { inputs, outputs } = this.session
    const logits = outputs.find(({ name }) => name === 'logits')
    if (/(CausalLM|LMHeadModel)$/.test(architecture) || (logits && inputs.some(({ name }) => name.startsWith('past')))) return 'generate'
    if (logits?.shape.length !== 2) return 'embed'
    return inputs.some(({ name }) => name === 'pixel_values') ? 'classify-images' : 'classify'
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

  /** All labels with their scores for each image (pixels, an open file or a path), the best first. */
  classifyImages(images: readonly ImageSource[], options: BatchRunOptions = {}): Promise<Classification[][]> {
    return classifyImages(this, images, options)
  }

  /** The raw scores of each image, by label index. */
  classifyImageLogits(images: readonly ImageSource[], options: BatchRunOptions = {}): Promise<Float32Array[]> {
    return classifyImageLogits(this, images, options)
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
