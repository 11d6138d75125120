/** Attention spelled out: matrix products, a softmax, and what hides keys. */
import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import type { AttentionStage } from '../attention-core.js'
import type { Expansion, GradientBuilder } from './rule.js'
import {
  add,
  divide,
  integers,
  multiply,
  rangeTo,
  reshape,
  type Size,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  slice,
  subtract,
  transpose,
  transposeMatrix,
  unsqueeze,
} from './terms.js'

/** What attention works on. */
export interface AttentionParts {
  /** [batch, heads, queries, size] */
  readonly query: Value
  /** [batch, key heads, size, keys] */
  readonly keyColumns: Value
  /** [batch, key heads, keys, value size] */
  readonly value: Value
  readonly scale: number
  /** 0: none. */
  readonly softcap?: number
  /** bool, broadcasts to [batch, heads, queries, keys]: false hides a key. */
  readonly visible?: Value | null
  /** Added to the scores, broadcasts likewise. */
  readonly bias?: Value | null
  /** [heads]: a score per head that takes part in the softmax and has no value. */
  readonly sink?: Value | null
}

/** The result [batch, heads, queries, value size], and the scores [batch, heads, queries, keys] on the way to it. */
export interface Attended extends Readonly<Record<AttentionStage, Value>> {
  readonly output: Value
}

/**
 * softmax(softcap(scale Q K^T) + bias) V. Query heads that share a key head are the rows of one matrix product, so that
 * neither keys nor their gradients are copied. A query that sees no key gives zeros: its row of the bias is made 0, which keeps
 * the softmax finite, and its result too.
 */
export function attended(g: GradientBuilder, { query, keyColumns, value, scale, softcap = 0, ...hiding }: AttentionParts): Attended {
  const [heads, keyHeads] = [known(query, 1), known(keyColumns, 1)]
  const scaled = multiply(g, query, scale)
  const scores = grouped(g, g.op('MatMul', [grouped(g, scaled, keyHeads), keyColumns]), heads)
  const capped = softcap ? multiply(g, g.op('Tanh', [divide(g, scores, softcap)]), softcap) : scores
  const bias = combinedBias(g, hiding.visible ?? null, hiding.bias ?? null, scores)
  const biased = bias ? add(g, capped, bias) : capped
  if (!bias || hiding.sink) {
    const probabilities = hiding.sink ? softmaxWithSink(g, biased, hiding.sink) : g.op('Softmax', [biased], { axis: int(-1) })
    const output = grouped(g, g.op('MatMul', [grouped(g, probabilities, keyHeads), value]), heads)
    return { scores, capped, biased, probabilities, output }
  }
  const zero = scalar(g, 0, scores)
  const largest = g.op('ReduceMax', [bias, integers(g, [-1])], { keepdims: int(1) })
  const blind = g.op('Equal', [largest, scalar(g, Number.NEGATIVE_INFINITY, scores)])
  const shown = add(g, capped, g.op('Where', [blind, zero, bias]))
  const softmax = g.op('Softmax', [shown], { axis: int(-1) })
  const output = grouped(g, g.op('MatMul', [grouped(g, softmax, keyHeads), value]), heads)
  const clear = (x: Value): Value => g.op('Where', [blind, zero, x])
  return { scores, capped, biased, probabilities: clear(softmax), output: clear(output) }
}

/** [batch, heads, queries, size] with neighbouring heads as rows of one another. */
function grouped(g: GradientBuilder, x: Value, heads: number): Value {
  return shapeOf(x)[1] === heads ? x : reshape(g, x, integers(g, [0, heads, -1, 0]))
}

function known(x: Value, axis: number): number {
  const dim = shapeOf(x)[axis]
  if (typeof dim === 'number') return dim
  throw unsupported(`axis ${axis} of ${x.name} must be of known size to spell attention out`)
}

function combinedBias(g: GradientBuilder, visible: Value | null, bias: Value | null, like: Value): Value | null {
  if (!visible) return bias
  return g.op('Where', [visible, bias ?? scalar(g, 0, like), scalar(g, Number.NEGATIVE_INFINITY, like)])
}

function softmaxWithSink(g: GradientBuilder, scores: Value, sink: Value): Value {
  const column = g.op('Concat', [g.op('Shape', [scores], { end: int(3) }), integers(g, [1])], { axis: int(0) })
  const sinks = g.op('Expand', [unsqueeze(g, sink, 1, 2), column])
  sinks.shape = [...shapeOf(scores).slice(0, 3), 1]
  const probabilities = slice(g, g.op('Softmax', [g.op('Concat', [scores, sinks], { axis: int(-1) })], { axis: int(-1) }), 3, 0, -1)
  probabilities.shape = scores.shape
  return probabilities
}

/** [batch, tokens, heads * size] as [batch, heads, tokens, size], or in another order of [batch, tokens, heads, size]. */
export function splitHeads(g: GradientBuilder, x: Value, heads: number, order: readonly number[] = [0, 2, 1, 3]): Value {
  return transpose(g, reshape(g, x, integers(g, [0, 0, heads, known(x, 2) / heads])), order)
}

/** [batch, heads, tokens, size] as [batch, tokens, heads * size]. */
export function mergedHeads(g: GradientBuilder, x: Value): Value {
  return reshape(g, transpose(g, x, [0, 2, 1, 3]), integers(g, [0, 0, known(x, 1) * known(x, 3)]))
}

/** Where keys lie relative to queries. */
export interface Positions {
  readonly queries: Size
  readonly keys: Size
  /** Position of the first query, as a number or an int64 that broadcasts to [batch, heads, queries, keys]. */
  readonly first: Size
  readonly causal: boolean
  /** How many keys before and after its own position a query sees; negative: all. */
  readonly left: number
  readonly right: number
  /** How many keys there are, when not all; int64 that broadcasts likewise. */
  readonly valid?: Value | null
}

/** Which keys [.., queries, keys] each query may see; null where it sees all. */
export function visibleKeys(g: GradientBuilder, { queries, keys, first, causal, left, right, valid }: Positions): Value | null {
  const key = rangeTo(g, keys)
  const parts = valid ? [g.op('Less', [key, valid])] : []
  if (causal || left >= 0 || right >= 0) {
    const own = unsqueeze(g, rangeTo(g, queries), 1)
    const position = first === 0 ? own : add(g, own, typeof first === 'number' ? integers(g, [first]) : first)
    const after = causal ? (right >= 0 ? Math.min(right, 0) : 0) : right
    if (causal || right >= 0) parts.push(g.op('LessOrEqual', [key, after ? add(g, position, integers(g, [after])) : position]))
    if (left >= 0) parts.push(g.op('GreaterOrEqual', [key, left ? subtract(g, position, integers(g, [left])) : position]))
  }
  return both(g, ...parts)
}

/** What all of several conditions say; null when there is none. */
export function both(g: GradientBuilder, ...conditions: readonly (Value | null)[]): Value | null {
  const given = conditions.filter((condition) => condition !== null)
  return given.length ? given.reduce((a, b) => g.op('And', [a, b])) : null
}

/** A mask as wide as there are keys; those beyond it are hidden. */
function widened(g: GradientBuilder, mask: Value, keys: Value): Value {
  const [width, length] = [shapeOf(mask).at(-1), shapeOf(keys)[2]]
  if (width === undefined || width === 1 || width === length) return mask
  const rank = shapeOf(mask).length
  const missing = subtract(g, sizes(g, [sizeAlong(g, keys, 2)]), sizes(g, [sizeAlong(g, mask, rank - 1)]))
  const pads = sizes(g, [...new Array<number>(2 * rank - 1).fill(0), missing])
  const hidden = mask.dtype === 'bool' ? g.constant(ndarray('bool', [], [0])) : scalar(g, Number.NEGATIVE_INFINITY, mask)
  const wide = g.op('Pad', [mask, pads, hidden])
  wide.shape = [...shapeOf(mask).slice(0, -1), length]
  return wide
}

/** Keys or values with those of the cache before them. */
function appended(g: GradientBuilder, past: Value | null, x: Value): Value {
  return past ? g.op('Concat', [past, x], { axis: int(2) }) : x
}

function asHeads(g: GradientBuilder, x: Value, heads: number): Value {
  return shapeOf(x).length === 4 ? x : splitHeads(g, x, heads)
}

export const attention: Expansion = {
  expand(node, g) {
    const [q, k, v, mask, pastKey, pastValue, valid] = [0, 1, 2, 3, 4, 5, 6].map((i) => node.input(i))
    const [heads, keyHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)]
    const query = asHeads(g, q!, heads)
    const [key, value] = [appended(g, pastKey, asHeads(g, k!, keyHeads)), appended(g, pastValue, asHeads(g, v!, keyHeads))]
    const direct = shapeOf(k!).length === 3 && !pastKey && !isUsed(node.outputs[1])
    const keyColumns = direct ? splitHeads(g, k!, keyHeads, [0, 2, 3, 1]) : transposeMatrix(g, key)
    const positions = positionsOf(g, node, query, key, pastKey, valid && unsqueeze(g, valid, 1, 2, 3))
    const wide = mask && widened(g, mask, key)
    const result = attended(g, {
      query,
      keyColumns,
      value,
      scale: node.float('scale', 1 / Math.sqrt(known(query, 3))),
      softcap: node.float('softcap', 0),
      visible: both(g, wide?.dtype === 'bool' ? wide : null, visibleKeys(g, positions)),
      bias: wide?.dtype === 'bool' ? null : wide,
    })
    const stage = (['scores', 'capped', 'biased', 'probabilities'] as const)[node.int('qk_matmul_output_mode', 0)]
    const output = shapeOf(q!).length === 4 ? result.output : mergedHeads(g, result.output)
    return [output, key, value, result[stage]]
  },
}

function isUsed(value: Value | undefined): boolean {
  return value !== undefined && value.uses.size > 0
}

/** With a cache queries follow its keys; with lengths they are the last of the keys that are there. */
function positionsOf(g: GradientBuilder, node: Node, query: Value, key: Value, past: Value | null, valid: Value | null): Positions {
  const queries = sizeAlong(g, query, 2)
  const first = valid ? subtract(g, valid, sizes(g, [queries])) : past ? sizeAlong(g, past, 2) : 0
  return {
    queries,
    keys: sizeAlong(g, key, 2),
    first,
    causal: node.int('is_causal', 0) === 1,
    left: node.int('left_window_size', -1),
    right: node.int('right_window_size', -1),
    valid,
  }
}
