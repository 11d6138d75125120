/** ONNX Runtime's fused attention spelled out. */
import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Dim } from '../../ir/dimension.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { normalizeAxis, range } from '../support.js'
import { type Attended, attended, mergedHeads, splitHeads, visibleKeys } from './attention.js'
import { rotaryAttributes } from './rotary.js'
import type { Expansion, GradientBuilder } from './rule.js'
import {
  add,
  cast,
  castLike,
  centred,
  integers,
  multiply,
  rangeTo,
  reshape,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  subtract,
  transposeMatrix,
  unsqueeze,
  where,
} from './terms.js'

/** What a key after the query's own position gets as its score. */
const lowest = -3.4028234663852886e38

function refuse(node: Node, what: string): never {
  throw unsupported(`${node.type} with ${what} is not understood`, { where: node.name || node.output.name })
}

function scaleOf(node: Node, query: Value): number {
  return node.float('scale', 0) || 1 / Math.sqrt(Number(shapeOf(query)[3]))
}

/** Parts of an axis whose sizes are known. */
function split(g: GradientBuilder, x: Value, axis: number, lengths: readonly number[]): readonly Value[] {
  return g.ops('Split', [x, integers(g, lengths)], lengths.length, { axis: int(normalizeAxis(axis, shapeOf(x).length)) })
}

/** One index of an axis of known size. */
function pick(g: GradientBuilder, x: Value, axis: number, index: number): Value {
  return g.op('Gather', [x, g.constant(ndarray('int64', [], [index]))], { axis: int(axis) })
}

function positive(g: GradientBuilder, x: Value): Value {
  return g.op('Greater', [x, scalar(g, 0, x)])
}

/** Heads of queries, keys and values, all [batch, heads, tokens, size]; keys and values with those of the cache. */
interface Heads {
  readonly query: Value
  readonly key: Value
  readonly value: Value
  readonly past: Value | null
}

/** Where the mask shows a key: [batch] ends, [2 * batch] ends and starts, [batch, keys], [batch, queries, keys] or [batch, 1, positions, positions]. */
function shownBy(g: GradientBuilder, mask: Value, { query, key, past }: Heads): Value {
  const rank = shapeOf(mask).length
  if (rank === 2) return positive(g, unsqueeze(g, mask, 1, 2))
  if (rank === 3) return positive(g, unsqueeze(g, mask, 1))
  const [batch, keys] = [sizeAlong(g, query, 0), sizeAlong(g, key, 2)]
  if (rank === 4) {
    const first = sizes(g, [past ? sizeAlong(g, past, 2) : 0])
    const last = past ? add(g, first, sizes(g, [sizeAlong(g, query, 2)])) : sizes(g, [sizeAlong(g, query, 2)])
    const rows = g.op('Slice', [mask, first, last, integers(g, [2])])
    return positive(g, g.op('Slice', [rows, integers(g, [0]), sizes(g, [keys]), integers(g, [3])]))
  }
  const place = castLike(g, rangeTo(g, keys), mask)
  const column = (start: Value, end: Value): Value => unsqueeze(g, g.op('Slice', [mask, start, end, integers(g, [0])]), 1, 2, 3)
  const before = g.op('Less', [place, column(integers(g, [0]), sizes(g, [batch]))])
  if (shapeOf(mask)[0] === shapeOf(query)[0]) return before
  const starts = column(sizes(g, [batch]), g.op('Shape', [mask]))
  return g.op('And', [before, g.op('GreaterOrEqual', [place, starts])])
}

/** Attention as the kernels of Attention and MultiHeadAttention have it: what is hidden gets a low score, but a finite one. */
function attendedFinitely(g: GradientBuilder, node: Node, heads: Heads, mask: Value | null, added: Value | null): Attended {
  const { query, key, value, past } = heads
  const filter = scalar(g, node.float('mask_filter_value', -10000), query)
  let bias = mask && g.op('Where', [shownBy(g, mask, heads), scalar(g, 0, query), filter])
  if (node.int('unidirectional', 0)) {
    const first = past ? sizeAlong(g, past, 2) : 0
    const [queries, keys] = [sizeAlong(g, query, 2), sizeAlong(g, key, 2)]
    const visible = visibleKeys(g, { queries, keys, first, causal: true, left: -1, right: -1 })!
    bias = g.op('Where', [visible, bias ?? scalar(g, 0, query), scalar(g, lowest, query)])
  }
  if (added) bias = bias ? add(g, bias, added) : added
  return attended(g, { query, keyColumns: transposeMatrix(g, key), value, scale: scaleOf(node, query), bias })
}

function appended(g: GradientBuilder, past: Value | null, x: Value): Value {
  return past ? g.op('Concat', [past, x], { axis: int(2) }) : x
}

/** Attention on a packed projection [batch, tokens, q + k + v] with a stacked cache [2, batch, heads, past, size]. */
function attendPacked(
  g: GradientBuilder,
  node: Node,
  projection: Value,
  mask: Value | null,
  past: Value | null,
  added: Value | null,
): Value[] {
  if (node.int('do_rotary', 0)) refuse(node, 'do_rotary')
  if (node.int('past_present_share_buffer', 0)) refuse(node, 'a shared cache')
  const [heads, width] = [node.int('num_heads', 1), Number(shapeOf(projection)[2]) / 3]
  const parts = split(g, projection, 2, node.ints('qkv_hidden_sizes') ?? [width, width, width]).map((part) => splitHeads(g, part, heads))
  const [pastKey, pastValue] = [0, 1].map((i) => past && pick(g, past, 0, i))
  const [key, value] = [appended(g, pastKey, parts[1]), appended(g, pastValue, parts[2])]
  const { output } = attendedFinitely(g, node, { query: parts[0], key, value, past: pastKey }, mask, added)
  const present = [key, value].map((each) => unsqueeze(g, each, 0))
  return [mergedHeads(g, output), g.op('Concat', present, { axis: int(0) })]
}

export const packedAttention: Expansion = {
  expand(node, g) {
    const [x, weight, bias, mask, past, added] = range(6, (i) => node.input(i))
    const product = g.op('MatMul', [x, weight])
    return attendPacked(g, node, bias ? add(g, product, bias) : product, mask, past, added)
  },
}

export const qAttention: Expansion = {
  expand(node, g) {
    const [x, weight, bias, xScale, weightScale, mask, xZero, weightZero, past] = range(9, (i) => node.input(i))
    const product = g.op('MatMul', [centred(g, x!, xZero, xScale!), centred(g, weight!, weightZero, xScale!)])
    const projection = add(g, multiply(g, multiply(g, product, xScale!), weightScale!), bias!)
    return attendPacked(g, node, projection, mask, past, null)
  },
}

/** The parts of an array [batch, tokens, heads, parts, size] as heads, each plus its part of the bias. */
function interleaved(g: GradientBuilder, x: Value, bias: Value | null): Value[] {
  const [, , heads, parts, size] = shapeOf(x)
  const table = bias && reshape(g, bias, integers(g, [Number(parts), Number(heads), Number(size)]))
  return range(Number(parts), (i) => {
    const part = pick(g, x, 3, i)
    return g.op('Transpose', [table ? add(g, part, pick(g, table, 0, i)) : part], { perm: { kind: 'ints', value: [0, 2, 1, 3] } })
  })
}

/** Query, key and value of MultiHeadAttention before the cache, in any of its packings. */
function unpackedHeads(g: GradientBuilder, node: Node): Value[] {
  const [heads, q, k, v, bias] = [node.int('num_heads', 1), ...range(4, (i) => node.input(i))] as [number, ...(Value | null)[]]
  if (shapeOf(q!).length === 5) return interleaved(g, q!, bias)
  const widths = [q, k, v].flatMap((x) => (x && shapeOf(x).length === 3 ? [Number(shapeOf(x)[2])] : []))
  const total = Number(bias && shapeOf(bias)[0])
  const [first] = widths
  const lengths = widths.length === 3 ? widths : [first, total - first]
  const biases = bias ? split(g, bias, 0, lengths) : []
  const plain = (x: Value, i: number): Value => {
    if (shapeOf(x).length === 4) return x
    return splitHeads(g, biases[i] ? add(g, x, biases[i]) : x, heads)
  }
  if (shapeOf(k!).length === 5) return [plain(q!, 0), ...interleaved(g, k!, null)]
  return [q!, k!, v!].map(plain)
}

export const multiHeadAttention: Expansion = {
  expand(node, g) {
    const [mask, added, pastKey, pastValue] = [4, 5, 6, 7].map((i) => node.input(i))
    if (node.input(8) || node.input(9)) refuse(node, 'a shared cache or beams')
    const [query, newKey, newValue] = unpackedHeads(g, node)
    const [key, value] = [appended(g, pastKey, newKey), appended(g, pastValue, newValue)]
    const { output, biased } = attendedFinitely(g, node, { query, key, value, past: pastKey }, mask, added)
    return [mergedHeads(g, output), key, value, biased]
  },
}

/** Query, new key and new value of GroupQueryAttention, which may be packed in the query. */
function groupedHeads(g: GradientBuilder, node: Node): Value[] {
  const [q, k, v] = node.inputs
  const [heads, keyHeads] = [node.int('num_heads', 1), node.int('kv_num_heads', 1)]
  if (k) return [splitHeads(g, q!, heads), splitHeads(g, k, keyHeads), splitHeads(g, v!, keyHeads)]
  const size = Number(shapeOf(q!)[2]) / (heads + 2 * keyHeads)
  const parts = split(g, q!, 2, [heads * size, keyHeads * size, keyHeads * size])
  return parts.map((part, i) => splitHeads(g, part, i ? keyHeads : heads))
}

/** The cache [batch, heads, length, size]: of each sample its past up to `start` [batch, 1, 1, 1], the new entries, then zeros. */
function updatedCache(g: GradientBuilder, past: Value, next: Value, start: Value, length: Value): Value {
  const shape = g.op('Concat', [g.op('Shape', [next], { end: int(2) }), length, g.op('Shape', [next], { start: int(3) })], { axis: int(0) })
  const place = unsqueeze(g, rangeTo(g, length), 1)
  const count = sizes(g, [sizeAlong(g, next, 2)])
  const offset = subtract(g, place, start)
  const within = g.op('Max', [g.op('Min', [offset, subtract(g, count, integers(g, [1]))]), integers(g, [0])])
  const cacheShape: Dim[] = [...shapeOf(next).slice(0, 2), 'cache', shapeOf(next)[3]]
  const taken = g.op('GatherElements', [next, g.op('Expand', [within, shape])], { axis: int(2) })
  const missing = subtract(g, length, sizes(g, [sizeAlong(g, past, 2)]))
  const old = g.op('Pad', [past, g.op('Concat', [integers(g, [0]), missing], { axis: int(0) }), null, integers(g, [2])])
  for (const value of [taken, old]) value.shape = cacheShape
  const fresh = where(g, g.op('Less', [offset, count]), taken)
  return g.op('Where', [g.op('Less', [place, start]), old, fresh])
}

function refuseUnknownOptions(node: Node): void {
  if (node.string('k_quant_type', 'NONE') !== 'NONE' || node.string('v_quant_type', 'NONE') !== 'NONE') refuse(node, 'a quantized cache')
  if (node.int('sliding_window_cache', 0)) refuse(node, 'a window-sized cache')
  if (node.input(14) || node.input(15)) refuse(node, 'norms of queries and keys')
}

/** The first position of each sample [batch, 1, 1, 1]: 0 in a prompt, else what its length leaves before the queries. */
function startsOf(g: GradientBuilder, node: Node, queries: Value): Value {
  const [lengths, total] = [5, 6].map((i) => cast(g, node.input(i)!, 'int64'))
  const before = subtract(g, add(g, reshape(g, lengths, integers(g, [-1, 1, 1, 1])), integers(g, [1])), queries)
  return g.op('Where', [g.op('Equal', [reshape(g, total, integers(g, [1])), queries]), integers(g, [0]), before])
}

export const groupQueryAttention: Expansion = {
  expand(node, g) {
    refuseUnknownOptions(node)
    const [query, newKey, newValue] = groupedHeads(g, node)
    const [pastKey, pastValue, added, sinks] = [3, 4, 10, 11].map((i) => node.input(i))
    const queries = sizes(g, [sizeAlong(g, query, 2)])
    const start = pastKey ? startsOf(g, node, queries) : integers(g, [0])
    const turned = (x: Value): Value => (node.int('do_rotary', 0) ? rotatedFrom(g, node, x, start) : x)
    const total = reshape(g, cast(g, node.input(6)!, 'int64'), integers(g, [1]))
    const cached = (past: Value | null, next: Value): Value =>
      past ? updatedCache(g, past, next, start, g.op('Max', [total, sizes(g, [sizeAlong(g, past, 2)])])) : next
    const [key, value] = [cached(pastKey, turned(newKey)), cached(pastValue, newValue)]
    const own = turned(query)
    const window = node.int('local_window_size', -1)
    const visible = visibleKeys(g, {
      queries: sizeAlong(g, query, 2),
      keys: sizeAlong(g, key, 2),
      first: start,
      causal: node.int('causal', 1) === 1,
      left: window < 0 ? -1 : window - 1,
      right: -1,
      valid: pastKey && add(g, start, queries),
    })
    const smooth = node.int('smooth_softmax', -1) === 1
    const heads = node.int('num_heads', 1)
    const zeros = (): Value =>
      g.constant(
        ndarray(
          query.dtype ?? 'float32',
          [heads],
          range(heads, () => 0),
        ),
      )
    const result = attended(g, {
      query: own,
      keyColumns: transposeMatrix(g, key),
      value,
      scale: scaleOf(node, query),
      softcap: node.float('softcap', 0),
      visible,
      bias: added,
      sink: sinks ?? (smooth ? zeros() : null),
    })
    // The kernel shows hidden keys as zeros at both stages.
    const shown = (x: Value): Value => (visible ? where(g, visible, x) : x)
    const stage = [result.biased, result.biased, result.probabilities][node.int('qk_output', 0)]
    return [mergedHeads(g, result.output), key, value, node.outputs[3] ? shown(stage) : null]
  },
}

function rotatedFrom(g: GradientBuilder, node: Node, x: Value, start: Value): Value {
  const shape = sizes(g, [sizeAlong(g, x, 0), sizeAlong(g, x, 2)])
  const place = unsqueeze(g, rangeTo(g, sizeAlong(g, x, 2)), 0)
  const from = shapeOf(start).length === 4 ? g.op('Squeeze', [start, integers(g, [2, 3])]) : start
  const positions = node.input(9) ?? g.op('Expand', [add(g, place, from), shape])
  const [cosines, sines] = [node.input(7)!, node.input(8)!]
  const attributes = rotaryAttributes(shapeOf(cosines), Number(shapeOf(x)[3]), Number(shapeOf(x)[1]), node.int('rotary_interleaved', 0))
  return g.op('RotaryEmbedding', [x, cosines, sines, positions], attributes)
}
