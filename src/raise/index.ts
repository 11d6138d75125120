import type { Graph } from '../ir/graph.js'
import { removeOperatorNames } from '../ir/module-names.js'
import { applyRules } from '../ir/rewrite.js'
import { tidy } from '../ir/tidy.js'
import { inferShapes } from '../ops/infer.js'
import { upgradeGraph } from '../ops/upgrade.js'
import type { RaiseRule } from './rule.js'
import { attentionRules } from './rules/attention.js'
import { blockRules } from './rules/blocks.js'
import { elementwiseRules } from './rules/elementwise.js'
import { expandedAttentionRules } from './rules/expanded-attention.js'
import { quantizedRules } from './rules/quantized.js'
import { quantizedProductRules } from './rules/quantized-products.js'

const rules: readonly RaiseRule[] = [
  ...elementwiseRules,
  ...blockRules,
  ...quantizedProductRules,
  ...quantizedRules,
  ...attentionRules,
  ...expandedAttentionRules,
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
  inferShapes(graph)
  const counts = applyRules(graph, rules, { masks: new Map(), dequantized: new Map(), unpacked: new Map() })
  tidy(graph)
  return counts
}
