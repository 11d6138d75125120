import { unsupported } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import { addOperatorNames } from '../ir/module-names.js'
import { applyRules } from '../ir/rewrite.js'
import { packTokens, paddingNote } from '../nn/token-packing.js'
import { type DType, dtypes } from '../numbers/dtype.js'
import { operatorOf } from '../ops/index.js'
import { capabilities, type TargetName } from './capabilities.js'
import type { LowerRule } from './rule.js'
import { attentionRules } from './rules/attention.js'
import { blockRules } from './rules/blocks.js'
import { elementwiseRules } from './rules/elementwise.js'
import { minimumBlockRules } from './rules/minimum-blocks.js'
import { quantizedRules } from './rules/quantized.js'
import { quantizedProductRules } from './rules/quantized-products.js'

export { type Capabilities, capabilities, type FusedOperator, type TargetName } from './capabilities.js'

const rules: readonly LowerRule[] = [
  ...quantizedRules,
  ...quantizedProductRules,
  ...minimumBlockRules,
  ...blockRules,
  ...attentionRules,
  ...elementwiseRules,
]

export interface LowerOptions {
  /** Names of values to keep as outputs. */
  readonly observe?: readonly string[]
}

/** Opset in which each dtype came into the standard, where that is later than the usual one. */
const dtypeOpsets: Partial<Record<DType, number>> = { float4e2m1: 23, float8e8m0: 24, int2: 25, uint2: 25 }

/** The opset that files are written in unless an operator or a dtype needs a later one. */
const usualOpset = 21

/**
 * A copy of a canonical graph in the operators that a runtime runs fastest.
 *
 * @throws TinsmithError `unsupported` when the runtime has no way to run it (operators named)
 */
export function lower(graph: Graph, target: TargetName, options: LowerOptions = {}): Graph {
  const record = capabilities[target]
  const lowered = graph.clone()
  const observed = (options.observe ?? []).map((name) => {
    const value = lowered.value(name)
    if (!value) throw unsupported(`there is no value ${name} to observe`)
    return value
  })
  for (const value of observed) if (!lowered.outputs.includes(value)) lowered.outputs.push(value)
  if (!observed.length && lowered.notes.has(paddingNote)) packTokens(lowered)
  applyRules(lowered, rules, { target: record, observed: new Set(observed), memo: new Map(), packed: new Map() })
  addOperatorNames(lowered)
  for (const node of lowered.allNodes()) if (node.domain) lowered.opsets.set(node.domain, lowered.opsets.get(node.domain) ?? 1)
  const needed = requiredOpset(lowered)
  if (needed.opset > record.opset)
    throw unsupported(`${needed.reason} needs opset ${needed.opset} and ${record.name} runs up to ${record.opset}`)
  lowered.opsets.set('', needed.opset)
  forgetShapes(lowered)
  return lowered
}

/**
 * Takes away what is known of values between inputs and outputs. Runtimes infer it again; ONNX Runtime infers less, and
 * then leaves additions and norms alone that it would fuse to a slower operator (SkipLayerNormalization).
 *
 * A cache is the exception: ONNX Runtime takes it to be as long after GroupQueryAttention as before, and would put the one
 * into memory that is the other's.
 */
function forgetShapes(graph: Graph): void {
  const kept = new Set([...graph.inputs, ...graph.outputs])
  for (const node of graph.allNodes())
    for (const output of node.type === 'com.microsoft.GroupQueryAttention' ? node.outputs.slice(0, 1) : node.outputs)
      if (!kept.has(output)) {
        output.dtype = null
        output.shape = null
      }
}

/** The lowest opset, 21 at least, that all operators and dtypes of a graph allow. */
export function requiredOpset(graph: Graph): { opset: number; reason: string } {
  let needed = { opset: usualOpset, reason: 'the usual form' }
  const consider = (opset: number, reason: string) => {
    if (opset > needed.opset) needed = { opset, reason }
  }
  for (const node of graph.allNodes()) {
    if (!node.domain) consider(operatorOf(node)?.since ?? graph.opsets.get('') ?? usualOpset, node.type)
    for (const value of [...node.inputs, ...node.outputs])
      if (value?.dtype) consider(dtypeOpsets[value.dtype] ?? 1, dtypes[value.dtype] && value.dtype)
  }
  return needed
}
