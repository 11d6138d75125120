import { float, int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { paddingMask } from '../../nn/masks.js'
import { Net } from '../../nn/net.js'
import type { RaiseContext, RaiseRule } from '../rule.js'

/** Attention of com.microsoft whose mask is the padding of the keys. */
const multiHead: RaiseRule = {
  name: 'multi-head-attention',
  at: ['com.microsoft.MultiHeadAttention'],
  rewrite(node, graph, context) {
    const [query, key, value, bias, padding] = node.inputs
    const more = node.inputs.slice(5).some(Boolean) || node.outputs.slice(1).some((output) => output.uses.size)
    const attentionMask = padding && producedBy(padding, 'Cast')?.input(0)
    if (more || bias || node.int('unidirectional', 0) || !query || !key || !value || (padding && attentionMask?.shape?.length !== 2))
      return false
    const heads = node.int('num_heads', 0)
    const net = new Net(graph, undefined, node.name)
    const inputs = attentionMask ? [query, key, value, maskOf(attentionMask, node, graph, context)] : [query, key, value]
    const attributes = { q_num_heads: int(heads), kv_num_heads: int(heads), ...scaleOf(node) }
    graph.replace(node, net.op('Attention', inputs, attributes, { before: node }))
    return true
  },
}

/** The attribute `scale`, where it is not the usual 1 / sqrt(head size). */
export function scaleOf(node: Node) {
  const scale = node.float('scale', 0)
  return scale ? { scale: float(scale) } : undefined
}

/** The mask [batch, 1, 1, keys] of a padding [batch, keys], made before the first node that needs it. */
export function maskOf(padding: Value, node: Node, graph: Graph, { masks }: RaiseContext): Value {
  const known = masks.get(padding)
  if (known) return known
  const part = new Net(graph)
  const mask = paddingMask(part, padding, { before: node })
  masks.set(padding, mask)
  return mask
}

/** Grouped-query attention whose bias selects by a mask. */
const groupQuery: RaiseRule = {
  name: 'group-query-attention',
  at: ['com.microsoft.GroupQueryAttention'],
  rewrite(node, graph) {
    const [query, key, value, pastKey, pastValue] = node.inputs
    const select = producedBy(node.input(10), 'Where')
    const mask = select && isMaskedScore(select.input(2)) && isZero(select.input(1)) ? select.input(0) : null
    const special =
      node.int('do_rotary', 0) || node.float('softcap', 0) || node.int('local_window_size', -1) > 0 || node.inputs.slice(11).some(Boolean)
    if (!mask || special || !query || !key || !value || !pastKey || !pastValue) return false
    const net = new Net(graph, undefined, node.name)
    const attributes = { q_num_heads: int(node.int('num_heads', 0)), kv_num_heads: int(node.int('kv_num_heads', 0)), ...scaleOf(node) }
    const outputs = net.ops('Attention', [query, key, value, mask, pastKey, pastValue], {
      attributes,
      outputs: ['attention', 'present_key', 'present_value'],
      before: node,
    })
    node.outputs.forEach((output, i) => void graph.replaceAllUses(output, outputs[i]))
    graph.remove(node)
    return true
  },
}

const scalar = (value: Value | null) => (value?.tensor?.elements && value.tensor.size === 1 ? Number(value.tensor.elements[0]) : undefined)
const isZero = (value: Value | null) => scalar(value) === 0
const isMaskedScore = (value: Value | null) => (scalar(value) ?? 0) < (value?.dtype === 'float16' ? -6e4 : -1e37)

const rotary: RaiseRule = {
  name: 'rotary-embedding',
  at: ['com.microsoft.RotaryEmbedding'],
  rewrite(node, graph) {
    const [x, positions, cos, sin] = node.inputs
    if (positions?.shape?.length !== 2 || node.float('scale', 1) !== 1) return false
    const { num_heads, interleaved, rotary_embedding_dim } = node.attributes
    const attributes = Object.fromEntries(
      Object.entries({ num_heads, interleaved, rotary_embedding_dim }).filter(([, attribute]) => attribute),
    )
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('RotaryEmbedding', [x, cos, sin, positions], attributes, { before: node }))
    return true
  },
}

export const attentionRules: readonly RaiseRule[] = [multiHead, groupQuery, rotary]
