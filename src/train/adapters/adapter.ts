import type { Role } from '../../anatomy/index.js'
import type { Random } from '../../base/random.js'
import type { Graph } from '../../ir/graph.js'
import type { ParameterGroup } from '../groups.js'

export type { Role }

/** A few parameters put into a frozen model, which are trained in place of its own. */
export interface Adapter {
  readonly name: string
  readonly summary: string
  /** Paper, year, section. */
  readonly source: string
  /**
   * Puts the adapter into a canonical graph.
   *
   * @returns the names of the parameters to train; all others stay frozen, see {@link onlyGroups}
   * @throws TinsmithError `bad-input` when the graph has none of the places; `unsupported` for places that it cannot use (named)
   */
  insert(graph: Graph, random: Random): string[]
  /**
   * Folds the adapter into the weights that it stands beside: the graph has the nodes that it had before.
   *
   * @returns how many adapters were folded
   * @throws TinsmithError `unsupported` when that is not possible, with the reason
   */
  merge(graph: Graph): number
}

/**
 * Groups that train these parameters alone.
 *
 * @example
 * onlyGroups(['a']) // [{ match: 'a' }, { match: '**', rate: 0 }]
 */
export function onlyGroups(names: readonly string[]): ParameterGroup[] {
  return [...names.map((match) => ({ match })), { match: '**', rate: 0 }]
}
