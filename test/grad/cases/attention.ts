import { attribute } from '../../../src/ir/index.js'
import type { NDArray } from '../../../src/numbers/dtype.js'
import { type Cases, call, integersArray as integers, random } from '../differences.js'

const { float, int } = attribute

interface Sizes {
  readonly heads?: number
  readonly keyHeads?: number
  readonly keys?: number
  readonly packed?: boolean
}

/** Queries, keys and values of size 2 and 3; three queries in two samples. */
function heads({ heads = 2, keyHeads = heads, keys = 3, packed = true }: Sizes = {}) {
  const shape = (count: number, length: number, size: number) => (packed ? [2, length, count * size] : [2, count, length, size])
  return { q: random(shape(heads, 3, 2), 1), k: random(shape(keyHeads, keys, 2), 2), v: random(shape(keyHeads, keys, 3), 3) }
}

function attention(
  sizes: Sizes,
  rest: Record<string, NDArray | null> = {},
  attributes: Record<string, number> = {},
  more: Parameters<typeof call>[2] = {},
) {
  const { heads: count = 2, keyHeads = count, packed = true } = sizes
  const numbers = packed ? { q_num_heads: count, kv_num_heads: keyHeads, ...attributes } : attributes
  const floats = ['scale', 'softcap']
  return call(
    'Attention',
    { ...heads(sizes), ...rest },
    {
      attributes: Object.fromEntries(
        Object.entries(numbers).map(([name, value]) => [name, floats.includes(name) ? float(value) : int(value)]),
      ),
      ...(packed && {
        symbols: { q: ['batch', 'tokens', 2 * count], k: ['batch', 'keys', 2 * keyHeads], v: ['batch', 'keys', 3 * keyHeads] },
      }),
      ...more,
    },
  )
}

const flags = (shape: readonly number[], ...values: number[]) => integers(shape, values, 'bool')
/** The second sample sees nothing. */
const padding = flags([2, 1, 1, 3], 1, 1, 0, 0, 0, 0)
const past = { pk: random([2, 2, 2, 2], 5), pv: random([2, 2, 2, 3], 6) }
const none = { none_mask: null }
const hiding: NDArray = {
  dtype: 'float64',
  shape: [3, 3],
  data: Float64Array.of(0.5, -Infinity, -0.25, -Infinity, -Infinity, -Infinity, 0, 1, 2),
}

const rotary = (x: NDArray, attributes: object, positions = true, width = 2, symbols = {}) =>
  call(
    'RotaryEmbedding',
    {
      x,
      cos: random(positions ? [7, width] : [2, 3, width], 2),
      sin: random(positions ? [7, width] : [2, 3, width], 3),
      positions: positions ? integers([2, 3], [0, 1, 2, 4, 5, 5]) : null,
    },
    { attributes: { ...attributes }, symbols },
  )

const microsoft = (operator: string, feeds: Record<string, NDArray | null>, attributes: object, more: Parameters<typeof call>[2] = {}) =>
  call(operator, feeds, { domain: 'com.microsoft', attributes: { ...attributes }, ...more })

const packed = { x: random([2, 3, 4], 1), w: random([4, 12], 2), b: random([12], 3) }
const grouped = (rest: Record<string, NDArray | null>, attributes: object = {}, total = 3, more: Parameters<typeof call>[2] = {}) =>
  microsoft(
    'GroupQueryAttention',
    {
      q: random([2, 3, 16], 1),
      k: random([2, 3, 8], 2),
      v: random([2, 3, 8], 3),
      none_pk: null,
      none_pv: null,
      lengths: integers([2], [total - 1, total - 1], 'int32'),
      total: integers([], [total], 'int32'),
      ...rest,
    },
    { num_heads: int(4), kv_num_heads: int(2), ...attributes },
    { outputs: 3, ...more },
  )
const tables = { cos: random([9, 2], 7), sin: random([9, 2], 8) }
const cache = { none_pk: random([2, 2, 5, 4], 5), none_pv: random([2, 2, 5, 4], 6), lengths: integers([2], [4, 3], 'int32') }

export const attentionCases: Cases = {
  Attention: attention({}),
  'Attention of heads': attention({ packed: false }, {}, { scale: 0.5 }),
  'Attention hiding the second sample': attention(
    {},
    { mask: padding },
    {},
    { symbols: { q: ['batch', 'tokens', 4], k: ['batch', 'tokens', 4], v: ['batch', 'tokens', 6], mask: ['batch', 1, 1, 'tokens'] } },
  ),
  'Attention with a bias': attention({ packed: false }, { mask: random([2, 3, 3], 4) }),
  'Attention with a bias that hides rows': attention({}, { mask: hiding }, {}, { constant: ['mask'] }),
  'Attention with a short mask': attention({ keys: 4 }, { mask: flags([1, 1, 3, 2], 1, 0, 1, 1, 0, 1) }),
  'Attention with a short bias': attention({ keys: 4 }, { mask: random([3, 2], 4) }),
  'Attention causal': attention({}, {}, { is_causal: 1 }),
  'Attention causal with a mask': attention({}, { mask: padding }, { is_causal: 1 }),
  'Attention in a window': attention({ keys: 5 }, none, { left_window_size: 1, right_window_size: 1 }),
  'Attention causal in a window': attention({}, none, { is_causal: 1, left_window_size: 1 }),
  'Attention capped': attention({}, {}, { softcap: 1.5, is_causal: 1 }),
  'Attention of shared heads': attention({ heads: 4, keyHeads: 2 }, { mask: random([1, 4, 3, 3], 4) }, { softcap: 2 }),
  'Attention of one shared head': attention({ heads: 2, keyHeads: 1, packed: false }, {}, { is_causal: 1 }),
  'Attention with a cache': attention(
    {},
    { ...none, ...past },
    { is_causal: 1 },
    {
      outputs: 3,
      symbols: {
        q: ['batch', 'tokens', 4],
        k: ['batch', 'tokens', 4],
        v: ['batch', 'tokens', 6],
        pk: ['batch', 2, 'past', 2],
        pv: ['batch', 2, 'past', 3],
      },
    },
  ),
  'Attention of shared heads with a cache': attention(
    { heads: 4, keyHeads: 2 },
    { mask: flags([3, 5], 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1), ...past },
    { is_causal: 1, left_window_size: 2 },
    { outputs: 3 },
  ),
  'Attention of lengths': attention(
    { keys: 4 },
    { ...none, none_pk: null, none_pv: null, lengths: integers([2], [4, 2]) },
    { is_causal: 1 },
  ),
  ...Object.fromEntries(
    [0, 1, 2, 3].map((mode) => [
      `Attention giving scores ${mode}`,
      attention(
        { packed: false },
        { mask: mode === 2 ? random([2, 1, 1, 3], 4) : padding },
        { qk_matmul_output_mode: mode, softcap: 2 },
        { outputs: 4, seen: [0, 3] },
      ),
    ]),
  ),
  RotaryEmbedding: rotary(random([2, 2, 3, 4], 1), {}, true, 2, { x: ['batch', 2, 'tokens', 4], positions: ['batch', 'tokens'] }),
  'RotaryEmbedding packed': rotary(random([2, 3, 8], 1), { num_heads: int(2) }, false, 2, { x: ['batch', 'tokens', 8] }),
  'RotaryEmbedding interleaved': rotary(random([2, 2, 3, 4], 1), { interleaved: int(1) }),
  'RotaryEmbedding partial': rotary(random([2, 2, 3, 6], 1), { rotary_embedding_dim: int(4) }, false),
  'RotaryEmbedding partial interleaved': rotary(random([2, 3, 12], 1), {
    rotary_embedding_dim: int(4),
    interleaved: int(1),
    num_heads: int(2),
  }),
  'com.microsoft.RotaryEmbedding': microsoft(
    'RotaryEmbedding',
    { x: random([2, 3, 8], 1), positions: integers([2, 3], [0, 1, 2, 4, 5, 5]), ...tables },
    {},
  ),
  'com.microsoft.RotaryEmbedding from one place': microsoft(
    'RotaryEmbedding',
    { x: random([2, 2, 3, 4], 1), positions: integers([1], [3]), ...tables },
    { interleaved: int(1) },
  ),

  'com.microsoft.Attention': microsoft('Attention', packed, { num_heads: int(2) }, { outputs: 2, symbols: { x: ['batch', 'tokens', 4] } }),
  'com.microsoft.Attention with a cache': microsoft(
    'Attention',
    {
      ...packed,
      mask: integers([2, 5], [1, 1, 1, 1, 0, 0, 1, 1, 1, 1], 'int32'),
      past: random([2, 2, 2, 2, 2], 4),
      bias: random([1, 2, 3, 5], 5),
    },
    { num_heads: int(2), unidirectional: int(1), mask_filter_value: float(-3) },
    { outputs: 2 },
  ),
  'com.microsoft.Attention of lengths': microsoft(
    'Attention',
    { ...packed, mask: integers([2], [3, 1], 'int32') },
    { num_heads: int(2), mask_filter_value: float(-3), qkv_hidden_sizes: attribute.ints([4, 4, 4]) },
  ),
  'com.microsoft.Attention of ends and starts': microsoft(
    'Attention',
    { ...packed, mask: integers([4], [3, 2, 1, 0], 'int32') },
    { num_heads: int(2), mask_filter_value: float(-3) },
  ),
  'com.microsoft.Attention of pairs': microsoft(
    'Attention',
    { ...packed, mask: integers([2, 3, 3], [1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1], 'int32') },
    { num_heads: int(2), mask_filter_value: float(-3) },
  ),
  'com.microsoft.Attention of positions': microsoft(
    'Attention',
    {
      ...packed,
      mask: integers(
        [2, 1, 4, 4],
        Array.from({ length: 32 }, (_, i) => Number(i % 3 > 0)),
        'int32',
      ),
      past: random([2, 2, 2, 1, 2], 4),
    },
    { num_heads: int(2), mask_filter_value: float(-3) },
  ),
  'com.microsoft.MultiHeadAttention': microsoft(
    'MultiHeadAttention',
    {
      q: random([2, 3, 4], 1),
      k: random([2, 5, 4], 2),
      v: random([2, 5, 6], 3),
      bias: random([14], 4),
      mask: integers([2, 5], [1, 1, 0, 1, 0, 1, 1, 1, 1, 1], 'int32'),
      added: random([1, 1, 3, 5], 5),
    },
    { num_heads: int(2), mask_filter_value: float(-3) },
  ),
  'com.microsoft.MultiHeadAttention packed': microsoft(
    'MultiHeadAttention',
    { q: random([2, 3, 2, 3, 2], 1), none_k: null, none_v: null, bias: random([12], 4) },
    { num_heads: int(2), unidirectional: int(1) },
    { outputs: 4, seen: [0, 1, 2] },
  ),
  'com.microsoft.MultiHeadAttention of packed keys': microsoft(
    'MultiHeadAttention',
    { q: random([2, 3, 4], 1), k: random([2, 4, 2, 2, 2], 2) },
    { num_heads: int(2), scale: float(0.5) },
  ),
  'com.microsoft.MultiHeadAttention with a cache': microsoft(
    'MultiHeadAttention',
    {
      q: random([2, 3, 4], 1),
      k: random([2, 2, 3, 2], 2),
      v: random([2, 2, 3, 2], 3),
      none_b: null,
      none_m: null,
      none_a: null,
      pk: random([2, 2, 2, 2], 5),
      pv: random([2, 2, 2, 2], 6),
    },
    { num_heads: int(2), unidirectional: int(1) },
    { outputs: 3 },
  ),
  'com.microsoft.GroupQueryAttention': grouped({}, {}, 3, {
    symbols: { q: ['batch', 'tokens', 16], k: ['batch', 'tokens', 8], v: ['batch', 'tokens', 8] },
  }),
  'com.microsoft.GroupQueryAttention packed': grouped(
    { q: random([2, 3, 32], 1), k: null, v: null, ...tables },
    { do_rotary: int(1), local_window_size: int(2), softcap: float(3) },
  ),
  'com.microsoft.GroupQueryAttention with a cache': grouped(
    { ...cache, ...tables, none_positions: null, added: random([2, 1, 3, 5], 9) },
    { do_rotary: int(1) },
    5,
  ),
  'com.microsoft.GroupQueryAttention with sinks': grouped(
    { none_cos: null, none_sin: null, none_positions: null, none_added: null, sink: random([4], 9) },
    { qk_output: int(2) },
    3,
    { outputs: 4 },
  ),
  'com.microsoft.GroupQueryAttention smooth': grouped({}, { smooth_softmax: int(1) }),
}

export const microsoftCases: Cases = {
  'com.microsoft.FusedMatMul': microsoft(
    'FusedMatMul',
    { a: random([2, 4, 3], 1), b: random([2, 5, 4], 2) },
    { transA: int(1), transB: int(1), alpha: float(0.5) },
  ),
  'com.microsoft.FusedMatMul of batches': microsoft(
    'FusedMatMul',
    { a: random([3, 2, 4], 1), b: random([2, 4, 5], 2) },
    { transBatchA: int(1) },
  ),
  'com.microsoft.SkipLayerNormalization': microsoft(
    'SkipLayerNormalization',
    { x: random([2, 3, 4], 1), skip: random([1, 3, 4], 2), gamma: random([4], 3), beta: random([4], 4), bias: random([4], 5) },
    {},
    { outputs: 4, seen: [0, 3], symbols: { x: ['batch', 3, 4] } },
  ),
  'com.microsoft.SkipSimplifiedLayerNormalization': microsoft(
    'SkipSimplifiedLayerNormalization',
    { x: random([2, 3, 4], 1), skip: random([2, 3, 4], 2), gamma: random([4], 3), bias: random([4], 5) },
    {},
    { outputs: 4, seen: [0, 3] },
  ),
  SimplifiedLayerNormalization: call(
    'SimplifiedLayerNormalization',
    { x: random([2, 3, 4], 1), scale: random([4], 2) },
    { attributes: { stash_type: int(11) }, outputs: 2 },
  ),
  'com.microsoft.EmbedLayerNormalization': microsoft(
    'EmbedLayerNormalization',
    {
      ids: integers([2, 3], [0, 4, 4, 1, 2, 0], 'int32'),
      kinds: integers([2, 3], [0, 0, 1, 1, 1, 0], 'int32'),
      words: random([5, 4], 1),
      places: random([6, 4], 2),
      segments: random([2, 4], 3),
      gamma: random([4], 4),
      beta: random([4], 5),
      mask: integers([2, 3], [1, 1, 0, 1, 1, 1], 'int32'),
    },
    {},
    { outputs: 3, seen: [0, 2], symbols: { ids: ['batch', 'tokens'], kinds: ['batch', 'tokens'] } },
  ),
  'com.microsoft.EmbedLayerNormalization plain': microsoft(
    'EmbedLayerNormalization',
    {
      ids: integers([2, 3], [0, 4, 4, 1, 2, 0], 'int32'),
      none_kinds: null,
      words: random([5, 4], 1),
      places: random([6, 4], 2),
      none_segments: null,
      gamma: random([4], 4),
      beta: random([4], 5),
      none_mask: null,
      positions: integers([2, 3], [0, 1, 2, 5, 4, 3], 'int32'),
    },
    {},
  ),
  'com.microsoft.MatMulNBits': microsoft(
    'MatMulNBits',
    {
      x: random([2, 40], 1),
      codes: integers(
        [3, 3, 8],
        Array.from({ length: 72 }, (_, i) => (i * 37) % 256),
        'uint8',
      ),
      scales: random([9], 2),
      zeros: integers([6], [18, 3, 120, 5, 200, 7], 'uint8'),
      none_order: null,
      bias: random([3], 3),
    },
    { N: int(3), K: int(40), block_size: int(16), bits: int(4) },
    { tolerance: 3e-6, constant: ['scales'] },
  ),
  'com.microsoft.MatMulNBits of bytes': microsoft(
    'MatMulNBits',
    {
      x: random([2, 16], 1),
      codes: integers(
        [3, 1, 16],
        Array.from({ length: 48 }, (_, i) => (i * 37) % 256),
        'uint8',
      ),
      scales: random([3], 2),
    },
    { N: int(3), K: int(16), block_size: int(16), bits: int(8) },
    { tolerance: 3e-6, constant: ['scales'] },
  ),
  'com.microsoft.MatMulBnb4': microsoft(
    'MatMulBnb4',
    { x: random([2, 6], 1), codes: integers([9], [1, 35, 200, 255, 16, 77, 93, 140, 4], 'uint8'), largest: random([5], 2) },
    { N: int(3), K: int(6), block_size: int(4), quant_type: int(1) },
    { tolerance: 3e-6, constant: ['largest'] },
  ),
  'com.microsoft.GatherBlockQuantized': microsoft(
    'GatherBlockQuantized',
    {
      codes: integers(
        [5, 8],
        Array.from({ length: 40 }, (_, i) => (i * 37) % 256),
        'uint8',
      ),
      i: integers([2, 2], [0, 4, 3, 0]),
      scales: random([5, 1], 2),
    },
    { block_size: int(16), quantize_axis: int(1), bits: int(4) },
  ),
}
