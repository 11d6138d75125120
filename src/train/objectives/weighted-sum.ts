import { badInput } from '../../base/errors.js'
import type { Feeds } from '../../engine/session.js'
import type { Value } from '../../ir/node.js'
import { times } from '../../nn/losses.js'
import type { NDArray } from '../../numbers/dtype.js'
import type { Objective } from '../objective.js'

/** An objective and how much it counts. */
export interface Weighted<Sample> {
  readonly objective: Objective<Sample>
  readonly weight: number
}

/**
 * Several objectives on the same samples: the weighted sum of their losses. All draw the same random numbers for a batch, so that
 * those that change inputs (masks) change them alike; inputs of one name are one input.
 *
 * @throws TinsmithError `bad-input` for no objectives, or a weight that is no finite number; for a batch when two feed different
 * arrays under one name
 * @example
 * weightedSum([{ objective: hard, weight: 0.5 }, { objective: soft, weight: 0.5 }])
 */
export function weightedSum<Sample>(parts: readonly Weighted<Sample>[]): Objective<Sample> {
  if (!parts.length) throw badInput('a sum of objectives needs at least one')
  for (const { objective, weight } of parts)
    if (!Number.isFinite(weight)) throw badInput(`the weight ${weight} of ${objective.name} is no finite number`)
  const objectives = parts.map(({ objective }) => objective)
  return {
    name: objectives.map(({ name }) => name).join(' + '),
    parameters: objectives.flatMap(({ parameters }) => parameters ?? []),
    check: (samples) => {
      for (const objective of objectives) objective.check?.(samples)
    },
    loss(net) {
      const losses = parts.map(({ objective, weight }) => times(net, objective.loss(net), weight))
      return losses.reduce((total: Value, loss) => net.op('Add', [total, loss]))
    },
    stop: (net) => objectives.flatMap((objective) => objective.stop?.(net) ?? []),
    async batch(samples, random) {
      const feeds: Record<string, NDArray> = {}
      for (const objective of objectives) merge(feeds, await objective.batch(samples, random.stream('samples')), objective.name)
      return feeds
    },
    async dispose() {
      await Promise.all(objectives.map((objective) => objective.dispose?.()))
    },
  }
}

function merge(feeds: Record<string, NDArray>, more: Feeds, from: string): void {
  for (const [name, array] of Object.entries(more)) {
    if (feeds[name] && !equal(feeds[name], array)) throw badInput(`${from} feeds another ${name} than the objectives before it`)
    feeds[name] = array
  }
}

function equal(a: NDArray, b: NDArray): boolean {
  if (a === b) return true
  return a.dtype === b.dtype && a.shape.join() === b.shape.join() && a.data.every((element, i) => element === b.data[i])
}
