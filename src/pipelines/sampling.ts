import type { Random } from '../base/random.js'
import { argmax, softmax } from './classify.js'

/** How the next token is drawn. Without `temperature`, `topK`, `topP` and `minP` the likeliest is taken (greedy). */
export interface SamplingOptions {
  /** Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy. Default 1 when another option samples. */
  readonly temperature?: number
  /** Draw among this many likeliest tokens. */
  readonly topK?: number
  /** Draw among the fewest likeliest tokens whose probabilities reach this sum (nucleus sampling, Holtzman et al., 2020). */
  readonly topP?: number
  /** Draw among tokens at least this many times as likely as the likeliest (Nguyen et al., 2024). */
  readonly minP?: number
  /** Divides positive logits of tokens that occurred and multiplies negative ones (Keskar et al., 2019). 1: off. */
  readonly repetitionPenalty?: number
}

/**
 * The next token, by the options in the order of the Hugging Face library: repetition penalty, temperature, top k,
 * top p, minimal p.
 *
 * @param logits [vocabulary], left as they are
 * @param seen ids of the prompt and of what was generated
 * @example
 * nextToken(Float32Array.of(0, 2, 1), [], {}, new Random(0)) // 1
 */
export function nextToken(logits: Float32Array, seen: Iterable<number>, options: SamplingOptions, random: Random): number {
  const scores = penalized(logits, seen, options.repetitionPenalty ?? 1)
  const { topK, topP, minP } = options
  const temperature = options.temperature ?? ((topK ?? topP ?? minP) ? 1 : 0)
  if (temperature === 0 || topK === 1) return argmax(scores)
  const probabilities = softmax(scores.map((score) => score / temperature))
  if (!topK && topP === undefined && !minP) return draw(probabilities, 0, Number.POSITIVE_INFINITY, 1, random)
  const sorted = Float64Array.from(probabilities).sort().reverse()
  const count = keptCount(sorted, options)
  const cutoff = sorted[count - 1]
  const above = sorted.indexOf(cutoff)
  const sum = sorted.subarray(0, count).reduce((total, probability) => total + probability, 0)
  return draw(probabilities, cutoff, count - above, sum, random)
}

function penalized(logits: Float32Array, seen: Iterable<number>, penalty: number): Float64Array {
  const scores = Float64Array.from(logits)
  if (penalty === 1) return scores
  for (const id of new Set(seen)) scores[id] = scores[id] > 0 ? scores[id] / penalty : scores[id] * penalty
  return scores
}

/** How many of the sorted probabilities stay. */
function keptCount(sorted: Float64Array, { topK, topP, minP }: SamplingOptions): number {
  let count = Math.min(topK || sorted.length, sorted.length)
  if (topP !== undefined && topP < 1) {
    const target = topP * sorted.subarray(0, count).reduce((sum, probability) => sum + probability, 0)
    let sum = sorted[0]
    let nucleus = 1
    while (nucleus < count && sum < target) sum += sorted[nucleus++]
    count = nucleus
  }
  if (minP) while (count > 1 && sorted[count - 1] < minP * sorted[0]) count--
  return count
}

/** Draws among the ids above the cutoff and the first `ties` at it; `sum` is the sum of their probabilities. */
function draw(probabilities: Float64Array, cutoff: number, ties: number, sum: number, random: Random): number {
  let left = random.uniform() * sum
  let last = 0
  for (let id = 0; id < probabilities.length; id++) {
    const probability = probabilities[id]
    if (probability < cutoff || probability === 0 || (probability === cutoff && ties-- <= 0)) continue
    last = id
    left -= probability
    if (left < 0) return id
  }
  return last
}
