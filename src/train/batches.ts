import { badInput } from '../base/errors.js'
import { Random } from '../base/random.js'

/** Batches whose samples are sorted by length together: enough for batches of one length, few enough for batches that differ by epoch. */
const batchesTogether = 50

function pieces<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size))
}

/**
 * Which samples each step sees: every epoch in an order of its own, known from the seed and the step alone, so that a resumed
 * run sees what it would have seen. What is left of an epoch when it does not fill a batch waits for the next one.
 *
 * @example
 * new BatchOrder(5, 2, 7).at(0).length // 2
 */
export class BatchOrder {
  readonly stepsPerEpoch: number
  readonly #count: number
  readonly #size: number
  readonly #random: Random
  readonly #lengths: readonly number[] | undefined
  #epoch = -1
  #order: readonly number[] = []

  /**
   * @param lengths of the samples: batches are then made of samples of similar length, in random order, so that little is padded
   * @throws TinsmithError `bad-input` when a batch is larger than the data
   */
  constructor(count: number, size: number, seed: number, lengths?: readonly number[]) {
    if (!count) throw badInput('there are no samples to train on')
    if (size > count)
      throw badInput(`a batch of ${size} is larger than the data (${count} ${count === 1 ? 'sample' : 'samples'})`, {
        hint: `Set batchSize to ${count} or less.`,
      })
    this.#count = count
    this.#size = size
    this.#random = new Random(seed)
    this.#lengths = lengths
    this.stepsPerEpoch = Math.floor(count / size)
  }

  /** Indexes of the samples of a step. */
  at(step: number): number[] {
    const epoch = Math.floor(step / this.stepsPerEpoch)
    if (epoch !== this.#epoch) {
      this.#order = this.#orderOf(this.#random.stream(`epoch ${epoch}`))
      this.#epoch = epoch
    }
    const start = (step % this.stepsPerEpoch) * this.#size
    return this.#order.slice(start, start + this.#size)
  }

  #orderOf(random: Random): readonly number[] {
    const order = random.permutation(this.#count)
    const [lengths, size] = [this.#lengths, this.#size]
    if (!lengths) return order
    const used = order.slice(0, this.stepsPerEpoch * size)
    const sorted = pieces(used, batchesTogether * size).flatMap((piece) => piece.sort((a, b) => lengths[a] - lengths[b]))
    const batches = pieces(sorted, size)
    return random
      .stream('batches')
      .permutation(batches.length)
      .flatMap((i) => batches[i])
  }
}
