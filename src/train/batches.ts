import { badInput } from '../base/errors.js'
import { Random } from '../base/random.js'

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
  #epoch = -1
  #order: readonly number[] = []

  /** @throws TinsmithError `bad-input` when a batch is larger than the data */
  constructor(count: number, size: number, seed: number) {
    if (!count) throw badInput('there are no samples to train on')
    if (size > count)
      throw badInput(`a batch of ${size} is larger than the data (${count} ${count === 1 ? 'sample' : 'samples'})`, {
        hint: `Set batchSize to ${count} or less.`,
      })
    this.#count = count
    this.#size = size
    this.#random = new Random(seed)
    this.stepsPerEpoch = Math.floor(count / size)
  }

  /** Indexes of the samples of a step. */
  at(step: number): number[] {
    const epoch = Math.floor(step / this.stepsPerEpoch)
    if (epoch !== this.#epoch) {
      this.#order = this.#random.stream(`epoch ${epoch}`).permutation(this.#count)
      this.#epoch = epoch
    }
    const start = (step % this.stepsPerEpoch) * this.#size
    return this.#order.slice(start, start + this.#size)
  }
}
