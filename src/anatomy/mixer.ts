import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { isCarrier, reached, throughCarriers } from './walk.js'

/** What mixes tokens in a block; so far attention, fused or expanded: the handles are the same. */
export interface Mixer {
  readonly kind: 'attention'
  /** Attention, or the Softmax of the expanded form. */
  readonly node: Node
  readonly query: Value
  /** Of the tokens at hand, without those of a cache. */
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
  const product = scoreProduct(scores)
  const mixing = reached(node.output).find((user) => user.type === 'MatMul')
  if (!product || !mixing) return null
  const query = product.input(0)!
  const [key, value] = [ownTokens(product.input(1)!), ownTokens(mixing.input(1)!)]
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

/** The product behind scores, their scale, a soft cap and at most two additions or selections of computed masks. */
function scoreProduct(scores: Value, masks = 2): Node | null {
  const node = throughCarriers(scores, (value) => value.producer?.type === 'MatMul').producer
  if (node?.type === 'MatMul') return node
  if (node?.type === 'Tanh') return scoreProduct(node.input(0)!, masks)
  if (!masks || (node?.type !== 'Add' && node?.type !== 'Where')) return null
  for (const input of node.inputs) {
    const product = input && scoreProduct(input, masks - 1)
    if (product) return product
  }
  return null
}

/** Keys or values of the tokens at hand, before those of a cache come in front and before heads that are shared are repeated. */
function ownTokens(value: Value): Value {
  let own = value
  for (let node = value.producer; node; node = node.input(0)?.producer ?? null) {
    if (node.type === 'Concat') return node.inputs.at(-1)!
    if (!isCarrier(node) || node.output.shape?.length === 3) return own
    if (node.type === 'Unsqueeze') own = node.input(0)!
  }
  return own
}

function fixed(value: Value, axis: number): number | null {
  const dim = value.shape?.length === 4 ? value.shape[axis] : undefined
  return typeof dim === 'number' ? dim : null
}
