import { outputsFor, probesOf, withoutPadding } from '../calibration/probes.js'
import type { OpenOptions } from '../engine/open.js'
import type { Feeds } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import type { NDArray } from '../numbers/dtype.js'
import type { PassContext } from '../passes/index.js'

type Outputs = Readonly<Record<string, NDArray>>

/** For a session that runs once: threads and weights laid out anew would cost more than they save. */
const once: OpenOptions = { threads: 1, settings: { 'session.disable_prepacking': '1' } }

/** Runs graphs on probe inputs before and after a change. What came after one change is what comes before the next. */
export class Proofs {
  readonly #known = new Map<string, readonly Outputs[]>()

  constructor(readonly context: Pick<PassContext, 'open' | 'signal'> & { readonly seed: number }) {}

  /** The model has become another one. */
  forget(): void {
    this.#known.clear()
  }

  /**
   * The largest difference of the outputs for tokens that are no padding, over the largest output; infinite where there is a NaN.
   *
   * @param before the graphs by name, as they were
   */
  async largestDifference(before: ReadonlyMap<string, Graph>, model: Model): Promise<number> {
    let worst = 0
    for (const [name, graph] of before) {
      const feeds = probesOf(graph, this.context.seed)
      const expected = this.#known.get(name) ?? (await this.#outputs(graph, feeds))
      const got = await this.#outputs(model.graphs.get(name)!, feeds)
      this.#known.set(name, got)
      for (const [i, outputs] of got.entries())
        for (const [output, array] of Object.entries(outputs)) {
          if (!expected[i][output]) continue
          const [want, have] = [expected[i][output], array].map((numbers) => withoutPadding(numbers, feeds[i].attention_mask))
          worst = Math.max(worst, relativeDifference(want, have))
        }
    }
    return worst
  }

  async #outputs(graph: Graph, feeds: readonly Feeds[]): Promise<readonly Outputs[]> {
    return outputsFor(feeds, this.context.open(graph, once), this.context.signal)
  }
}

/** max|difference| / max|expected|; infinite where there is a NaN. */
export function relativeDifference(expected: ArrayLike<number>, got: ArrayLike<number>): number {
  let [most, difference] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    most = Math.max(most, Math.abs(expected[i]))
    const d = Math.abs(expected[i] - got[i])
    if (Number.isNaN(d)) return Number.POSITIVE_INFINITY
    difference = Math.max(difference, d)
  }
  return most ? difference / most : difference
}
