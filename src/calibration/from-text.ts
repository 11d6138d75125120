import { sha256 } from '#platform'
import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import type { Progress } from '../base/progress.js'
import { narrowness, readSamples, sampleEvenly, type TextSample } from '../data/index.js'
import type { Feeds } from '../engine/session.js'
import { evaluateDim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import { ndarray } from '../numbers/dtype.js'
import { type Encoded, type Encoding, pad, type TextOrPair, type Tokenizer } from '../pipelines/index.js'
import type { Calibration, CalibrationBatch } from './calibration.js'

export interface CalibrationOptions {
  /** Texts to take, evenly from the whole file. */
  readonly samples: number
  /** Longest text, in tokens. */
  readonly maxLength: number
  /** Tokens that run together. */
  readonly batchTokens: number
  readonly columns?: string
}

export const calibrationDefaults: CalibrationOptions = { samples: 256, maxLength: 128, batchTokens: 256 }

/** Share of texts with the same first word from which a warning is due. */
const narrowShare = 0.5

/**
 * Calibration from a file of texts (CSV, JSONL, lines). Texts of equal length run together, so nothing is padding.
 *
 * @throws TinsmithError `bad-input` when the file holds no texts
 */
export async function calibrationFromFile(
  source: ByteSource,
  tokenizer: Tokenizer,
  graph: Graph,
  progress: Progress,
  options = calibrationDefaults,
): Promise<Calibration> {
  const { samples } = await readSamples(source, { columns: options.columns })
  const chosen = sampleEvenly(textsOf(samples), options.samples)
  if (!chosen.length)
    throw badInput('the calibration file holds no texts', {
      where: source.name,
      hint: 'Give a file with one text a line, or a table with a column of texts.',
    })
  if (chosen.every((text) => isNumeric(text)))
    throw badInput('the calibration file holds numbers where texts are expected', {
      where: source.name,
      hint: 'Say which column holds the texts, for example --columns text=1.',
    })
  const texts = chosen.map((text) => (typeof text === 'string' ? text : text[0]))
  if (narrowness(texts) > narrowShare) progress.warn(`many calibration texts in ${source.name} begin alike; ranges may not fit other texts`)
  const encoded = chosen.map((text) => tokenizer.encodeOne(text, { maxLength: Math.min(options.maxLength, tokenizer.maxLength) }))
  return calibrationFromTokens(encoded, graph, tokenizer.padId, source.name, options)
}

/** Both texts of a pair, each for itself, unless the model reads pairs. */
function textsOf(samples: readonly TextSample[]): TextOrPair[] {
  return samples.flatMap((sample) => [...sample.texts])
}

function isNumeric(text: TextOrPair): boolean {
  return typeof text === 'string' && text.trim() !== '' && Number.isFinite(Number(text))
}

/** Calibration from token ids. */
export async function calibrationFromTokens(
  rows: readonly Encoded[],
  graph: Graph,
  padId: number,
  origin: string,
  { batchTokens }: Pick<CalibrationOptions, 'batchTokens'> = calibrationDefaults,
): Promise<Calibration> {
  const byLength = new Map<number, Encoded[]>()
  for (const row of rows) if (row.ids.length) byLength.set(row.ids.length, [...(byLength.get(row.ids.length) ?? []), row])
  const batches: CalibrationBatch[] = []
  for (const [length, group] of [...byLength].sort(([a], [b]) => b - a)) {
    const size = Math.max(1, Math.floor(batchTokens / length))
    for (let at = 0; at < group.length; at += size) batches.push(batchOf(pad(group.slice(at, at + size), { padId }), graph))
  }
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(rows.map((row) => row.ids))))
  return { batches, samples: rows.length, origin, hash }
}

function batchOf(encoding: Encoding, graph: Graph): CalibrationBatch {
  return { feeds: feedsFor(graph, encoding), special: Uint8Array.from(encoding.special_tokens_mask.data as BigInt64Array, Number) }
}

/** Feeds for every input of a graph from token ids: masks, types, positions, and an empty cache. */
function feedsFor(graph: Graph, { input_ids, attention_mask, token_type_ids }: Encoding): Feeds {
  const [batch, length] = input_ids.shape
  const symbols = new Map([
    ['batch_size', batch],
    ['sequence_length', length],
    ['past_sequence_length', 0],
  ])
  const known: Feeds = {
    input_ids,
    attention_mask,
    token_type_ids,
    position_ids: ndarray(
      'int64',
      [batch, length],
      Array.from({ length: batch * length }, (_, i) => i % length),
    ),
  }
  return Object.fromEntries(
    graph.inputs.map((input) => {
      const given = known[input.name]
      if (given) return [input.name, given]
      const shape = (input.shape ?? []).map((dim) => evaluateDim(dim, symbols))
      if (shape.some((dim) => dim === undefined) || !input.dtype)
        throw badInput(`calibration from text cannot feed the input ${input.name}`)
      return [input.name, ndarray(input.dtype, shape as number[], new Array(shape.reduce((size: number, dim) => size * dim!, 1)).fill(0))]
    }),
  )
}
