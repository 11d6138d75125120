import { badInput, throwIfAborted } from '../base/errors.js'
import { batches } from '../data/select.js'
import type { Output } from '../engine/session.js'
import { type Encoded, type Encoding, pad } from './encoding.js'
import { feedsOfEncoding, textFeeds } from './feeds.js'
import type { PipelineModel } from './pipeline-model.js'

export interface BatchRunOptions {
  /** Texts that run together. Default 32. */
  readonly batchSize?: number
  readonly signal?: AbortSignal
  /** Called with the number of texts done, after each batch. */
  readonly onBatch?: (texts: number) => void
}

/** A batch that has run. */
export interface BatchResult {
  /** Index of the text of each row. */
  readonly rows: readonly number[]
  readonly encoding: Encoding
  /** The asked output. */
  readonly output: Output
}

/**
 * Runs tokenized texts in batches of similar length, padded to the longest of each batch.
 *
 * @param output name of the output to compute
 */
export async function* runBatches(
  model: PipelineModel,
  encoded: readonly Encoded[],
  output: string,
  { batchSize = 32, signal, onBatch }: BatchRunOptions = {},
): AsyncGenerator<BatchResult> {
  const lengths = encoded.map((one) => one.ids.length)
  for (const rows of batches(lengths, batchSize)) {
    throwIfAborted(signal)
    const encoding = pad(
      rows.map((row) => encoded[row]),
      { padId: model.tokenizer.padId },
    )
    const results = await model.session.run(textFeeds(model.session, feedsOfEncoding(encoding)), { outputs: [output], signal })
    yield { rows, encoding, output: results[output] }
    results[output].dispose()
    onBatch?.(rows.length)
  }
}

/**
 * The first of the names that the graph has as output, with the rank asked for.
 *
 * @throws TinsmithError `bad-input` that names what the graph has instead
 */
export function outputNamed(model: PipelineModel, purpose: string, names: readonly string[], rank: number): string {
  const { outputs } = model.session
  const found = names.find((name) => outputs.some((port) => port.name === name && (port.shape.length === rank || !port.shape.length)))
  if (found) return found
  throw badInput(`the model cannot ${purpose}: it has no output ${names.join(' or ')} of rank ${rank}`, {
    where: model.name,
    hint: `It has ${outputs.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join(', ')}.`,
  })
}
