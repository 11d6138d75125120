import type { StepOf } from '../plan/steps.js'
import type { Past, Rows } from './arrays.js'
import { attendByCodes } from './attention-int8.js'

type Attention = StepOf<'attention'>

/** Attention of the queries of one sequence, rows `first` to `first + count`, over its keys and values: in float64, or by products of codes. */
export function attend(
  step: Attention,
  query: Rows<Float32Array>,
  keys: Past,
  values: Past,
  first: number,
  count: number,
  output: Rows<Float32Array>,
): void {
  if (step.products === 'int8') {
    attendByCodes(step, query, keys, values, first, count, output)
    return
  }
  const { heads, keyValueHeads, causal, window = Number.POSITIVE_INFINITY } = step
  const [size, valueSize] = [step.query.columns / heads, step.value.columns / keyValueHeads]
  const past = keys.tokens - count
  for (let row = 0; row < count; row++) {
    const last = causal ? past + row : keys.tokens - 1
    const start = causal ? Math.max(0, last - window + 1) : 0
    for (let head = 0; head < heads; head++) {
      const keyHead = Math.floor((head * keyValueHeads) / heads)
      const queryAt = (first + row) * query.stride + head * size
      const weights = softmax(
        Array.from({ length: last - start + 1 }, (_, i) => {
          const keyAt = (start + i) * keys.stride + keyHead * size
          let sum = 0
          for (let k = 0; k < size; k++) sum += query.data[queryAt + k] * keys.data[keyAt + k]
          return capped(sum * step.scale, step.softCap)
        }),
      )
      for (let column = 0; column < valueSize; column++) {
        let sum = 0
        for (const [i, weight] of weights.entries()) sum += weight * values.data[(start + i) * values.stride + keyHead * valueSize + column]
        output.data[(first + row) * output.stride + head * valueSize + column] = sum
      }
    }
  }
}

function capped(score: number, softCap: number | undefined): number {
  return softCap === undefined ? score : softCap * Math.tanh(score / softCap)
}

function softmax(scores: readonly number[]): number[] {
  const highest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = scores.map((score) => Math.exp(score - highest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}
