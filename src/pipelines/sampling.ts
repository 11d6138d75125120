import type { Random } from '../base/random.js'

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
  const likeliest = indexOfLargest(scores)
  if (takesLikeliest(options)) return likeliest
  const weights = weightsOf(scores, scores[likeliest], temperatureOf(options))
  const candidates = candidatesOf(weights, options)
  if (!candidates) return draw(weights, 0, Number.POSITIVE_INFINITY, sumOf(weights), random)
  const count = keptCount(candidates, sumOf(options.topK ? candidates : weights), options)
  const cutoff = candidates[count - 1]
  return draw(weights, cutoff, count - candidates.indexOf(cutoff), sumOf(candidates.subarray(0, count)), random)
}

/** Whether the next token is the one with the highest logit, whatever was seen. */
export function isGreedy(options: SamplingOptions): boolean {
  return takesLikeliest(options) && (options.repetitionPenalty ?? 1) === 1
}

function takesLikeliest(options: SamplingOptions): boolean {
  return temperatureOf(options) === 0 || options.topK === 1
}

function temperatureOf({ temperature, topK, topP, minP }: SamplingOptions): number {
  return temperature ?? ((topK ?? topP ?? minP) ? 1 : 0)
}

function penalized(logits: Float32Array, seen: Iterable<number>, penalty: number): Float32Array {
  if (penalty === 1) return logits
  const scores = logits.slice()
  for (const id of new Set(seen)) scores[id] = scores[id] > 0 ? scores[id] / penalty : scores[id] * penalty
  return scores
}

/** The index of the largest number, the first of equals. */
export function indexOfLargest(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

/** Probabilities, but for a factor: 1 for the highest score. */
function weightsOf(scores: Float32Array, highest: number, temperature: number): Float64Array {
  const weights = new Float64Array(scores.length)
  for (let i = 0; i < scores.length; i++) weights[i] = Math.exp((scores[i] - highest) / temperature)
  return weights
}

function sumOf(weights: Float64Array): number {
  let sum = 0
  for (let i = 0; i < weights.length; i++) sum += weights[i]
  return sum
}

/** The largest weights in order, among them all that can be drawn; undefined where that is all. */
function candidatesOf(weights: Float64Array, { topK, topP, minP }: SamplingOptions): Float64Array | undefined {
  if (topK && topK < weights.length) return above(weights, largest(weights, topK)).subarray(0, topK)
  // Weights that are less than this have together no more than what is left out.
  if (topP !== undefined && topP < 1) return above(weights, ((1 - topP) * sumOf(weights)) / weights.length)
  return minP ? above(weights, minP) : undefined
}

/** Weights that are no less than a limit, in order, the largest first; one at least. */
function above(weights: Float64Array, limit: number): Float64Array {
  return weights
    .filter((weight) => weight >= Math.min(limit, 1))
    .sort()
    .reverse()
}

/**
 * The k-th largest of the values.
 *
 * Source: Hoare, "Algorithm 65: find" (1961).
 */
function largest(values: Float64Array, k: number): number {
  const left = values.slice()
  let [from, to] = [0, left.length - 1]
  while (from < to) {
    const pivot = left[(from + to) >> 1]
    let [i, j] = [from, to]
    while (i <= j) {
      while (left[i] > pivot) i++
      while (left[j] < pivot) j--
      if (i > j) break
      const value = left[i]
      left[i++] = left[j]
      left[j--] = value
    }
    if (k - 1 <= j) to = j
    else if (k - 1 >= i) from = i
    else break
  }
  return left[k - 1]
}

/** How many of the candidates stay. */
function keptCount(candidates: Float64Array, sum: number, { topP, minP }: SamplingOptions): number {
  let count = candidates.length
  if (topP !== undefined && topP < 1) {
    let reached = candidates[0]
    let nucleus = 1
    while (nucleus < count && reached < topP * sum) reached += candidates[nucleus++]
    count = nucleus
  }
  if (minP) while (count > 1 && candidates[count - 1] < minP) count--
  return count
}

/** Draws among the ids above the cutoff and the first `ties` at it; `sum` is the sum of their weights. */
function draw(weights: Float64Array, cutoff: number, ties: number, sum: number, random: Random): number {
  let left = random.uniform() * sum
  let last = 0
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id]
    if (weight < cutoff || weight === 0 || (weight === cutoff && ties-- <= 0)) continue
    last = id
    left -= weight
    if (left < 0) return id
  }
  return last
}
