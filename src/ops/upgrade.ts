import { unsupported } from '../base/errors.js'
import { type Attributes, string } from '../ir/attribute.js'
import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { constantTensor } from './constant.js'
import { attributeToInput, type Upgrade } from './forms.js'
import { operatorOf } from './index.js'
import { inferNode } from './infer.js'

/** The opset that graphs speak inside Tinsmith. */
export const currentOpset = 28

/** The oldest opset that is understood; older graphs only where nothing in them has changed since. */
export const oldestOpset = 7

/** Operators that later opsets no longer have, or gave another meaning, and what stands for them. */
const retired: Readonly<Record<string, readonly Upgrade[]>> = {
  Scatter: [{ below: 11, apply: (node, graph) => void become(node, graph, 'ScatterElements', node.inputs, node.attributes) }],
  Upsample: [attributeToInput(9, 'scales', 1), { below: 10, apply: upsampleToResize }],
}

/** Opsets that gave an operator another signature or meaning for which there is no rule. */
const broken: Readonly<Record<string, number>> = { DFT: 20, GridSample: 20, RoiAlign: 16, Scan: 9, GroupNormalization: 21 }

/**
 * Brings a graph, and the graphs inside its nodes, from the opset that it declares to {@link currentOpset}: every node
 * into today's form by the rules of its operator's record, every Constant node into a constant of the graph.
 *
 * @throws TinsmithError `unsupported` for opsets out of 7-28, and naming operators whose old form nothing translates
 * @example
 * graph.opsets.set('', 11)
 * upgradeGraph(graph) // Squeeze's axes, an attribute before opset 13, are now an input
 */
export function upgradeGraph(graph: Graph): void {
  const version = graph.opsets.get('') ?? currentOpset
  const old =
    version < oldestOpset && [...graph.allNodes()].some((node) => !node.domain && (operatorOf(node)?.since ?? oldestOpset) > version)
  if (old || version > currentOpset)
    throw unsupported(`the graph is of opset ${version}`, {
      where: graph.name,
      hint: `Opsets ${oldestOpset} to ${currentOpset} are understood.`,
    })
  refuseBroken(graph, version)
  upgrade(graph, version, new Map())
}

function refuseBroken(graph: Graph, version: number): void {
  const lost = new Set<string>()
  for (const node of graph.allNodes()) {
    const changed = node.domain ? undefined : broken[node.operator]
    if (changed && version < changed && !operatorOf(node)?.upgrades?.some(({ below }) => below === changed)) lost.add(node.operator)
  }
  if (lost.size) throw unsupported(`opset ${version} has other forms of ${[...lost].sort().join(', ')}, which are not understood`)
}

function upgrade(graph: Graph, version: number, contents: Map<Value, readonly Dim[]>): void {
  for (const node of [...graph.nodes()]) {
    for (const subgraph of node.subgraphs) upgrade(subgraph, version, contents)
    if (node.domain) continue
    if (node.operator === 'Constant') constantOfGraph(node, graph)
    else upgradeNode(node, graph, version)
    // Forms before opset 11 have float attributes that become inputs, whose dtype must be known.
    if (version < 11 && node.graph) inferNode(node, contents)
  }
  graph.opsets.set('', currentOpset)
}

function upgradeNode(node: Node, graph: Graph, version: number): void {
  const rules = operatorOf(node)?.upgrades ?? retired[node.operator] ?? []
  for (const { below, apply } of rules) if (version < below && node.graph) apply(node, graph)
}

/** Puts a constant in the place of a Constant node; sparse ones stay. */
function constantOfGraph(node: Node, graph: Graph): void {
  const tensor = constantTensor(node)
  if (!tensor) return
  const { name } = node.output
  const constant = graph.addConstant(name, tensor)
  graph.replace(node, constant)
  if (!graph.visible(name)) graph.rename(constant, name)
}

/** Puts another operator in the place of a node that has one output; the output keeps its name. */
function become(node: Node, graph: Graph, operator: string, inputs: readonly (Value | null)[], attributes: Attributes): Node {
  const { name, dtype, shape } = node.output
  const replacement = graph.add(operator, inputs, { before: node, name: node.name, attributes })
  Object.assign(replacement.output, { dtype, shape })
  graph.replace(node, replacement.output)
  if (replacement.output.name !== name) graph.rename(replacement.output, name)
  return replacement
}

function upsampleToResize(node: Node, graph: Graph): void {
  const mode = node.string('mode', 'nearest')
  become(node, graph, 'Resize', [node.input(0), null, node.input(1)], {
    mode: string(mode === 'bilinear' ? 'linear' : mode),
    coordinate_transformation_mode: string('asymmetric'),
    nearest_mode: string('floor'),
  })
}
