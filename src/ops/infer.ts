import { badInput } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { isInteger } from '../numbers/dtype.js'
import { operatorOf } from './index.js'
import type { ValueFacts } from './record.js'

/** Largest integer constant whose elements shape rules see. */
const contentsLimit = 64

/**
 * Fills in dtypes and shapes of all values of a graph from its inputs, node by node; what is known better stays.
 *
 * @throws TinsmithError `bad-input` where a rule finds inputs that cannot be right (node named)
 */
export function inferShapes(graph: Graph, outer: ReadonlyMap<Value, readonly Dim[]> = new Map()): void {
  const contents = new Map(outer)
  for (const node of graph.nodes()) inferNode(node, contents)
}

/** Infers one node's outputs. `contents` carries known elements of small integer values and is added to. */
export function inferNode(node: Node, contents: Map<Value, readonly Dim[]> = new Map()): void {
  for (const subgraph of node.subgraphs) inferShapes(subgraph, contents)
  const record = operatorOf(node)
  if (!record) return
  const facts = record.infer(
    node,
    node.inputs.map((input) => (input ? factsOf(input, contents) : null)),
  )
  node.outputs.forEach((output, i) => {
    if (!facts[i]) return
    refine(output, facts[i], node)
    if (facts[i].contents) contents.set(output, facts[i].contents)
  })
}

/** What is known of a value; elements too when it is a small integer constant in memory. */
export function factsOf(value: Value, contents: ReadonlyMap<Value, readonly Dim[]> = new Map()): ValueFacts {
  return { dtype: value.dtype, shape: value.shape, contents: contents.get(value) ?? constantContents(value) }
}

function constantContents(value: Value): readonly Dim[] | null {
  const tensor = value.tensor
  if (!tensor?.elements || tensor.size > contentsLimit || !(isInteger(tensor.dtype) || tensor.dtype === 'bool')) return null
  return Array.from(tensor.elements as ArrayLike<number | bigint>, Number)
}

function refine(output: Value, facts: ValueFacts, node: Node): void {
  if (facts.dtype) {
    if (output.dtype && output.dtype !== facts.dtype)
      throw badInput(`${node.type} ${node.name} gives ${facts.dtype} but ${output.name} is declared ${output.dtype}`)
    output.dtype = facts.dtype
  }
  if (!facts.shape) return
  if (!output.shape || output.shape.length !== facts.shape.length) {
    if (output.shape)
      throw badInput(
        `${node.type} ${node.name} gives rank ${facts.shape.length} but ${output.name} is declared with rank ${output.shape.length}`,
      )
    output.shape = facts.shape
    return
  }
  output.shape = output.shape.map((declared, i) => (typeof declared === 'number' ? declared : facts.shape![i]))
}
