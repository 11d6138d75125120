import { badInput } from '../base/errors.js'
import type { GraphProto, NodeProto } from './schema.js'

/**
 * The nodes of a graph in topological order, found by names; the present order is kept where it is one.
 *
 * @throws TinsmithError `bad-input` naming a value that is made twice or a node on a cycle
 */
export function inOrder(nodes: readonly NodeProto[], where: string): NodeProto[] {
  const producers = new Map<string, number>()
  nodes.forEach((node, i) => {
    for (const name of node.output) {
      if (name && producers.has(name)) throw badInput(`two nodes compute ${name}`, { where })
      producers.set(name, i)
    }
  })
  producers.delete('')
  const free = new Map<GraphProto, readonly string[]>()
  const sources = (node: NodeProto) => namesUsed(node, free).flatMap((name) => producers.get(name) ?? [])
  const state = new Uint8Array(nodes.length)
  const order: NodeProto[] = []
  for (let root = 0; root < nodes.length; root++) {
    const stack = [{ index: root, pending: [root] }]
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const next = top.pending.pop()
      if (next === undefined) {
        stack.pop()
        if (stack.length && state[top.index] !== done) {
          state[top.index] = done
          order.push(nodes[top.index])
        }
      } else if (state[next] === open) throw badInput(`the graph has a cycle through ${labelOf(nodes[next])}`, { where })
      else if (state[next] !== done) {
        state[next] = open
        stack.push({ index: next, pending: sources(nodes[next]).reverse() })
      }
    }
  }
  return order
}

const open = 1
const done = 2

/** What messages call a node. */
export function labelOf(node: NodeProto): string {
  return [node.operator, node.name || node.output[0]].filter(Boolean).join(' ')
}

/** Names that a node reads, those read by the graphs inside it included. */
function namesUsed(node: NodeProto, free: Map<GraphProto, readonly string[]>): string[] {
  const inner = node.attribute.flatMap((attribute) => (attribute.g ? [attribute.g, ...attribute.graphs] : attribute.graphs))
  return [...node.input, ...inner.flatMap((graph) => freeNames(graph, free))]
}

/** Names that a graph uses and does not define. */
function freeNames(graph: GraphProto, free: Map<GraphProto, readonly string[]>): readonly string[] {
  const known = free.get(graph)
  if (known) return known
  const names = new Set<string>()
  for (const node of graph.node) for (const name of namesUsed(node, free)) names.add(name)
  for (const output of graph.output) names.add(output.name ?? '')
  for (const node of graph.node) for (const name of node.output) names.delete(name)
  for (const { name } of [...graph.input, ...graph.initializer]) names.delete(name ?? '')
  for (const { values } of graph.sparseInitializer) names.delete(values?.name ?? '')
  names.delete('')
  const list = [...names]
  free.set(graph, list)
  return list
}
