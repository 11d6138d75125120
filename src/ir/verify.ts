import { badInput } from '../base/errors.js'
import type { Graph } from './graph.js'
import type { Node, Value } from './node.js'

/**
 * Checks what every graph must keep: each value made once and before it is used, edges that know both ends, outputs
 * that exist, names that agree with the tables.
 *
 * @throws TinsmithError `bad-input` naming the node or value
 */
export function verify(graph: Graph, seen: ReadonlySet<Value> = new Set()): void {
  const known = new Set(seen)
  for (const input of graph.inputs) {
    if (known.has(input)) throw badInput(`the input ${input.name} is listed twice`)
    known.add(input)
  }
  for (const [name, constant] of graph.constants) {
    if (constant.name !== name || !constant.tensor) throw badInput(`the constant ${name} has no tensor or another name`)
    known.add(constant)
  }
  let count = 0
  for (const node of graph.nodes()) {
    count++
    verifyNode(node, graph, known)
    for (const output of node.outputs) {
      if (output.producer !== node) throw badInput(`${output.name} does not know its producer`, { where: node.name })
      if (output.name && graph.value(output.name) !== output)
        throw badInput(`${output.name} is not in the graph's table`, { where: node.name })
      known.add(output)
    }
  }
  if (count !== graph.size) throw badInput(`the node list holds ${count} nodes and says ${graph.size}`)
  for (const output of graph.outputs) if (!known.has(output)) throw badInput(`nothing computes the output ${output.name}`)
}

function verifyNode(node: Node, graph: Graph, known: ReadonlySet<Value>): void {
  const label = `${node.type} ${node.name || (node.outputs[0]?.name ?? '')}`
  if (node.graph !== graph) throw badInput(`${label} belongs to another graph`)
  node.inputs.forEach((input, index) => {
    if (!input) return
    if (!known.has(input)) throw badInput(`${label} uses ${input.name}, which nothing computes before it`)
    for (const use of input.uses) if (use.node === node && use.index === index) return
    throw badInput(`${input.name} does not know that ${label} uses it`)
  })
  for (const subgraph of node.subgraphs) verify(subgraph, known)
}
