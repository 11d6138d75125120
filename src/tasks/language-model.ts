import { badInput, throwIfAborted, usage } from '../base/errors.js'
import { readWholeText, type TextSample } from '../data/index.js'
import type { Output } from '../engine/session.js'
import { ndarray, numbersOf } from '../numbers/dtype.js'
import { outputNamed, type Pipeline, textFeeds } from '../pipelines/index.js'
import { type EvaluateOptions, inStage, type Task } from './task.js'

/** Text prediction: how likely the model finds the tokens of a text. */
export const languageModel: Task<TextSample> = {
  name: 'language-model',
  summary: 'Prediction of text: perplexity over windows of a text file, and bits per byte',
  main: { metric: 'perplexity', better: 'lower' },
  async samples(source) {
    const text = await readWholeText(source)
    if (!text.trim()) throw badInput('the file holds no text', { where: source.name, hint: 'Expected: a text file.' })
    return { samples: [{ texts: [text] }], notes: [] }
  },
  async evaluate(pipeline, samples, options = {}) {
    const windows = tokenWindows(pipeline, samples, options)
    let nats = 0
    let bytes = 0
    await inStage(options.progress, 'score', windows.length, async (advance) => {
      for (const window of windows) {
        const logits = await windowLogits(pipeline, window, options.signal)
        nats += windowLoss(numbersOf(logits), window)
        logits.dispose()
        bytes += scoredBytes(pipeline, window)
        advance(1)
      }
    })
    const scored = windows.reduce((sum, window) => sum + window.length - 1, 0)
    return {
      samples: windows.length,
      metrics: { perplexity: Math.exp(nats / scored), loss: nats / scored, bitsPerByte: nats / Math.LN2 / bytes },
      baselines: {},
    }
  },
}

/**
 * The ids of the whole text, tokenized without special tokens and cut to the first `tokens`, in windows that do not
 * overlap. A shorter rest counts where there is no whole window; a window scores its tokens from the second on.
 *
 * @throws TinsmithError `usage` for windows longer than the model reads; `bad-input` for less than two tokens
 */
export function tokenWindows(pipeline: Pipeline, samples: readonly TextSample[], { tokens, window }: EvaluateOptions): number[][] {
  const { tokenizer } = pipeline
  const length = window ?? Math.min(512, tokenizer.maxLength)
  if (length > tokenizer.maxLength || length < 2)
    throw usage(`a window of ${length} tokens is not between 2 and the model's limit of ${tokenizer.maxLength}`, { hint: 'Set --window.' })
  const ids = tokenizer.ids(samples.flatMap(({ texts }) => texts).join('\n')).slice(0, tokens)
  if (ids.length < 2) throw badInput(`the text has ${ids.length} tokens and at least 2 are needed`, { where: pipeline.name })
  const count = Math.max(1, Math.floor(ids.length / length))
  return Array.from({ length: count }, (_, i) => ids.slice(i * length, (i + 1) * length))
}

/** The logits [1, length, vocabulary] of a window of ids; they are large, so dispose of them. */
export async function windowLogits(pipeline: Pipeline, ids: readonly number[], signal?: AbortSignal): Promise<Output> {
  throwIfAborted(signal)
  const output = outputNamed(pipeline, 'predict text', ['logits'], 3)
  const text = {
    input_ids: ndarray('int64', [1, ids.length], ids),
    attention_mask: ndarray(
      'int64',
      [1, ids.length],
      ids.map(() => 1),
    ),
  }
  return (await pipeline.session.run(textFeeds(pipeline.session, text), { outputs: [output], signal }))[output]
}

/**
 * Sum of -log p of the second and later ids, in nats.
 *
 * @param logits [length, vocabulary]
 */
export function windowLoss(logits: ArrayLike<number>, ids: readonly number[]): number {
  const vocabulary = logits.length / ids.length
  let loss = 0
  for (let at = 0; at + 1 < ids.length; at++) {
    const start = at * vocabulary
    loss += logSumExp(logits, start, start + vocabulary) - logits[start + ids[at + 1]]
  }
  return loss
}

function logSumExp(values: ArrayLike<number>, start: number, end: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (let i = start; i < end; i++) if (values[i] > most) most = values[i]
  let sum = 0
  for (let i = start; i < end; i++) sum += Math.exp(values[i] - most)
  return most + Math.log(sum)
}

/** UTF-8 bytes of the text of the second and later ids. */
function scoredBytes({ tokenizer }: Pipeline, ids: readonly number[]): number {
  const bytesOf = (part: readonly number[]) => new TextEncoder().encode(tokenizer.decode(part, { specialTokens: true })).length
  return bytesOf(ids) - bytesOf(ids.slice(0, 1))
}
