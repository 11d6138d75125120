import type { Config } from '../ir/index.js'
import { type BatchRunOptions, outputNamed, runBatches } from './batching.js'
import { rowsOf } from './embed.js'
import type { PipelineModel } from './pipeline-model.js'
import type { TextOrPair } from './tokenizer.js'

/** A label and how sure the model is of it. */
export interface Classification {
  readonly label: string
  readonly score: number
}

/** The raw scores [labels] of each text or pair, in the order of the texts. */
export async function classifyLogits(
  model: PipelineModel,
  texts: readonly TextOrPair[],
  options: BatchRunOptions = {},
): Promise<Float32Array[]> {
  const output = outputNamed(model, 'classify', ['logits'], 2)
  const encoded = texts.map((text) => model.tokenizer.encodeOne(text))
  const logits = new Array<Float32Array>(texts.length)
  for await (const { rows, output: result } of runBatches(model, encoded, output, options)) {
    const scores = rowsOf(result)
    rows.forEach((text, row) => {
      logits[text] = scores[row]
    })
  }
  return logits
}

/**
 * All labels with their scores for each text or pair, the best first: softmax, or sigmoid of each label where
 * config.json's `problem_type` is `multi_label_classification` or there is one label (as it is for `regression`).
 */
export async function classify(
  model: PipelineModel,
  texts: readonly TextOrPair[],
  options: BatchRunOptions = {},
): Promise<Classification[][]> {
  return (await classifyLogits(model, texts, options)).map((row) => classificationsOf(row, model.config))
}

/** All labels with their scores, the best first, from raw scores [labels]. */
export function classificationsOf(logits: Float32Array, config: Config): Classification[] {
  const scores = [...scoresOf(logits, config)].map((score, index) => ({ label: labelName(config, index), score }))
  return scores.sort((a, b) => b.score - a.score)
}

function scoresOf(logits: Float32Array, config: Config): Float64Array {
  if (config['problem_type'] === 'regression') return Float64Array.from(logits)
  if (config['problem_type'] === 'multi_label_classification' || logits.length === 1)
    return Float64Array.from(logits, (x) => 1 / (1 + Math.exp(-x)))
  return softmax(logits)
}

/** Softmax in float64. */
export function softmax(logits: ArrayLike<number>): Float64Array {
  let most = Number.NEGATIVE_INFINITY
  for (let i = 0; i < logits.length; i++) most = Math.max(most, logits[i])
  const powers = Float64Array.from(logits, (x) => Math.exp(x - most))
  const sum = powers.reduce((total, power) => total + power, 0)
  return powers.map((power) => power / sum)
}

/** The index of the largest element, the first of equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

/** The name of a label by config.json's `id2label`, else `LABEL_n`. */
export function labelName(config: Config, index: number): string {
  const names = config['id2label'] as Readonly<Record<string, unknown>> | undefined
  return String(names?.[String(index)] ?? `LABEL_${index}`)
}
