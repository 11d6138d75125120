import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { reached, throughCarriers } from './walk.js'

/** What mixes tokens in a block; so far attention, fused or expanded: the handles are the same. */
export interface Mixer {
  readonly kind: 'attention'
  /** Attention, or the Softmax of the expanded form. */
  readonly node: Node
  readonly query: Value
  readonly key: Value
  readonly value: Value
  /** What attention gives back, before the output linear. */
  readonly context: Value
  /** Before the softmax; null inside a fused Attention. */
  readonly scores: Value | null
  readonly probabilities: Value | null
  readonly heads: number | null
  readonly kvHeads: number | null
}

export function findMixers(graph: Graph): Mixer[] {
  return [...graph.nodes()].flatMap((node) => fused(node) ?? expanded(node) ?? [])
}

function fused(node: Node): Mixer | null {
  if (node.type !== 'Attention') return null
  const [query, key, value] = node.inputs as Value[]
  const heads = node.int('q_num_heads') ?? fixed(query, 1)
  const kvHeads = node.int('kv_num_heads') ?? fixed(key, 1)
  return { kind: 'attention', node, query, key, value, context: node.output, scores: null, probabilities: null, heads, kvHeads }
}

function expanded(node: Node): Mixer | null {
  if (node.type !== 'Softmax') return null
  const scores = node.input(0)!
  const product = throughCarriers(scores, (value) => value.producer?.type === 'MatMul').producer ?? maskedProduct(scores)
  const mixing = reached(node.output).find((user) => user.type === 'MatMul')
  const matrix = product?.type === 'MatMul' ? product : maskedProduct(scores)
  if (!matrix || !mixing) return null
  const [query, key] = [matrix.input(0)!, matrix.input(1)!]
  const value = mixing.input(1)!
  return {
    kind: 'attention',
    node,
    query,
    key,
    value,
    context: mixing.output,
    scores,
    probabilities: node.output,
    heads: fixed(query, 1),
    kvHeads: fixed(value, 1),
  }
}

/** The score product behind the addition or selection of a computed mask. */
function maskedProduct(scores: Value): Node | null {
  const mask = scores.producer
  if (mask?.type !== 'Add' && mask?.type !== 'Where') return null
  for (const input of mask.inputs) {
    const root = input && throughCarriers(input, (value) => value.producer?.type === 'MatMul').producer
    if (root?.type === 'MatMul') return root
  }
  return null
}

function fixed(value: Value, axis: number): number | null {
  const dim = value.shape?.length === 4 ? value.shape[axis] : undefined
  return typeof dim === 'number' ? dim : null
}
