import type { Graph } from './graph.js'
import type { Node } from './node.js'

/**
 * In memory a node's name is the module that it belongs to, shared by all nodes of the module. Runtimes want every name
 * once, so files add the operator, and a number where that is not enough.
 */
export function addOperatorNames(graph: Graph): void {
  const counts = new Map<string, number>()
  for (const node of graph.allNodes()) {
    const name = [node.name, suffixOf(node)].filter(Boolean).join('.')
    const count = counts.get(name) ?? 0
    counts.set(name, count + 1)
    node.name = count ? `${name}_${count}` : name
  }
}

/** Takes away what {@link addOperatorNames} added; other names stay. */
export function removeOperatorNames(graph: Graph): void {
  for (const node of graph.allNodes()) {
    const [, module, suffix] = /^(?:(.*)\.)?([a-z0-9]+)(?:_\d+)?$/.exec(node.name) ?? []
    if (suffix === suffixOf(node)) node.name = module ?? ''
  }
}

function suffixOf(node: Node): string {
  return node.operator.toLowerCase()
}
