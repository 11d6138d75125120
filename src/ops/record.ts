import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node } from '../ir/node.js'
import type { DType, NDArray } from '../numbers/dtype.js'
import type { Gradient } from './gradients/rule.js'

/** What is known of a value before anything runs. */
export interface ValueFacts {
  readonly dtype: DType | null
  readonly shape: readonly Dim[] | null
  /** The elements of a small integer array (a shape, an axis list), where they are known; row major. */
  readonly contents?: readonly Dim[] | null
}

/** Runs a graph inside a node (branch, loop body); values of the graphs around it are seen. */
export type RunGraph = (graph: Graph, feeds: readonly NDArray[]) => NDArray[]

/**
 * Everything that Tinsmith knows of one operator. Adding an operator is adding one of these to its family's file.
 */
export interface Operator {
  readonly name: string
  /** Empty for the standard's operators. */
  readonly domain: string
  /**
   * The opset that the form described here needs at least; a graph is written in the lowest opset that all its
   * operators and dtypes allow. Wider dtype lists do not count: dtypes have versions of their own.
   */
  readonly since: number
  /**
   * Dtypes and shapes of the outputs from those of the inputs. Unknown facts are null, and rules go as far as they can.
   *
   * @throws TinsmithError `bad-input` when the inputs cannot be right: says which and why
   */
  infer(node: Node, inputs: readonly (ValueFacts | null)[]): ValueFacts[]
  /**
   * For operators that hold graphs: what is known of the inputs of each graph, in the order of `node.subgraphs`, before
   * its own nodes are inferred.
   */
  inferBodies?(node: Node, inputs: readonly (ValueFacts | null)[]): readonly (readonly ValueFacts[])[]
  /** The reference: plain, in float64 inside, rounded once to the output's dtype. Speed does not matter. */
  evaluate(node: Node, inputs: readonly (NDArray | null)[], run: RunGraph): NDArray[]
  /** How gradients flow back through the operator, or why they cannot. */
  readonly gradient: Gradient
  /**
   * Turns forms that opsets below `below` had into the present one, oldest first; each changes the node in place or
   * replaces it in its graph.
   */
  readonly upgrades?: readonly { readonly below: number; readonly apply: (node: Node, graph: Graph) => void }[]
}

/** A table entry; infers the literal type, and keeps the domain optional. */
export function operator(record: Omit<Operator, 'domain'> & { domain?: string }): Operator {
  return { domain: '', ...record }
}
