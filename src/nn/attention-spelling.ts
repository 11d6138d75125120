/**
 * Attention has two spellings: fused, the operator Attention on [batch, tokens, channels]; and expanded, matrix products and
 * a softmax on [batch, heads, tokens, head size], which shows scores and probabilities.
 */
import { unsupported } from '../base/errors.js'
import { int, ints } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { ArrayTensor } from '../ir/tensor.js'
import { ndarray } from '../numbers/dtype.js'
import { Net, type OperatorOptions } from './net.js'

/** The score of a key that a query may not see, by dtype: finite, since infinities cancel to NaN. */
export const maskedScores = { float32: -3.4028234663852886e38, float16: -65504 } as const

/** The steps of an expanded attention that others look at. */
export interface ExpandedAttention {
  /** MatMul of queries [batch, heads, tokens, size] and keys [batch, heads, size, keys]. */
  readonly scores: Node
  readonly softmax: Node
  /** MatMul of probabilities [batch, heads, tokens, keys] and values [batch, heads, keys, size]. */
  readonly context: Node
}

interface Sizes {
  readonly heads: number
  readonly kvHeads: number
  readonly size: number
  readonly valueSize: number
}

/** Why {@link expandAttention} would refuse an Attention, or null. */
export function expansionObstacle(node: Node): string | null {
  const [query, key, value, mask, pastKey, pastValue] = node.inputs
  if ([query, key, value].some((input) => input?.shape?.length !== 3)) return 'its inputs are not of the shape [batch, tokens, channels]'
  if (!sizesOf(node)) return 'its heads or their size are not known'
  if (query!.dtype !== 'float32' && query!.dtype !== 'float16') return `it computes in ${query!.dtype}`
  if (node.int('is_causal', 0) || node.int('left_window_size', -1) >= 0 || node.int('right_window_size', -1) >= 0)
    return 'it hides keys by an attribute instead of a mask'
  if (mask && !isWholeMask(mask)) return 'its mask does not cover all keys'
  if (!pastKey !== !pastValue || node.input(6)) return 'its cache is not plain keys and values'
  if (node.outputs[3]?.uses.size || 'softmax_precision' in node.attributes) return 'it gives its scores back or sets a precision'
  return null
}

function sizesOf(node: Node): Sizes | null {
  const [heads, kvHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)]
  const [q, k, v] = node.inputs.map((input) => Number(input?.shape?.at(-1)))
  const sizes = { heads, kvHeads, size: q / heads, valueSize: v / kvHeads }
  return k / kvHeads === sizes.size && [heads / kvHeads, sizes.size, sizes.valueSize].every((each) => each > 0 && Number.isInteger(each))
    ? sizes
    : null
}

/** A mask that is shorter than the keys hides the others; only one of as many columns as there are keys is added as it is. */
export function isWholeMask(mask: Value): boolean {
  return (mask.shape?.length ?? 0) > 1 && mask.shape!.length <= 4 && mask.shape!.at(-1) !== 1
}

/**
 * Spells an Attention out, in place, as Reshape and Transpose to heads, MatMul, Mul (scale), soft cap, mask (Where for bool
 * masks, Add for others), Softmax, MatMul, and back. Keys and values of the cache go before the new ones, and those that
 * several query heads share are repeated. {@link fuseAttention} is the inverse. Queries that may see no key at all get
 * the mean of the values instead of zeros.
 *
 * @param node Attention in `graph`, float32 or float16
 * @throws TinsmithError `unsupported` with the {@link expansionObstacle}
 * @example
 * const { softmax } = expandAttention(node, graph)
 * softmax.output.shape // ['batch', 12, 'tokens', 'tokens']
 */
export function expandAttention(node: Node, graph: Graph): ExpandedAttention {
  const obstacle = expansionObstacle(node)
  if (obstacle) throw unsupported(`the attention cannot be expanded: ${obstacle}`, { where: node.name || node.output.name })
  const [query, key, value, mask = null, pastKey = null, pastValue = null] = node.inputs as (Value | null)[]
  const { heads, kvHeads, size, valueSize } = sizesOf(node)!
  const steps = new Steps(new Net(graph, undefined, node.name), node)
  const simple = heads === kvHeads && !pastKey && !isUsed(node.outputs[1], graph)
  const keys = simple ? null : steps.appended(pastKey, steps.heads(key!, kvHeads, size))
  const values = steps.appended(pastValue, steps.heads(value!, kvHeads, valueSize))
  const columns = keys
    ? steps.transposed(steps.repeated(keys, kvHeads, heads, size), [0, 1, 3, 2])
    : steps.heads(key!, heads, size, [0, 2, 3, 1])
  const product = steps.op('MatMul', [steps.heads(query!, heads, size), columns])
  const scaled = steps.times(product, node.float('scale', 1 / Math.sqrt(size)))
  const probabilities = steps.op('Softmax', [steps.masked(steps.capped(scaled, node.float('softcap', 0)), mask)], { axis: int(-1) })
  const mixed = steps.op('MatMul', [probabilities, steps.repeated(values, kvHeads, heads, valueSize)])
  const merged = steps.reshaped(steps.transposed(mixed, [0, 2, 1, 3]), [0, 0, heads * valueSize])
  for (const [i, replacement] of [merged, keys, values].entries())
    if (replacement && isUsed(node.outputs[i], graph)) graph.replaceAllUses(node.outputs[i], replacement)
  graph.remove(node)
  return { scores: product.producer!, softmax: probabilities.producer!, context: mixed.producer! }
}

function isUsed(value: Value | undefined, graph: Graph): boolean {
  return value !== undefined && (value.uses.size > 0 || graph.outputs.includes(value))
}

/** The operators of an expanded attention, added before a node. */
class Steps {
  readonly #net: Net
  readonly #place: OperatorOptions

  constructor(net: Net, before: Node) {
    this.#net = net
    this.#place = { before }
  }

  op(operator: string, inputs: readonly Value[], attributes: Parameters<Net['op']>[2] = {}): Value {
    return this.#net.op(operator, inputs, attributes, this.#place)
  }

  reshaped(x: Value, shape: readonly number[]): Value {
    return this.op('Reshape', [x, this.#net.ints(shape)])
  }

  transposed(x: Value, perm: readonly number[]): Value {
    return this.op('Transpose', [x], { perm: ints(perm) })
  }

  /** [batch, tokens, heads * size] -> [batch, heads, tokens, size], or what `perm` makes of [batch, tokens, heads, size]. */
  heads(x: Value, heads: number, size: number, perm: readonly number[] = [0, 2, 1, 3]): Value {
    return this.transposed(this.reshaped(x, [0, 0, heads, size]), perm)
  }

  appended(past: Value | null, x: Value): Value {
    return past ? this.op('Concat', [past, x], { axis: int(2) }) : x
  }

  /** Each head as often as query heads share it, neighbours side by side. */
  repeated(x: Value, kvHeads: number, heads: number, size: number): Value {
    if (heads === kvHeads) return x
    const group = this.op('Unsqueeze', [x, this.#net.ints([2])])
    return this.reshaped(this.op('Expand', [group, this.#net.ints([1, 1, heads / kvHeads, 1, 1])]), [0, heads, -1, size])
  }

  times(x: Value, factor: number): Value {
    return factor === 1 ? x : this.op('Mul', [x, this.#scalar(x, factor)])
  }

  capped(x: Value, cap: number): Value {
    if (!cap) return x
    const limit = this.#scalar(x, cap)
    return this.op('Mul', [this.op('Tanh', [this.op('Div', [x, limit])]), limit])
  }

  masked(x: Value, mask: Value | null): Value {
    if (!mask) return x
    if (mask.dtype !== 'bool') return this.op('Add', [x, mask])
    return this.op('Where', [mask, x, this.#scalar(x, maskedScores[x.dtype as keyof typeof maskedScores])])
  }

  /** A constant of the dtype of `like`. */
  #scalar(like: Value, value: number): Value {
    if (like.dtype !== 'float16') return this.#net.float(value)
    return this.#net.constant(`float16_${String(value).replace(/\W/g, '_')}`, ArrayTensor.of(ndarray('float16', [], [value])))
  }
}
