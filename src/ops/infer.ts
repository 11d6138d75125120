import { badInput, TinsmithError } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { isInteger } from '../numbers/dtype.js'
import { operatorOf } from './index.js'
import type { Operator, ValueFacts } from './record.js'

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
  const record = operatorOf(node)
  const inputs = node.inputs.map((input) => (input ? factsOf(input, contents) : null))
  const bodies = record?.inferBodies?.(node, inputs)
  node.subgraphs.forEach((subgraph, i) => {
    bodies?.[i]?.forEach((facts, k) => void adopt(subgraph.inputs[k], facts))
    inferShapes(subgraph, contents)
  })
  if (!record) return
  const facts = ruleOf(record, node, inputs)
  node.outputs.forEach((output, i) => {
    if (!facts[i]) return
    refine(output, facts[i], node)
    if (facts[i].contents) contents.set(output, facts[i].contents)
  })
}

/** Applies the shape rule; its errors name the node. */
function ruleOf(record: Operator, node: Node, inputs: readonly (ValueFacts | null)[]): ValueFacts[] {
  try {
    return record.infer(node, inputs)
  } catch (error) {
    if (!(error instanceof TinsmithError) || error.where) throw error
    throw new TinsmithError(error.code, error.message, { where: nodeLabel(node), hint: error.hint, cause: error })
  }
}

function nodeLabel(node: Node): string {
  return `${node.type} ${node.name || (node.outputs[0]?.name ?? '')}`
}

/** Fills in what a value does not say of itself. */
function adopt(value: Value | undefined, facts: ValueFacts): void {
  if (!value) return
  value.dtype ??= facts.dtype
  value.shape ??= facts.shape
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
