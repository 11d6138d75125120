import type { Graph } from './graph.js'
import type { Node, Value } from './node.js'

/** One local rewriting: where it starts, and what it does there. */
export interface Rule<Context = void> {
  readonly name: string
  /** Types of the nodes at which it may start. */
  readonly at: readonly string[]
  /** Changes the graph around the node and says true, or leaves everything as it is and says false. */
  rewrite(node: Node, graph: Graph, context: Context): boolean
}

/**
 * Applies rules one after the other, each to all nodes in order (bodies of nodes included); what is left unused goes.
 *
 * @returns how often each rule changed something
 */
export function applyRules<Context>(graph: Graph, rules: readonly Rule<Context>[], context: Context): Map<string, number> {
  const counts = new Map<string, number>()
  let types = typesIn(graph)
  for (const rule of rules) {
    if (!rule.at.some((type) => types.has(type))) continue
    const count = applyRule(graph, rule, context)
    if (!count) continue
    counts.set(rule.name, count)
    types = typesIn(graph)
  }
  graph.prune()
  return counts
}

function typesIn(graph: Graph): ReadonlySet<string> {
  const types = new Set<string>()
  for (const node of graph.allNodes()) types.add(node.type)
  return types
}

function applyRule<Context>(graph: Graph, rule: Rule<Context>, context: Context): number {
  const starts = new Set(rule.at)
  let count = 0
  for (const node of graph.nodes()) {
    if (starts.has(node.type) && rule.rewrite(node, graph, context)) count++
    if (node.graph === graph) for (const subgraph of node.subgraphs) count += applyRule(subgraph, rule, context)
  }
  return count
}

/** The node that makes a value, when it is of that type. */
export function producedBy(value: Value | null, type: string): Node | null {
  return value?.producer?.type === type ? value.producer : null
}

/** The only node that uses a value, when it is of that type and the value is no output of the graph. */
export function onlyUser(value: Value, type: string): Node | null {
  if (value.uses.size !== 1) return null
  const [{ node }] = value.uses
  return node.type === type && !node.graph?.outputs.includes(value) ? node : null
}
