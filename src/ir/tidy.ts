import { type Graph, valuesUsed } from './graph.js'
import type { Node, Value } from './node.js'

/**
 * Brings a graph into the one order and naming that depend on its structure alone: nodes depth first from the outputs,
 * values named after their node's module and operator. Equal graphs then print equal texts. Names of inputs, outputs
 * and constants stay.
 */
export function tidy(graph: Graph): void {
  for (const node of graph.nodes()) for (const subgraph of node.subgraphs) tidy(subgraph)
  order(graph)
  name(graph)
}

function order(graph: Graph): void {
  const done = new Set<Node>()
  let last: Node | null = null
  const place = (node: Node) => {
    if (last) graph.move(node, { after: last })
    else if (graph.first !== node) graph.move(node, { before: graph.first! })
    last = node
  }
  const visit = (root: Node) => {
    const stack: { node: Node; pending: Node[] }[] = []
    const open = (node: Node) => {
      done.add(node)
      stack.push({ node, pending: producers(node, graph).reverse() })
    }
    open(root)
    while (stack.length) {
      const top = stack[stack.length - 1]
      const next = top.pending.pop()
      if (!next) {
        place(top.node)
        stack.pop()
      } else if (!done.has(next)) open(next)
    }
  }
  for (const output of graph.outputs) if (output.producer?.graph === graph && !done.has(output.producer)) visit(output.producer)
}

function producers(node: Node, graph: Graph): Node[] {
  return valuesUsed(node).flatMap((value) => (value.producer?.graph === graph ? [value.producer] : []))
}

function name(graph: Graph): void {
  const fixed = new Set<Value>([...graph.outputs, ...graph.inputs])
  const named = [...graph.nodes()].flatMap((node) =>
    node.outputs.filter((output) => output.name && !fixed.has(output)).map((output) => ({ node, output })),
  )
  named.forEach(({ output }, i) => void graph.rename(output, graph.uniqueName(`tidy ${i}`)))
  graph._forgetCounters()
  for (const { node, output } of named)
    graph.rename(output, graph.uniqueName([node.name, node.operator.toLowerCase()].filter(Boolean).join('.')))
}
