import { badInput, throwIfAborted } from '../base/errors.js'
import { Random } from '../base/random.js'
import type { Feeds, Output, Session, TokenSequence } from '../engine/session.js'
import { type NDArray, ndarray, numbersOf } from '../numbers/dtype.js'
import { outputNamed } from './batching.js'
import { cachePairs, oneElement, textFeeds } from './feeds.js'
import type { PipelineModel } from './pipeline-model.js'
import { indexOfLargest, isGreedy, nextToken, type SamplingOptions } from './sampling.js'
import { StopFilter } from './stop-filter.js'
import type { Message } from './tokenizer.js'

export interface GenerateIdsOptions extends SamplingOptions {
  /** Default 128. */
  readonly maxNewTokens?: number
  /** Ids that end the text; they are not given out. */
  readonly stopIds?: ReadonlySet<number>
  /** Seed of the draws. Default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

export interface GenerateOptions extends Omit<GenerateIdsOptions, 'stopIds'> {
  /** Texts that end generation; they and what follows are not given out. */
  readonly stop?: readonly string[]
  /** Called with each piece of text as it comes. */
  readonly onText?: (piece: string) => void
}

/** Tokens of the prompt that the decoder sees, so that the first new piece keeps its leading space. */
const decoderContext = 16

/**
 * The ids that follow a prompt, one by one. Where the engine has no sequences of its own, graphs with a key-value cache are fed one token a step
 * and their own `present` outputs; others the whole sequence.
 *
 * @param prompt at least one id
 */
export async function* generateIds(session: Session, prompt: readonly number[], options: GenerateIdsOptions = {}): AsyncGenerator<number> {
  const { maxNewTokens = 128, stopIds, seed = 0, signal } = options
  const random = new Random(seed, 'sampling')
  const sequence = session.tokenSequence?.() ?? new FedBackSequence(session)
  const ids = [...prompt]
  let fresh: readonly number[] = prompt
  try {
    for (let made = 0; made < maxNewTokens; made++) {
      throwIfAborted(signal)
      const id = isGreedy(options)
        ? await sequence.likeliest(fresh, signal)
        : nextToken(await sequence.logits(fresh, signal), ids, options, random)
      if (stopIds?.has(id)) return
      ids.push(id)
      fresh = [id]
      yield id
    }
  } finally {
    sequence.dispose()
  }
}

/** A sequence by runs of the graph: the engine's own outputs are fed back as they are. */
class FedBackSequence implements TokenSequence {
  readonly #session: Session
  /** Input by output. */
  readonly #pairs: ReadonlyMap<string, string>
  readonly #ids: number[] = []
  #past: Record<string, Output> = {}

  constructor(session: Session) {
    this.#session = session
    this.#pairs = cachePairs(session)
  }

  async likeliest(fresh: readonly number[], signal?: AbortSignal): Promise<number> {
    return indexOfLargest(await this.logits(fresh, signal))
  }

  async logits(fresh: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    const all = [...this.#ids, ...fresh]
    const text = { input_ids: row(this.#pairs.size ? fresh : all), attention_mask: row(all.map(() => 1)) }
    const feeds = textFeeds(this.#session, text, { ...this.#past, ...keepLastLogits(this.#session) })
    const results = await this.#session.run(feeds, { outputs: ['logits', ...this.#pairs.keys()], signal })
    const last = lastRow(results['logits'])
    results['logits'].dispose()
    this.dispose()
    this.#past = Object.fromEntries([...this.#pairs].map(([output, input]) => [input, results[output]]))
    this.#ids.push(...fresh)
    return last
  }

  dispose(): void {
    for (const output of Object.values(this.#past)) output.dispose()
    this.#past = {}
  }
}

function row(ids: readonly number[]): NDArray {
  return ndarray('int64', [1, ids.length], ids)
}

function keepLastLogits(session: Session): Feeds {
  const port = session.inputs.find(({ name }) => name === 'num_logits_to_keep')
  return port ? { num_logits_to_keep: ndarray(port.dtype, oneElement(port), [1]) } : {}
}

function lastRow(logits: NDArray): Float32Array {
  const vocabulary = logits.shape.at(-1)!
  return Float32Array.from(numbersOf(logits).subarray(-vocabulary))
}

/** The text that follows a prompt or conversation, without the prompt. */
export async function generate(model: PipelineModel, prompt: string | readonly Message[], options: GenerateOptions = {}): Promise<string> {
  const pieces: string[] = []
  for await (const piece of streamText(model, prompt, options)) pieces.push(piece)
  return pieces.join('')
}

/**
 * The text that follows a prompt or conversation, piece by piece; ends at the model's end tokens, a stop string,
 * `maxNewTokens` or the model's limit.
 *
 * @throws TinsmithError `bad-input` when the model does not generate text, has no chat template, or the prompt fills its limit
 */
export async function* streamText(
  model: PipelineModel,
  prompt: string | readonly Message[],
  options: GenerateOptions = {},
): AsyncGenerator<string> {
  outputNamed(model, 'generate', ['logits'], 3)
  const ids = promptIds(model, prompt)
  const { tokenizer } = model
  const room = tokenizer.maxLength - ids.length
  if (room <= 0)
    throw badInput(`the prompt has ${ids.length} tokens and the model reads at most ${tokenizer.maxLength}`, { where: model.name })
  const decoder = tokenizer.streamDecoder(ids.slice(-decoderContext))
  const filter = new StopFilter(options.stop ?? [])
  const give = function* (piece: string) {
    if (!piece) return
    options.onText?.(piece)
    yield piece
  }
  const idsOptions = { ...options, maxNewTokens: Math.min(options.maxNewTokens ?? 128, room), stopIds: stopIdsOf(model) }
  for await (const id of generateIds(model.session, ids, idsOptions)) {
    yield* give(filter.push(decoder.push(id)))
    if (filter.stopped) return
  }
  yield* give(filter.push(decoder.end()))
  yield* give(filter.end())
}

function promptIds(model: PipelineModel, prompt: string | readonly Message[]): number[] {
  const { tokenizer } = model
  const ids = typeof prompt === 'string' ? tokenizer.ids(prompt, { specialTokens: true }) : tokenizer.ids(tokenizer.chat(prompt))
  if (ids.length) return ids
  const start = model.generationConfig['bos_token_id'] ?? model.config['bos_token_id']
  if (typeof start === 'number') return [start]
  throw badInput('the prompt is empty and the model has no token that begins a text', {
    where: model.name,
    hint: 'Give at least one word.',
  })
}

/** The ids that end a text: by generation_config.json, else config.json, else the tokenizer. */
export function stopIdsOf({ generationConfig, config, tokenizer }: PipelineModel): Set<number> {
  const ids = [generationConfig['eos_token_id'] ?? config['eos_token_id'] ?? tokenizer.eosId].flat()
  return new Set(ids.filter((id) => typeof id === 'number'))
}
