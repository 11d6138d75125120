/** Attention, its rotary positions, and what else mixes tokens by state: linear attention, causal convolution. */
import { badInput } from '../base/errors.js'
import { addDims, type Dim, divideDims, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import {
  type AttentionOptions,
  appendHeads,
  attend,
  attentionStages,
  type Heads,
  headsArray,
  mergeHeads,
  rotate,
  toHeads,
} from './attention-core.js'
import { factsAt, type InputFacts, sameFacts } from './facts.js'
import { attention as attentionExpansion } from './gradients/attention.js'
import { rotaryEmbeddingGradient } from './gradients/rotary.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { broadcastStrides, integersOf, required } from './support.js'

/** Symbolic [batch, heads, length, size] of an input, which may be packed as [batch, length, heads * size]. */
function headShape(shape: readonly Dim[] | null, heads: number | undefined): Dim[] | null {
  if (!shape) return null
  if (shape.length === 4) return [...shape]
  if (shape.length !== 3 || !heads) throw badInput(`an input of shape [${shape.join(', ')}] needs the number of heads`)
  return [shape[0], heads, shape[1], divideDims(shape[2], heads)]
}

function inferAttention(node: Node, inputs: InputFacts): ValueFacts[] {
  const [query, key, value, , pastKey] = [0, 1, 2, 3, 4].map((i) => factsAt(inputs, i))
  const kvHeads = node.int('kv_num_heads')
  const q = headShape(query.shape, node.int('q_num_heads'))
  const [k, v] = [headShape(key.shape, kvHeads), headShape(value.shape, kvHeads)]
  const past: Dim | null = inputs[4] ? (pastKey.shape?.[2] ?? null) : 0
  const present = (heads: Dim[] | null): Dim[] | null =>
    heads && past !== null ? [heads[0], heads[1], addDims(past, heads[2]), heads[3]] : null
  const merged = q && v && [q[0], q[2], multiplyDims(q[1], v[3])]
  const separate = q && v && [q[0], q[1], q[2], v[3]]
  const scores = q && k && past !== null ? [q[0], q[1], q[2], addDims(past, k[2])] : null
  return [
    { dtype: query.dtype, shape: query.shape?.length === 3 ? merged : separate },
    { dtype: key.dtype, shape: present(k) },
    { dtype: value.dtype, shape: present(v) },
    { dtype: query.dtype, shape: scores },
  ]
}

function evaluateAttention(node: Node, inputs: readonly (NDArray | null)[]): NDArray[] {
  const [q, k, v] = [0, 1, 2].map((i) => required(inputs, i))
  const [mask, pastKey, pastValue, validLengths] = [3, 4, 5, 6].map((i) => inputs[i] ?? null)
  const kvHeads = node.int('kv_num_heads')
  const query = toHeads(q, node.int('q_num_heads'))
  const key = appendHeads(pastKey && toHeads(pastKey), toHeads(k, kvHeads))
  const value = appendHeads(pastValue && toHeads(pastValue), toHeads(v, kvHeads))
  const visible = visibility(node, query, key, pastKey?.shape[2] ?? 0, validLengths && integersOf(validLengths))
  const added = mask && maskBias(mask, query, key)
  const keep = node.outputs[3]?.name ? attentionStages[node.int('qk_matmul_output_mode', 0)] : undefined
  const { output, kept } = attend(query, key, value, {
    scale: node.float('scale', 1 / Math.sqrt(query.size)),
    softcap: node.float('softcap', 0),
    bias: (b, h, i, j) => (visible(b, i, j) ? (added ? added(b, h, i, j) : 0) : Number.NEGATIVE_INFINITY),
    keep,
  })
  return [
    q.shape.length === 3 ? mergeHeads(output, q.dtype) : headsArray(output, q.dtype),
    headsArray(key, k.dtype),
    headsArray(value, v.dtype),
    ...(keep ? [headsArray(kept, q.dtype)] : []),
  ]
}

/** Which keys each query may see by causality, window and valid lengths; positions count from the end of the valid keys. */
function visibility(
  node: Node,
  query: Heads,
  key: Heads,
  past: number,
  validLengths: readonly number[] | null,
): (b: number, i: number, j: number) => boolean {
  const causal = node.int('is_causal', 0) === 1
  const [left, right] = [node.int('left_window_size', -1), node.int('right_window_size', -1)]
  return (b, i, j) => {
    const valid = validLengths?.[b] ?? key.length
    const position = i + (validLengths ? valid - query.length : past)
    if (j >= valid || (causal && j > position)) return false
    return (left < 0 || j >= position - left) && (right < 0 || j <= position + right)
  }
}

/** A mask that broadcasts to [batch, heads, queries, keys] as a bias; keys beyond its last dimension are hidden. */
function maskBias(mask: NDArray, query: Heads, key: Heads): NonNullable<AttentionOptions['bias']> {
  const width = mask.shape.at(-1)!
  const full = [query.batch, query.heads, query.length, width]
  const [sb, sh, si, sj] = broadcastStrides(mask.shape, full)
  const [values, boolean] = [numbersOf(mask), mask.dtype === 'bool']
  const length = width === 1 ? key.length : width
  return (b, h, i, j) => {
    if (j >= length) return Number.NEGATIVE_INFINITY
    const value = values[b * sb + h * sh + i * si + j * sj]
    return boolean ? (value ? 0 : Number.NEGATIVE_INFINITY) : value
  }
}

const attention = operator({
  name: 'Attention',
  since: 23,
  gradient: attentionExpansion,
  infer: inferAttention,
  evaluate: evaluateAttention,
})

const rotaryEmbedding = operator({
  name: 'RotaryEmbedding',
  since: 23,
  gradient: rotaryEmbeddingGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const [x, cosines, sines] = [0, 1, 2].map((i) => required(inputs, i))
    const positions = inputs[3] && integersOf(inputs[3])
    const heads = toHeads(x, node.int('num_heads'))
    const half = (node.int('rotary_embedding_dim', 0) || heads.size) / 2
    if (cosines.shape.at(-1) !== half) throw badInput(`tables of width ${cosines.shape.at(-1)} do not fit ${half} rotated pairs`)
    const row = (b: number, t: number) => (positions ? positions[b * heads.length + t] : b * heads.length + t)
    const rotated = rotate(heads, { cosines, sines, row, interleaved: node.int('interleaved', 0) === 1 })
    return [x.shape.length === 3 ? mergeHeads(rotated, x.dtype) : headsArray(rotated, x.dtype)]
  },
})

/** Attention operators of the standard. */
export const attentions: readonly Operator[] = [attention, rotaryEmbedding]
