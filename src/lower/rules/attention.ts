import { type Attributes, float, int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { maskedScores } from '../../nn/attention-spelling.js'
import { paddingOf } from '../../nn/masks.js'
import { Net } from '../../nn/net.js'
import { ndarray } from '../../numbers/dtype.js'
import type { LowerRule, MaskInputs } from '../rule.js'

/** Neither causal nor capped, on [batch, tokens, channels], with nothing but the result wanted. */
export const isPlain = (node: Node) =>
  !node.int('is_causal', 0) &&
  !node.float('softcap', 0) &&
  !node.int('qk_matmul_output_mode', 0) &&
  node.inputs.slice(0, 3).every((input) => input?.shape?.length === 3)

/** The attribute `scale`, where the node has it. */
export function scaleOf(node: Node): Attributes {
  const scale = node.float('scale')
  return scale === undefined ? {} : { scale: float(scale) }
}

/** Attention of encoders: keys are masked by padding alone or not at all. */
const multiHead: LowerRule = {
  name: 'multi-head-attention',
  at: ['Attention'],
  rewrite(node, graph, { target }) {
    const heads = node.int('q_num_heads')
    const padding = paddingOf(node.input(3))
    if (!target.fused.has('MultiHeadAttention') || !isPlain(node) || heads !== node.int('kv_num_heads') || node.input(4) || node.input(5))
      return false
    if (node.input(3) && !padding) return false
    const net = new Net(graph, undefined, node.name)
    const mask = padding && net.op('Cast', [padding], { to: int(6) }, { before: node })
    const attributes = { num_heads: int(heads!), ...scaleOf(node) }
    const [query, key, value] = node.inputs
    const inputs = padding ? [query, key, value, null, mask] : [query, key, value]
    graph.replace(node, net.op('MultiHeadAttention', inputs, attributes, { domain: 'com.microsoft', before: node }))
    return true
  },
}

/** Attention of decoders with a cache, any mask, and fewer key heads than query heads. */
const groupQuery: LowerRule = {
  name: 'group-query-attention',
  at: ['Attention'],
  rewrite(node, graph, { target, memo }) {
    const [query, key, value, mask, pastKey, pastValue] = node.inputs
    if (!target.fused.has('GroupQueryAttention') || !isPlain(node) || !mask || !pastKey || !pastValue || mask.dtype !== 'bool') return false
    if (!hasKernelHeadSize(pastKey)) return false
    const net = new Net(graph, undefined, node.name)
    const { bias, total, lengths } = maskInputs(mask, query!, graph, memo)
    const outputs = net.ops('GroupQueryAttention', [query, key, value, pastKey, pastValue, lengths, total, null, null, null, bias], {
      domain: 'com.microsoft',
      attributes: {
        num_heads: int(node.int('q_num_heads')!),
        kv_num_heads: int(node.int('kv_num_heads')!),
        ...scaleOf(node),
      },
      outputs: ['attention', 'present_key', 'present_value'],
      before: node,
    })
    node.outputs.forEach((output, i) => void graph.replaceAllUses(output, outputs[i]))
    graph.remove(node)
    return true
  },
}

/** The kernel takes heads of multiples of 8. */
function hasKernelHeadSize({ shape }: Value): boolean {
  const size = shape?.at(-1)
  return typeof size === 'number' && size % 8 === 0
}

/** What GroupQueryAttention wants instead of a mask [batch, 1, queries, keys], in the query's dtype; made once for each mask. */
function maskInputs(mask: Value, query: Value, graph: Graph, memo: Map<Value, MaskInputs>): MaskInputs {
  const known = memo.get(mask)
  if (known) return known
  const net = new Net(graph)
  const place = { before: mask.producer?.next ?? graph.first! }
  const length = (axis: number) => net.op('Shape', [mask], { start: int(axis), end: int(axis + 1) }, place)
  const keys = net.op('Squeeze', [length(3), net.ints([0])], {}, place)
  const last = net.op('Cast', [net.op('Sub', [keys, net.ints(1)], {}, place)], { to: int(6) }, place)
  const inputs = {
    bias: net.op('Where', [mask, ...biasConstants(net, query)], {}, place),
    total: net.op('Cast', [keys], { to: int(6) }, place),
    lengths: net.op('Expand', [last, length(0)], {}, place),
  }
  memo.set(mask, inputs)
  return inputs
}

/** What is added to the scores of visible and of masked keys. */
function biasConstants(net: Net, { dtype }: Value): [Value, Value] {
  if (dtype !== 'float16') return [net.float(0), net.float(maskedScores.float32)]
  const half = (name: string, value: number) => net.constant(name, ArrayTensor.of(ndarray('float16', [], [value])))
  return [half('float16_0', 0), half('float16_lowest', maskedScores.float16)]
}

/** Rotary positions by the operator that every opset of the runtime has; it takes the positions second. */
const rotary: LowerRule = {
  name: 'rotary-embedding',
  at: ['RotaryEmbedding'],
  rewrite(node, graph, { target }) {
    const [x, cos, sin, positions] = node.inputs
    if (!target.fused.has('RotaryEmbedding') || !positions) return false
    const net = new Net(graph, undefined, node.name)
    const rotated = net.op('RotaryEmbedding', [x, positions, cos, sin], node.attributes, { domain: 'com.microsoft', before: node })
    graph.replace(node, rotated)
    return true
  },
}

export const attentionRules: readonly LowerRule[] = [multiHead, groupQuery, rotary]
