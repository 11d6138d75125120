import type { Random } from '../base/random.js'
import type { Feeds } from '../engine/session.js'
import type { Value } from '../ir/node.js'
import type { Net } from '../nn/net.js'

/**
 * What a model is trained for: adds a loss to its graph, and turns samples into feeds.
 *
 * @typeParam Sample what the training data consist of
 */
export interface Objective<Sample> {
  readonly name: string
  /**
   * Adds the loss, a float32 scalar, to a graph whose outputs are those of the model; labels become inputs of the graph.
   *
   * @throws TinsmithError `bad-input` when the model lacks an output that it needs (named)
   */
  loss(net: Net): Value
  /**
   * Names of float32 constants that `loss` adds to the graph and that are trained beside the model's, such as projections;
   * they end with the training.
   */
  readonly parameters?: readonly string[]
  /**
   * Looks at all samples before training begins.
   *
   * @throws TinsmithError `bad-input` for labels that the model does not have (named), or of one class alone
   */
  check?(samples: readonly Sample[]): void
  /** Values of the graph that count as constants. */
  stop?(net: Net): readonly Value[]
  /**
   * The feeds of a batch: the model's inputs and the labels. Outputs of a session among them are disposed after the step.
   *
   * @param random a stream of this batch's own
   * @throws TinsmithError `bad-input` for labels that the model does not have (named)
   */
  batch(samples: readonly Sample[], random: Random): Promise<Feeds>
  /** Frees what batches were made with, such as a teacher's session. */
  dispose?(): Promise<void>
}
