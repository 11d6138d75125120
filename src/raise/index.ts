import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import { removeOperatorNames } from '../ir/module-names.js'
import type { Value } from '../ir/node.js'
import { applyRules } from '../ir/rewrite.js'
import { tidy } from '../ir/tidy.js'
import { paddingNote, unpackTokens } from '../nn/token-packing.js'
import { inferNode, inferShapes } from '../ops/infer.js'
import { upgradeGraph } from '../ops/upgrade.js'
import type { RaiseContext, RaiseRule } from './rule.js'
import { activationRules } from './rules/activations.js'
import { attentionRules } from './rules/attention.js'
import { blockRules } from './rules/blocks.js'
import { decomposedAttentionRules } from './rules/decomposed-attention.js'
import { elementwiseRules } from './rules/elementwise.js'
import { expandedAttentionRules } from './rules/expanded-attention.js'
import { linearRules } from './rules/linears.js'
import { minimumBlockRules } from './rules/minimum-blocks.js'
import { normRules } from './rules/norms.js'
import { quantizedRules } from './rules/quantized.js'
import { quantizedProductRules } from './rules/quantized-products.js'
import { shapeRules } from './rules/shapes.js'

/** In the order in which they apply; after each group what is no longer used is gone, so that rules see who uses what. */
const groups: readonly (readonly RaiseRule[])[] = [
  [...shapeRules, ...linearRules, ...activationRules, ...normRules],
  [
    ...minimumBlockRules,
    ...elementwiseRules,
    ...blockRules,
    ...quantizedProductRules,
    ...quantizedRules,
    ...attentionRules,
    ...decomposedAttentionRules,
  ],
  expandedAttentionRules,
]

/**
 * Brings a graph, in place, to the canonical form: the standard's newest opset, its high-level operators, the quantized
 * form of codes and DequantizeLinear. What no rule knows stays as it is.
 *
 * @returns how often each rule found its pattern
 * @throws TinsmithError `unsupported` for operators of old opsets that cannot be brought to today's, named
 */
export function raise(graph: Graph): Map<string, number> {
  removeOperatorNames(graph)
  upgradeGraph(graph)
  const contents = new Map<Value, readonly Dim[]>()
  for (const node of graph.nodes()) inferNode(node, contents)
  const context: RaiseContext = { contents, masks: new Map(), dequantized: new Map(), unpacked: new Map() }
  const counts = groups.flatMap((group) => [...applyRules(graph, group, context)])
  if (unpackTokens(graph)) graph.notes.set(paddingNote, 'removed')
  inferShapes(graph)
  tidy(graph)
  return new Map(counts)
}
