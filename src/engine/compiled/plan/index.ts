import type { Graph } from '../../../ir/graph.js'
import type { Node, Value } from '../../../ir/node.js'
import { type Fusions, fused } from './fuse.js'
import { withKeep } from './keep.js'
import { likeliest, type Plan, planFrom } from './plan.js'
import { attentionRules } from './rules/attention.js'
import { elementwiseRules } from './rules/elementwise.js'
import { embeddingRules } from './rules/embeddings.js'
import { layoutRules } from './rules/layout.js'
import { linearRules } from './rules/linears.js'
import { normRules } from './rules/norms.js'
import { patchRules } from './rules/patches.js'
import { poolingRules } from './rules/pooling.js'
import { quantizedRules } from './rules/quantized.js'
import { type AttentionProducts, type CacheDtype, type Step, type View, whole } from './steps.js'
import { missingOperators, type TranslationRule, Translator } from './translator.js'
import { verifyPlan } from './verify.js'

const families = [
  quantizedRules,
  embeddingRules,
  linearRules,
  elementwiseRules,
  normRules,
  attentionRules,
  poolingRules,
  patchRules,
  layoutRules,
]

/** All rules for a type of node, in the order in which they are tried. */
const rules = new Map<string, TranslationRule[]>()
for (const family of families) for (const [type, rule] of Object.entries(family)) rules.set(type, [...(rules.get(type) ?? []), rule])

export interface PlanOptions {
  /** What keys and values are kept as. Default `float32`; `int8` takes 27 % of its bytes where heads have 64 columns. */
  readonly cache?: CacheDtype
  /**
   * What attention without caches and soft caps multiplies. Default `float32`; `int8` is faster and changes numbers a little (MiniLM's vectors keep a
   * cosine of 0.9998 on sentences, 0.999 on texts of 512 tokens; with int8 products, whose codes round anew, 0.9986).
   */
  readonly attention?: AttentionProducts
}

/**
 * Turns a canonical graph into steps over rows of tokens without padding.
 *
 * @param fusions what steps may do at once: those that the backend has
 * @throws TinsmithError `unsupported` that names all operators for which there are no kernels
 */
export async function planOf(
  graph: Graph,
  fusions: Fusions = {},
  { cache = 'float32', attention = 'float32' }: PlanOptions = {},
): Promise<Plan> {
  const translator = new Translator(graph, cache, attention)
  for (const input of graph.inputs) meanInput(input, translator)
  const missing: Node[] = []
  for (const node of neededNodes(graph)) if (!(await translate(node, translator))) missing.push(node)
  const outputs = new Map<string, View>()
  for (const output of graph.outputs) {
    if (translator.meaning(output)?.kind === 'cache') continue
    const rows = translator.rows(output)
    if (rows) outputs.set(output.name, rows.view)
    else if (output.producer && !missing.includes(output.producer)) missing.push(output.producer)
  }
  if (missing.length) throw missingOperators(missing)
  const { caches, images, tokens } = translator
  translator.prune([...outputs.values()])
  const isDecoder = caches.length > 0 && [...outputs.values()].every(({ buffer }) => buffer.per === 'token')
  const joined = fused(translator.steps, [...outputs.values()], fusions)
  const steps = isDecoder ? withLikeliest(withKeep(joined, [...outputs.values()]), outputs) : joined
  const plan = planFrom({ steps, outputs, images, caches, tokens })
  verifyPlan(plan)
  return plan
}

/** Adds that output where there are logits. */
function withLikeliest(steps: readonly Step[], outputs: Map<string, View>): readonly Step[] {
  const input = outputs.get('logits')
  if (!input) return steps
  const output = whole({ name: likeliest, per: input.buffer.per, columns: 1, dtype: 'float32' })
  outputs.set(likeliest, output)
  return [...steps, { kind: 'largest', name: likeliest, input, output }]
}

async function translate(node: Node, translator: Translator): Promise<boolean> {
  for (const rule of rules.get(node.type) ?? []) if (await rule(node, translator)) return true
  if (node.type !== 'Shape' && !node.inputs.every((input) => translator.isHost(input))) return false
  const isMask = ['Unsqueeze', 'Squeeze', 'Reshape'].includes(node.type) && translator.meaning(node.input(0))?.kind === 'ones'
  for (const output of node.outputs) translator.mean(output, { kind: isMask ? 'ones' : 'host' })
  return true
}

function meanInput(input: Value, translator: Translator): void {
  const { name, shape, dtype } = input
  const cached = /^past_key_values\.(\d+)\.(key|value)$/.exec(name)
  if (cached && shape) {
    const [layer, part] = [Number(cached[1]), cached[2] === 'key' ? 'keys' : 'values'] as const
    const heads = Number(shape[1])
    const columns = { [part === 'keys' ? 'keyColumns' : 'valueColumns']: heads * Number(shape[3]) }
    const scales = translator.cacheDtype === 'int8' && { scales: heads }
    translator.caches[layer] = { ...(translator.caches[layer] ?? { keyColumns: 0, valueColumns: 0 }), ...columns, ...scales }
    translator.mean(input, { kind: 'cache', layer, part })
    return
  }
  if (dtype === 'float32' && shape?.length === 4)
    translator.images.set(
      name,
      shape.slice(1).reduce<number>((a, b) => a * Number(b), 1),
    )
  translator.mean(input, { kind: 'host' })
}

/** Nodes that outputs depend on, in the graph's order. */
function neededNodes(graph: Graph): Node[] {
  const needed = new Set<Node>()
  const pending = graph.outputs.flatMap(({ producer }) => (producer ? [producer] : []))
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (needed.has(node)) continue
    needed.add(node)
    for (const input of node.inputs) if (input?.producer) pending.push(input.producer)
  }
  return [...graph.nodes()].filter((node) => needed.has(node))
}
