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
  if (takesLikeliest(options)) return indexOfLargest(scores)
  return draw(drawable(scores, options), random)
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

/** Tokens that can be drawn, and how likely each is but for a factor: 1 for the likeliest. */
export interface Drawable {
  readonly ids: Int32Array
  readonly weights: Float64Array
}

/** Weights below this do not matter: those of a million tokens together are less than a float32 can tell from 1. */
const negligible = 1e-15

/** The tokens that temperature, top k, top p and minimal p leave, by their numbers. */
export function drawable(scores: Float32Array, options: SamplingOptions): Drawable {
  const { topK, topP = 1, minP = 0 } = options
  const [temperature, highest] = [temperatureOf(options), scores[indexOfLargest(scores)]]
  const least = topP < 1 ? negligible : Math.max(negligible, minP / 2)
  const ids =
    topK && topK < scores.length
      ? firstOfLargest(scores, largestOf(scores, topK)[0], topK)
      : firstOfLargest(scores, highest + temperature * Math.log(least))
  const weights = new Float64Array(ids.length)
  for (let i = 0; i < ids.length; i++) weights[i] = Math.exp((scores[ids[i]] - highest) / temperature)
  const nucleus = topP < 1 ? nucleusOf({ ids, weights }, topP) : { ids, weights }
  return minP ? atLeast(nucleus, minP) : nucleus
}

/** More than most nuclei have. */
const fewTokens = 256

/** The fewest tokens whose weights reach a share of the sum; of equals the first. */
function nucleusOf({ ids, weights }: Drawable, share: number): Drawable {
  const wanted = share * sumOf(weights)
  let sorted = largestOf(weights, fewTokens)
  while (sorted.length < weights.length && sumOf(sorted) < wanted) sorted = largestOf(weights, 8 * sorted.length)
  sorted.sort().reverse()
  let [reached, count] = [sorted[0], 1]
  while (count < sorted.length && reached < wanted) reached += sorted[count++]
  return chosen({ ids, weights }, firstOfLargest(weights, sorted[count - 1], count))
}

function atLeast(tokens: Drawable, limit: number): Drawable {
  return chosen(tokens, firstOfLargest(tokens.weights, Math.min(limit, 1)))
}

function chosen({ ids, weights }: Drawable, places: Int32Array): Drawable {
  const own = new Float64Array(places.length)
  for (let i = 0; i < places.length; i++) own[i] = weights[places[i]]
  return { ids: places.map((place) => ids[place]), weights: own }
}

function sumOf(weights: Float64Array): number {
  let sum = 0
  for (let i = 0; i < weights.length; i++) sum += weights[i]
  return sum
}

/** The places, in order, of all values above a limit and of the first that equal it, `most` together. */
function firstOfLargest(values: Float32Array | Float64Array, limit: number, most = values.length): Int32Array {
  const places = new Int32Array(values.length)
  let [found, above] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] >= limit)) continue
    places[found++] = i
    if (values[i] > limit) above++
  }
  if (found <= most) return places.slice(0, found)
  let equals = most - above
  return places.subarray(0, found).filter((place) => values[place] > limit || equals-- > 0)
}

/** The k largest of the values, the smallest of them first: a heap. */
function largestOf<Values extends Float32Array | Float64Array>(values: Values, k: number): Values {
  const heap = values.slice(0, k).sort() as Values
  for (let i = k; i < values.length; i++) if (values[i] > heap[0]) replaceRoot(heap, values[i])
  return heap
}

/** Source: Williams, "Algorithm 232: heapsort" (1964). */
function replaceRoot(heap: Float32Array | Float64Array, value: number): void {
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++
    if (heap[child] >= value) break
    heap[at] = heap[child]
    at = child
  }
  heap[at] = value
}

function draw({ ids, weights }: Drawable, random: Random): number {
  let left = random.uniform() * sumOf(weights)
  for (let i = 0; i < ids.length; i++) {
    left -= weights[i]
    if (left < 0) return ids[i]
  }
  return ids[ids.length - 1]
}
