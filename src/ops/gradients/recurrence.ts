/** Mixers that carry a state from token to token, spelled out without the loop over tokens. */
import { unsupported } from '../../base/errors.js'
import { int, ints } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { range } from '../support.js'
import { mergedHeads, splitHeads } from './attention.js'
import type { Expansion, GradientBuilder } from './rule.js'
import {
  add,
  integers,
  multiply,
  reshape,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  slice,
  subtract,
  transposeMatrix,
  unsqueeze,
} from './terms.js'

/** A convolution of each channel by itself, over the past inputs and the new ones. */
export const causalConvWithState: Expansion = {
  expand(node, g) {
    const [x, weight, bias, past] = range(4, (i) => node.input(i))
    const [channels, size] = [Number(shapeOf(weight!)[0]), Number(shapeOf(weight!)[2])]
    const padded = past ? g.op('Concat', [past, x], { axis: int(2) }) : g.op('Pad', [x, integers(g, [size - 1, 0]), null, integers(g, [2])])
    const y = g.op('Conv', [padded, weight, bias], { group: int(channels), kernel_shape: ints([size]) })
    y.shape = x!.shape
    const state = size > 1 ? slice(g, padded, 2, 1 - size) : slice(g, padded, 2, 0, 0)
    return [node.string('activation', 'none') === 'none' ? y : g.op('Swish', [y]), state]
  },
}

/** The state's decay up to each token, and from one token to a later one. */
interface Decay {
  /** [batch, heads, tokens, size or 1]; null: none. */
  readonly sinceStart: Value | null
  /** d_ts = exp(g_(s+1) + ... + g_t), [batch, heads, tokens t, tokens s, size or 1]; null: none. */
  readonly between: Value | null
}

function decayOf(g: GradientBuilder, gate: Value | null): Decay {
  if (!gate) return { sinceStart: null, between: null }
  const sums = g.op('CumSum', [gate, integers(g, [2])])
  const differences = subtract(g, unsqueeze(g, sums, 3), unsqueeze(g, sums, 2))
  // Later tokens do not reach earlier ones: what would overflow there is cut off.
  return { sinceStart: g.op('Exp', [sums]), between: g.op('Exp', [g.op('Min', [differences, scalar(g, 0, gate)])]) }
}

/** sum over the state's rows of a_t d_ts b_s: [batch, heads, tokens t, tokens s]. */
function decayedProducts(g: GradientBuilder, a: Value, b: Value, { between }: Decay): Value {
  if (!between) return g.op('MatMul', [a, transposeMatrix(g, b)])
  if (shapeOf(between)[4] === 1)
    return multiply(g, g.op('MatMul', [a, transposeMatrix(g, b)]), g.op('Squeeze', [between, integers(g, [4])]))
  const products = multiply(g, multiply(g, unsqueeze(g, a, 3), unsqueeze(g, b, 2)), between)
  return g.op('ReduceSum', [products, integers(g, [4])], { keepdims: int(0) })
}

/** The inverse of 1 + A for a strictly lower triangular A [.., n, n]: (1 - A)(1 + A^2)(1 + A^4) ..., which ends since A^n = 0. */
function unitTriangularInverse(g: GradientBuilder, a: Value, n: number): Value {
  const identity = range(n * n, (i) => Number(i % (n + 1) === 0))
  const one = g.constant(ndarray(a.dtype ?? 'float32', [n, n], identity))
  let inverse = subtract(g, one, a)
  let power = a
  for (let reach = 2; reach < n; reach *= 2) {
    power = g.op('MatMul', [power, power])
    inverse = g.op('MatMul', [inverse, add(g, power, one)])
  }
  return inverse
}

/**
 * With D the decay, the values that enter the state are U = (1 + beta A)^-1 beta (V - D K S), where A_ts = k_t d_ts k_s for
 * earlier s; without correction they are V. Then O = scale (D Q S + [q_t d_ts k_s]_(s <= t) U). Source: Yang et al. 2024,
 * Parallelizing Linear Transformers with the Delta Rule over Sequence Length.
 */
export const linearAttention: Expansion = {
  expand(node, g) {
    const [q, k, v, past, gate, rate] = range(6, (i) => node.input(i))
    const [heads, keyHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)]
    const [key, value] = [splitHeads(g, k!, keyHeads), splitHeads(g, v!, keyHeads)]
    const query = splitHeads(g, q!, heads)
    const decay = decayOf(g, gate && splitHeads(g, gate, keyHeads))
    const decayed = (x: Value): Value => (decay.sinceStart ? multiply(g, x, decay.sinceStart) : x)
    const entering = rate
      ? corrected(g, node, { key, value, past, rate: splitHeads(g, rate, shapeOf(rate)[2] === 1 ? 1 : keyHeads) }, decay)
      : value
    const scale = node.float('scale', 0) || 1 / Math.sqrt(Number(shapeOf(query)[3]))
    const group = heads / keyHeads
    const outputs = range(group, (i) => {
      const own =
        group === 1
          ? query
          : g.op(
              'Gather',
              [
                query,
                integers(
                  g,
                  range(keyHeads, (h) => h * group + i),
                ),
              ],
              { axis: int(1) },
            )
      const scores = g.op('Trilu', [decayedProducts(g, own, key, decay)], { upper: int(0) })
      const fresh = g.op('MatMul', [scores, entering])
      return past ? add(g, fresh, g.op('MatMul', [decayed(own), past])) : fresh
    })
    const output = multiply(g, group === 1 ? outputs[0] : neighbours(g, outputs, heads), scale)
    return [mergedHeads(g, output), finalState(g, key, entering, past, decay)]
  },
}

/** Heads of several arrays in turn: the first of each, the second of each ... */
function neighbours(g: GradientBuilder, parts: readonly Value[], heads: number): Value {
  const stacked = g.op(
    'Concat',
    parts.map((part) => unsqueeze(g, part, 2)),
    { axis: int(2) },
  )
  const [tokens, size] = [sizeAlong(g, parts[0], 2), sizeAlong(g, parts[0], 3)]
  return reshape(g, stacked, sizes(g, [sizeAlong(g, parts[0], 0), heads, tokens, size]))
}

interface Correction {
  readonly key: Value
  readonly value: Value
  readonly past: Value | null
  readonly rate: Value
}

function corrected(g: GradientBuilder, node: Node, { key, value, past, rate }: Correction, decay: Decay): Value {
  const tokens = shapeOf(key)[2]
  if (typeof tokens !== 'number')
    throw unsupported(`the gradient of ${node.type} ${node.name || node.output.name} with a delta rule needs a known number of tokens`)
  const decayedKey = decay.sinceStart ? multiply(g, key, decay.sinceStart) : key
  const known = past ? subtract(g, value, g.op('MatMul', [decayedKey, past])) : value
  const before = g.op('Trilu', [decayedProducts(g, key, key, decay), g.constant(ndarray('int64', [], [-1]))], { upper: int(0) })
  return g.op('MatMul', [unitTriangularInverse(g, multiply(g, before, rate), tokens), multiply(g, known, rate)])
}

/** S_T = D_T S + sum_s d_Ts k_s u_s */
function finalState(g: GradientBuilder, key: Value, entering: Value, past: Value | null, decay: Decay): Value {
  const last = (x: Value): Value => slice(g, x, 2, -1)
  const late = decay.between ? multiply(g, key, g.op('Squeeze', [last(decay.between), integers(g, [2])])) : key
  const fresh = g.op('MatMul', [transposeMatrix(g, late), entering])
  if (!past) return fresh
  return add(g, fresh, decay.sinceStart ? multiply(g, past, transposeMatrix(g, last(decay.sinceStart))) : past)
}
