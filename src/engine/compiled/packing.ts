import { badInput, unsupported } from '../../base/errors.js'
import type { NDArray } from '../../numbers/dtype.js'
import type { Feeds } from '../session.js'
import type { PlanOutline } from './plan/plan.js'

/** Sequences of a padded batch without their padding. */
export interface Packing {
  readonly sequences: number
  /** Columns of the padded batch. */
  readonly width: number
  /** [sequences + 1] */
  readonly starts: Int32Array
  /** [tokens]: where each token stands in the padded batch, as row * width + column. */
  readonly places: Int32Array
}

/**
 * Finds the tokens of a batch: those that the attention mask lets be seen, all without one.
 *
 * @param past columns of the mask that belong to tokens in the cache
 * @throws TinsmithError `bad-input` for an empty batch
 */
export function packingOf(sequences: number, width: number, past: number, mask: NDArray | undefined): Packing {
  if (!sequences) throw badInput('A batch needs one sequence at least')
  const starts = new Int32Array(sequences + 1)
  const places: number[] = []
  const seen = mask?.data as BigInt64Array | undefined
  for (let row = 0; row < sequences; row++) {
    for (let column = 0; column < width; column++)
      if (seen?.[row * (past + width) + past + column] !== 0n) places.push(row * width + column)
    starts[row + 1] = places.length
  }
  return { sequences, width, starts, places: Int32Array.from(places) }
}

/** Tokens that the cache holds of each sequence: those that the mask lets be seen. */
export function pastTokens({ sequences, width }: Packing, past: number, mask: NDArray | undefined): Int32Array {
  const counts = new Int32Array(sequences)
  if (!mask || !past) return counts.fill(past)
  const words = wordsOf(mask)
  for (let row = 0; row < sequences; row++) {
    const first = row * (past + width)
    for (let at = first; at < first + past; at++) if (words[2 * at] | words[2 * at + 1]) counts[row]++
  }
  return counts
}

/** The columns of each sequence that a mask [sequences, width] lets be seen, all without one. */
export function seenColumns(sequences: number, width: number, mask: NDArray | undefined): number[][] {
  const words = mask && wordsOf(mask)
  const isSeen = (at: number) => !words || (words[2 * at] | words[2 * at + 1]) !== 0
  return Array.from({ length: sequences }, (_, row) =>
    Array.from({ length: width }, (_, column) => column).filter((column) => isSeen(row * width + column)),
  )
}

/** 64-bit integers as pairs of words: these are no objects. */
function wordsOf({ data }: NDArray): Int32Array {
  const { buffer, byteOffset, length } = data as BigInt64Array
  return new Int32Array(buffer, byteOffset, 2 * length)
}

/**
 * The numbers of each token, by input.
 *
 * @throws TinsmithError `bad-input` for a number that a table has no row for
 */
export function tokenNumbers(plan: PlanOutline, { places }: Packing, feeds: Feeds): Record<string, Int32Array> {
  return Object.fromEntries(
    plan.numbers.map((name) => {
      const values = feeds[name].data as BigInt64Array
      return [
        name,
        checkedNumbers(
          plan,
          name,
          places.map((place) => Number(values[place])),
        ),
      ]
    }),
  )
}

/**
 * The numbers of tokens for an input, where its tables have rows for them.
 *
 * @throws TinsmithError `bad-input` for a number that a table has no row for
 */
export function checkedNumbers(plan: PlanOutline, name: string, numbers: Int32Array): Int32Array {
  const limit = plan.tableRows.get(name) ?? Number.POSITIVE_INFINITY
  const wrong = numbers.findIndex((number) => number < 0 || number >= limit)
  if (wrong >= 0) throw badInput(`${name} holds ${numbers[wrong]}, and the table has rows 0 to ${limit - 1}`, { where: name })
  return numbers
}

/**
 * Checks that no sequence is longer than the tables of positions, and that tokens stand side by side where their place counts.
 *
 * @throws TinsmithError `bad-input`, `unsupported`
 */
export function checkPlaces(plan: PlanOutline, { starts, places, width, sequences }: Packing, pasts: Int32Array): void {
  const limit = plan.tableRows.get('index')
  if (limit === undefined) return
  for (let row = 0; row < sequences; row++) {
    const count = starts[row + 1] - starts[row]
    if (pasts[row] + count > limit) throw badInput(`A sequence has ${pasts[row] + count} tokens, and the model has ${limit} positions`)
    if (count && (places[starts[row]] !== row * width || places[starts[row + 1] - 1] !== row * width + count - 1))
      throw unsupported('The compiled engine needs padding behind the tokens of this model', {
        hint: 'Pad on the right, or use the engine ort.',
      })
  }
}

/**
 * The images of a batch.
 *
 * @throws TinsmithError `bad-input` where one holds a number that is none
 */
export function imagesOf(plan: PlanOutline, feeds: Feeds): Record<string, Float32Array> {
  return Object.fromEntries(
    [...plan.images.keys()].map((name) => {
      const values = feeds[name].data as Float32Array
      const wrong = values.findIndex((value) => !Number.isFinite(value))
      if (wrong >= 0) throw badInput(`${name} holds ${values[wrong]} at ${wrong}`, { where: name })
      return [name, values]
    }),
  )
}

/** The same sequences with a token each. */
export function lastOf({ sequences }: Packing): Packing {
  const rows = Int32Array.from({ length: sequences + 1 }, (_, row) => row)
  return { sequences, width: 1, starts: rows, places: rows.subarray(0, sequences) }
}

/** Rows of tokens back to where they stand in the padded batch; padding is zero. */
export function unpacked(rows: Float32Array, { sequences, width, places }: Packing): Float32Array {
  if (places.length === sequences * width) return rows
  const columns = rows.length / Math.max(1, places.length)
  const padded = new Float32Array(sequences * width * columns)
  places.forEach((place, row) => void padded.set(rows.subarray(row * columns, (row + 1) * columns), place * columns))
  return padded
}
