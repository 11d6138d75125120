import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { activation } from './activations.js'
import { linear, rmsNorm } from './layers.js'
import type { Net } from './net.js'

/** Sizes of a decoder with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward. */
export interface GatedDecoderShape {
  readonly hidden: number
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
  readonly epsilon: number
  readonly activation: string
  readonly attentionBias: boolean
  readonly feedForwardBias: boolean
  /** RMSNorm on each head of queries and keys (`q_norm`, `k_norm`). */
  readonly headNorms: boolean
}

/** Keys and values of earlier tokens, [batch, kvHeads, pastLength, headSize] each. */
export type Past = readonly [key: Value, value: Value]

/** What a layer reads beside its input. */
export interface LayerInputs {
  /** Bool [batch, 1, queries, keys]. */
  readonly mask: Value
  /** int64 [batch, tokens] */
  readonly positions: Value
  /** Cosines and sines. */
  readonly tables: readonly [Value, Value]
  readonly past: Past | undefined
  /** Number of the layer, for the names of what it adds to the cache. */
  readonly index: number
}

/** One layer: attention and feed-forward, each behind a norm and added to the stream. */
export function gatedDecoderLayer(net: Net, shape: GatedDecoderShape, x: Value, inputs: LayerInputs): Value {
  const { hidden, epsilon } = shape
  const attended = attention(net.at('self_attn'), shape, rmsNorm(net.at('input_layernorm'), x, hidden, epsilon), inputs)
  const middle = net.op('Add', [x, attended])
  return net.op('Add', [middle, feedForward(net.at('mlp'), shape, rmsNorm(net.at('post_attention_layernorm'), middle, hidden, epsilon))])
}

function attention(net: Net, shape: GatedDecoderShape, x: Value, { mask, positions, tables, past, index }: LayerInputs): Value {
  const { hidden, heads, kvHeads, headSize, attentionBias } = shape
  const project = (name: string, count: number) => linear(net.at(name), x, hidden, count * headSize, attentionBias)
  const normed = (name: string, value: Value, count: number) =>
    shape.headNorms ? headNorm(net.at(name), value, count, headSize, shape.epsilon) : value
  const rotated = (value: Value, count: number) => net.op('RotaryEmbedding', [value, ...tables, positions], { num_heads: int(count) })
  const query = rotated(normed('q_norm', project('q_proj', heads), heads), heads)
  const key = rotated(normed('k_norm', project('k_proj', kvHeads), kvHeads), kvHeads)
  const attributes = { q_num_heads: int(heads), kv_num_heads: int(kvHeads) }
  const context = cachedAttention(net, [query, key, project('v_proj', kvHeads), mask], attributes, past, index)
  return linear(net.at('o_proj'), context, heads * headSize, hidden, attentionBias)
}

/**
 * Attention on [query, key, value, mask]; with a cache its keys and values come first, and all of them become the outputs
 * `present.INDEX.key` and `present.INDEX.value` of the graph.
 */
export function cachedAttention(
  net: Net,
  inputs: readonly Value[],
  attributes: Parameters<Net['op']>[2],
  past: Past | undefined,
  index: number,
): Value {
  if (!past) return net.op('Attention', inputs, attributes)
  const [context, presentKey, presentValue] = net.ops('Attention', [...inputs, ...past], {
    attributes,
    outputs: [net.path('attention'), `present.${index}.key`, `present.${index}.value`],
  })
  net.graph.outputs.push(presentKey, presentValue)
  return context
}

/** RMSNorm on each head of [batch, tokens, heads * size]. */
function headNorm(net: Net, x: Value, heads: number, size: number, epsilon: number): Value {
  const split = net.op('Reshape', [x, net.ints([0, 0, heads, size])])
  return net.op('Reshape', [rmsNorm(net, split, size, epsilon), net.ints([0, 0, heads * size])])
}

function feedForward(net: Net, { hidden, inner, activation: name, feedForwardBias: bias }: GatedDecoderShape, x: Value): Value {
  const gate = linear(net.at('gate_proj'), x, hidden, inner, bias)
  const up = linear(net.at('up_proj'), x, hidden, inner, bias)
  return linear(net.at('down_proj'), net.op('Mul', [activation(net, name, gate), up]), inner, hidden, bias)
}
