/** ONNX Runtime's fused attention (domain com.microsoft), grouped queries with a cache, and its integer form. */
import { badInput, unsupported } from '../base/errors.js'
import { addDims, type Dim, divideDims, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type DType, type NDArray, numbersOf } from '../numbers/dtype.js'
import {
  type AttentionOptions,
  appendHeads,
  attend,
  type Heads,
  headsArray,
  headsOf,
  mergeHeads,
  partOf,
  rotate,
  toHeads,
} from './attention-core.js'
import { factsAt, freshDim, type InputFacts } from './facts.js'
import * as gradients from './gradients/microsoft-attention.js'
import { addPerColumn, matrixProduct, type RealArray, realsOf } from './matrix.js'
import { microsoft } from './microsoft.js'
import { centredMatrix } from './quantization.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, broadcastStrides, integersOf, required, scalarOf } from './support.js'

type Bias = NonNullable<AttentionOptions['bias']>

/** What a hidden key's score gets where the kernel has no mask value of its own. */
const lowest = -3.4028234663852886e38

/**
 * The bias of a padding mask: [batch] lengths, [2 * batch] ends and starts, [batch, keys], [batch, queries, keys] or
 * [batch, 1, positions, positions]; `filter` is added where a key is hidden.
 */
function paddingBias(mask: NDArray, batch: number, keys: number, past: number, filter: number): Bias {
  const entries = integersOf(mask)
  const hide = (visible: boolean) => (visible ? 0 : filter)
  const { shape } = mask
  switch (shape.length) {
    case 1: {
      const starts = shape[0] === 2 * batch ? entries.slice(batch) : null
      return (b, _, __, j) => hide(j < entries[b] && (!starts || j >= starts[b]))
    }
    case 2:
      return (b, _, __, j) => hide(entries[b * keys + j] > 0)
    case 3:
      return (b, _, i, j) => hide(entries[(b * shape[1] + i) * keys + j] > 0)
    default:
      return (b, _, i, j) => hide(entries[(b * shape[2] + past + i) * shape[3] + j] > 0)
  }
}

/** The bias of an array that broadcasts to [batch, heads, queries, keys]. */
function arrayBias(array: NDArray, query: Heads): Bias {
  const values = numbersOf(array)
  const full = [query.batch, query.heads, array.shape[2], array.shape[3]]
  const [sb, sh, si, sj] = broadcastStrides(array.shape, full)
  return (b, h, i, j) => values[b * sb + h * sh + i * si + j * sj]
}

/** The sum of padding mask, causal mask and attention bias, as the kernels of Attention and MultiHeadAttention add them up. */
function combinedBias(node: Node, query: Heads, keys: number, past: number, mask: NDArray | null, added: NDArray | null): Bias {
  const filter = node.float('mask_filter_value', -10000)
  const padding = mask && paddingBias(mask, query.batch, keys, past, filter)
  const extra = added && arrayBias(added, query)
  const causal = node.int('unidirectional', 0) === 1
  return (b, h, i, j) => {
    const shown = padding ? padding(b, h, i, j) : 0
    const masked = causal && j > past + i ? lowest : shown
    return masked + (extra ? extra(b, h, i, j) : 0)
  }
}

function scaleOf(node: Node, size: number): number {
  return node.float('scale', 0) || 1 / Math.sqrt(size)
}

/** Attention on a packed projection [batch, length, q + k + v] with a stacked cache [2, batch, heads, past, size]. */
function attendPacked(
  node: Node,
  projection: RealArray,
  dtype: DType,
  mask: NDArray | null,
  past: NDArray | null,
  added: NDArray | null,
): NDArray[] {
  if (node.int('do_rotary', 0)) throw unsupported(`${node.type} with do_rotary has no reference here`)
  if (node.int('past_present_share_buffer', 0)) throw unsupported(`${node.type} with a shared cache has no reference here`)
  const heads = node.int('num_heads', 1)
  const width = projection.shape[2] / 3
  const [q, k, v] = node.ints('qkv_hidden_sizes') ?? [width, width, width]
  const part = (start: number, size: number) => partOf(projection.values, projection.shape, start, heads, size / heads)
  const query = part(0, q)
  const [pastKey, pastValue] = past ? stacked(past) : [null, null]
  const [key, value] = [appendHeads(pastKey, part(q, k)), appendHeads(pastValue, part(q + k, v))]
  const { output } = attend(query, key, value, {
    scale: scaleOf(node, query.size),
    bias: combinedBias(node, query, key.length, pastKey?.length ?? 0, mask, added),
  })
  const present = arrayOf(dtype, [2, key.batch, heads, key.length, key.size], [...key.values, ...value.values])
  return [mergeHeads(output, dtype), present]
}

/** Keys and values of a cache [2, batch, heads, length, size]. */
function stacked(past: NDArray): [Heads, Heads] {
  const [, batch, heads, length, size] = past.shape
  const values = Float64Array.from(numbersOf(past))
  const half = values.length / 2
  return [headsOf(batch, heads, length, size, values.slice(0, half)), headsOf(batch, heads, length, size, values.slice(half))]
}

/** Facts of attention on a packed projection whose weight [input, q + k + v] is input 1. */
function packedFacts(node: Node, inputs: InputFacts, dtype: DType | null, pastIndex: number): ValueFacts[] {
  const [x, weight, past] = [factsAt(inputs, 0).shape, factsAt(inputs, 1).shape, inputs[pastIndex]]
  if (!x || !weight) return [{ dtype, shape: null }]
  const sizes = node.ints('qkv_hidden_sizes')
  const [k, v] = sizes ? sizes.slice(1) : [divideDims(weight[1], 3), divideDims(weight[1], 3)]
  const heads = node.int('num_heads', 1)
  const length = past ? past.shape && addDims(past.shape[3], x[1]) : x[1]
  return [
    { dtype, shape: [x[0], x[1], v] },
    { dtype, shape: length ? [2, x[0], heads, length, divideDims(k, heads)] : null },
  ]
}

const attention = operator({
  name: 'Attention',
  domain: microsoft,
  since: 1,
  gradient: gradients.packedAttention,
  infer: (node, inputs) => packedFacts(node, inputs, factsAt(inputs, 0).dtype, 4),
  evaluate: (node, inputs) => {
    const [x, weight] = [required(inputs, 0), required(inputs, 1)]
    const projection = matrixProduct(realsOf(x), realsOf(weight))
    if (inputs[2]) addPerColumn(projection, numbersOf(inputs[2]))
    return attendPacked(node, projection, x.dtype, inputs[3] ?? null, inputs[4] ?? null, inputs[5] ?? null)
  },
})

const qAttention = operator({
  name: 'QAttention',
  domain: microsoft,
  since: 1,
  gradient: gradients.qAttention,
  infer: (node, inputs) => packedFacts(node, inputs, factsAt(inputs, 3).dtype, 8),
  evaluate: (node, inputs) => {
    const [x, weight, bias, xScale, weightScale] = [0, 1, 2, 3, 4].map((i) => required(inputs, i))
    const product = matrixProduct(centredMatrix(x, inputs[6], 'rows'), centredMatrix(weight, inputs[7], 'columns'))
    const [scales, columns] = [numbersOf(weightScale), product.shape[2]]
    const values = product.values.map((sum, i) => sum * scalarOf(xScale) * scales[scales.length === 1 ? 0 : i % columns])
    const projection = { shape: product.shape, values }
    addPerColumn(projection, numbersOf(bias))
    return attendPacked(node, projection, xScale.dtype, inputs[5] ?? null, inputs[8] ?? null, null)
  },
})

/** Query, key and value of MultiHeadAttention before the cache, in any of its packings. */
function unpackedHeads(node: Node, inputs: readonly (NDArray | null)[]): [Heads, Heads, Heads] {
  const [heads, q, k, v] = [node.int('num_heads', 1), required(inputs, 0), inputs[1], inputs[2]]
  const bias = inputs[3] ? numbersOf(inputs[3]) : null
  if (q.shape.length === 5) return interleaved(q, 3, bias) as [Heads, Heads, Heads]
  const width = q.shape[2]
  const query = toHeads(withBias(q, bias, 0), heads)
  if (!k) throw badInput('input 1 (key) is missing')
  if (k.shape.length === 5) return [query, ...(interleaved(k, 2, null) as [Heads, Heads])]
  if (!v) throw badInput('input 2 (value) is missing')
  if (k.shape.length === 4) return [query, toHeads(k), toHeads(v)]
  return [query, toHeads(withBias(k, bias, width), heads), toHeads(withBias(v, bias, width + k.shape[2]), heads)]
}

function withBias(array: NDArray, bias: ArrayLike<number> | null, start: number): NDArray {
  if (!bias) return array
  const [width, values] = [array.shape[2], numbersOf(array)]
  return { dtype: 'float64', shape: array.shape, data: Float64Array.from(values, (value, i) => value + bias[start + (i % width)]) }
}

/** The parts of an array [batch, length, heads, parts, size]. */
function interleaved(array: NDArray, parts: number, bias: ArrayLike<number> | null): Heads[] {
  const [batch, length, heads, , size] = array.shape
  const values = numbersOf(array)
  return Array.from({ length: parts }, (_, part) => {
    const result = headsOf(batch, heads, length, size)
    for (let i = 0; i < result.values.length; i++) {
      const [d, t, h] = [i % size, Math.floor(i / size) % length, Math.floor(i / size / length) % heads]
      const b = Math.floor(i / size / length / heads)
      const from = (((b * length + t) * heads + h) * parts + part) * size + d
      result.values[i] = values[from] + (bias ? bias[(part * heads + h) * size + d] : 0)
    }
    return result
  })
}

/** Symbolic [batch, heads, length, size] of the new keys and values of MultiHeadAttention. */
function newCacheShapes(heads: number, query: readonly Dim[], k: readonly Dim[] | null, v: readonly Dim[] | null): [Dim[], Dim[]] | null {
  const packed = query.length === 5 ? query : k?.length === 5 ? k : null
  if (packed) {
    const shape = [packed[0], packed[2], packed[1], packed[4]]
    return [shape, shape]
  }
  if (!k || !v) return null
  const split = (shape: readonly Dim[]): Dim[] =>
    shape.length === 4 ? [...shape] : [shape[0], heads, shape[1], divideDims(shape[2], heads)]
  return [split(k), split(v)]
}

const multiHeadAttention = operator({
  name: 'MultiHeadAttention',
  domain: microsoft,
  since: 1,
  gradient: gradients.multiHeadAttention,
  infer: (node, inputs): ValueFacts[] => {
    const { dtype, shape: query } = factsAt(inputs, 0)
    const [heads, past] = [node.int('num_heads', 1), inputs[6]]
    const fresh = query && newCacheShapes(heads, query, factsAt(inputs, 1).shape, factsAt(inputs, 2).shape)
    const unknown: ValueFacts = { dtype, shape: null }
    if (!query || !fresh || (past && !past.shape)) return [unknown, unknown, unknown, unknown]
    const [key, value] = fresh
    const length = addDims(past?.shape?.[2] ?? 0, key[2])
    return [
      { dtype, shape: [query[0], query[1], multiplyDims(heads, value[3])] },
      { dtype, shape: [key[0], key[1], length, key[3]] },
      { dtype, shape: [value[0], value[1], length, value[3]] },
      { dtype, shape: [query[0], heads, query[1], length] },
    ]
  },
  evaluate: (node, inputs) => {
    if (inputs[8] || inputs[9]) throw unsupported('MultiHeadAttention with a shared cache or beams has no reference here')
    const dtype = required(inputs, 0).dtype
    const [query, newKey, newValue] = unpackedHeads(node, inputs)
    const past = inputs[6] ? toHeads(inputs[6]) : null
    const [key, value] = [appendHeads(past, newKey), appendHeads(inputs[7] ? toHeads(inputs[7]) : null, newValue)]
    const keep = node.outputs[3]?.name ? 'biased' : undefined
    const { output, kept } = attend(query, key, value, {
      scale: scaleOf(node, query.size),
      bias: combinedBias(node, query, key.length, past?.length ?? 0, inputs[4] ?? null, inputs[5] ?? null),
      keep,
    })
    return [mergeHeads(output, dtype), headsArray(key, dtype), headsArray(value, dtype), ...(keep ? [headsArray(kept, dtype)] : [])]
  },
})

/** Query, new key and new value of GroupQueryAttention, which may be packed in the query. */
function groupedHeads(node: Node, inputs: readonly (NDArray | null)[]): [Heads, Heads, Heads] {
  const [queryHeads, kvHeads, q] = [node.int('num_heads', 1), node.int('kv_num_heads', 1), required(inputs, 0)]
  if (inputs[1]) return [toHeads(q, queryHeads), toHeads(inputs[1], kvHeads), toHeads(required(inputs, 2), kvHeads)]
  const size = q.shape[2] / (queryHeads + 2 * kvHeads)
  const values = Float64Array.from(numbersOf(q))
  const part = (start: number, heads: number) => partOf(values, q.shape, start * size, heads, size)
  return [part(0, queryHeads), part(queryHeads, kvHeads), part(queryHeads + kvHeads, kvHeads)]
}

/** The cache of each sample: its own number of past entries, the new ones after them, zeros up to `length`. */
function updateCache(past: Heads | null, next: Heads, starts: readonly number[], length: number): Heads {
  const cache = headsOf(next.batch, next.heads, length, next.size)
  for (let i = 0; i < next.batch * next.heads; i++) {
    const start = starts[Math.floor(i / next.heads)]
    const target = cache.values.subarray(i * length * next.size, (i + 1) * length * next.size)
    if (past) target.set(past.values.subarray(i * past.length * past.size).subarray(0, start * past.size))
    const room = Math.min(next.length, length - start) * next.size
    target.set(next.values.subarray(i * next.length * next.size).subarray(0, room), start * next.size)
  }
  return cache
}

function inferGrouped(node: Node, inputs: InputFacts): ValueFacts[] {
  const [query, key, past] = [factsAt(inputs, 0), inputs[1], factsAt(inputs, 3)]
  const unknown: ValueFacts = { dtype: query.dtype, shape: null }
  if (!query.shape || (key && !key.shape)) return [unknown, unknown, unknown, unknown]
  const [queryHeads, kvHeads] = [node.int('num_heads', 1), node.int('kv_num_heads', 1)]
  const [batch, length, width] = query.shape
  const size = divideDims(width, key ? queryHeads : queryHeads + 2 * kvHeads)
  const total = cacheLength(past.shape?.[2], inputs[6]?.contents?.[0], length) ?? freshDim(node, 2, 1)
  const present: ValueFacts = { dtype: past.dtype ?? query.dtype, shape: [batch, kvHeads, total, size] }
  return [
    { dtype: query.dtype, shape: [batch, length, multiplyDims(queryHeads, size)] },
    present,
    present,
    { dtype: query.dtype, shape: [batch, queryHeads, length, total] },
  ]
}

/** max(past, total): decided where both are numbers, or where the past is symbolic and so holds what came before. */
function cacheLength(past: Dim | undefined, total: Dim | undefined, length: Dim): Dim | null {
  if (past === undefined) return total ?? length
  if (typeof past === 'number') return typeof total === 'number' ? Math.max(past, total) : past === 0 ? (total ?? length) : null
  return total ?? addDims(past, length)
}

const groupQueryAttention = operator({
  name: 'GroupQueryAttention',
  domain: microsoft,
  since: 1,
  gradient: gradients.groupQueryAttention,
  infer: inferGrouped,
  evaluate: (node, inputs) => {
    refuseUnknownOptions(node, inputs)
    const dtype = required(inputs, 0).dtype
    const [query, newKey, newValue] = groupedHeads(node, inputs)
    const [lengths, total] = [integersOf(required(inputs, 5)).map((last) => last + 1), scalarOf(required(inputs, 6))]
    const prompt = query.length === total
    const starts = lengths.map((length) => (prompt ? 0 : length - query.length))
    const turn = (x: Heads) => (node.int('do_rotary', 0) ? rotateFrom(node, x, inputs, starts) : x)
    const [pastKey, pastValue] = [3, 4].map((i) => (inputs[i] ? toHeads(inputs[i]) : null))
    const length = Math.max(total, pastKey?.length ?? 0)
    const [key, value] = [updateCache(pastKey, turn(newKey), starts, length), updateCache(pastValue, newValue, starts, length)]
    const rotated = turn(query)
    const keep = ([undefined, 'biased', 'probabilities'] as const)[node.int('qk_output', 0)]
    const { output, kept } = attend(rotated, key, value, {
      scale: scaleOf(node, query.size),
      softcap: node.float('softcap', 0),
      bias: groupedBias(node, rotated, starts, inputs[10] ?? null),
      sink: sinkOf(node, inputs[11] ?? null),
      keep,
    })
    // The kernel shows hidden keys as zeros at both stages.
    const scores = { ...kept, values: kept.values.map((score) => (score === Number.NEGATIVE_INFINITY ? 0 : score)) }
    return [mergeHeads(output, dtype), headsArray(key, dtype), headsArray(value, dtype), ...(keep ? [headsArray(scores, dtype)] : [])]
  },
})

function refuseUnknownOptions(node: Node, inputs: readonly (NDArray | null)[]): void {
  const quantized = node.string('k_quant_type', 'NONE') !== 'NONE' || node.string('v_quant_type', 'NONE') !== 'NONE'
  if (quantized) throw unsupported('GroupQueryAttention with a quantized cache has no reference here')
  if (node.int('sliding_window_cache', 0)) throw unsupported('GroupQueryAttention with a window-sized cache has no reference here')
  if (inputs[14] || inputs[15]) throw unsupported('GroupQueryAttention with norms of queries and keys has no reference here')
}

function rotateFrom(node: Node, x: Heads, inputs: readonly (NDArray | null)[], starts: readonly number[]): Heads {
  const positions = inputs[9] && integersOf(inputs[9])
  const row = (b: number, t: number) => (positions ? positions[b * x.length + t] : starts[b] + t)
  return rotate(x, { cosines: required(inputs, 7), sines: required(inputs, 8), row, interleaved: node.int('rotary_interleaved', 0) === 1 })
}

/** Causality, the window (`local_window_size` keys, the query's own included), and the attention bias. */
function groupedBias(node: Node, query: Heads, starts: readonly number[], added: NDArray | null): Bias {
  const [window, causal] = [node.int('local_window_size', -1), node.int('causal', 1) === 1]
  const extra = added && arrayBias(added, query)
  const width = added?.shape[3] ?? 0
  return (b, h, i, j) => {
    const position = starts[b] + i
    const past = starts[b] + query.length
    if (j >= past || (causal && j > position) || (window >= 0 && j <= position - window)) return Number.NEGATIVE_INFINITY
    return extra && j < width ? extra(b, h, i, j) : 0
  }
}

function sinkOf(node: Node, sinks: NDArray | null): AttentionOptions['sink'] {
  if (sinks) {
    const values = numbersOf(sinks)
    return (h) => values[h]
  }
  return node.int('smooth_softmax', -1) === 1 ? () => 0 : undefined
}

/** ONNX Runtime's attention operators. */
export const microsoftAttentions: readonly Operator[] = [attention, qAttention, multiHeadAttention, groupQueryAttention]
