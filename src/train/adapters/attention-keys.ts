/** Keys and values that an attention sees beside those of its tokens. */
import { anatomyOf } from '../../anatomy/index.js'
import { badInput, unsupported } from '../../base/errors.js'
import { int, ints } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { expandAttention, expansionObstacle } from '../../nn/attention-spelling.js'
import type { Net } from '../../nn/net.js'
import { inferShapes } from '../../ops/infer.js'
import { adapt } from './places.js'

/** An end that lies behind every sequence. */
const end = 2 ** 31 - 1

export interface AttentionSite {
  readonly name: string
  readonly node: Node
  readonly kvHeads: number
  /** Channels of keys, and of values. */
  readonly sizes: readonly [number, number]
}

/** @throws TinsmithError `bad-input` without blocks; `unsupported` for forms of attention that take no further keys (named) */
export function attentionSites(graph: Graph): AttentionSite[] {
  const { blocks } = anatomyOf(graph)
  if (!blocks.length) throw badInput('the graph has no blocks with attention')
  return blocks.map(({ name, mixer: { node, kvHeads } }) => {
    const refuse = (why: string) => unsupported(`the attention of ${name} takes no further keys: ${why}`)
    if (node.type !== 'Attention') throw refuse('it is expanded; fuse it first')
    if (node.inputs.slice(0, 3).some((input) => input?.shape?.length !== 3) || !kvHeads)
      throw refuse('its inputs are not [batch, tokens, channels]')
    if (node.int('is_causal', 0) || node.int('left_window_size', -1) >= 0 || node.input(6))
      throw refuse('it hides keys by an attribute instead of a mask')
    return { name, node, kvHeads, sizes: [Number(node.input(1)!.shape![2]), Number(node.input(2)!.shape![2])] as const }
  })
}

/** Rows [rows, channels] for every sample of a batch: [batch, rows, channels]. */
export function forBatch(net: Net, rows: Value, like: Value): Value {
  const batch = net.op('Shape', [like], { start: int(0), end: int(1) })
  return net.op('Expand', [rows, net.op('Concat', [batch, net.ints(rows.shape as readonly number[])], { axis: int(0) })])
}

/** The part of a sequence [batch, tokens, channels] or a cache [batch, heads, tokens, size] from a token on, or before it. */
export function tokensFrom(net: Net, x: Value, first: number, axis = 1): Value {
  return net.op('Slice', [x, net.ints([first]), net.ints([end]), net.ints([axis])])
}

export function tokensBefore(net: Net, x: Value, last: number, axis = 1): Value {
  return net.op('Slice', [x, net.ints([0]), net.ints([last]), net.ints([axis])])
}

/** Puts keys and values [batch, count, channels] in front of a cache; what the graph gives back of the cache is without them. */
export function prependToCache(
  graph: Graph,
  net: Net,
  { node, kvHeads, sizes }: AttentionSite,
  parts: readonly Value[],
  count: number,
): void {
  parts.forEach((part, i) => {
    const split = net.op('Reshape', [part, net.ints([0, 0, kvHeads, sizes[i] / kvHeads])])
    const heads = net.op('Transpose', [split], { perm: ints([0, 2, 1, 3]) })
    node.setInput(4 + i, net.op('Concat', [heads, node.input(4 + i)], { axis: int(2) }))
    const present = node.outputs[1 + i]
    if (present && (present.uses.size || graph.outputs.includes(present))) adapt(graph, present, () => tokensFrom(net, present, count, 2))
  })
}

/**
 * Puts a graph whose attentions have got further keys into order: nodes, shapes, and the attentions spelled out, since the fused
 * operators of runtimes want as many new keys as queries.
 */
export function settle(graph: Graph, sites: readonly AttentionSite[]): void {
  graph.sort()
  for (const node of graph.nodes()) for (const output of node.outputs) output.shape = null
  inferShapes(graph)
  for (const { node } of sites) if (!expansionObstacle(node)) expandAttention(node, graph)
}

/** Masks with visible keys in front, made once for each mask. */
export class WiderMasks {
  readonly #net: Net
  readonly #count: number
  /** Whether the keys in front are those of queries in front, each of which sees the ones before it and itself. */
  readonly #hasQueries: boolean
  readonly #made = new Map<Value, Value>()

  constructor(net: Net, count: number, hasQueries: boolean) {
    this.#net = net
    this.#count = count
    this.#hasQueries = hasQueries
  }

  widen(node: Node): void {
    const mask = node.input(3)
    if (!mask) return
    if (mask.dtype !== 'bool' || (mask.shape?.length ?? 0) < 2)
      throw unsupported(`the mask ${mask.name} is not bool with a row of keys for each query, and cannot be widened`)
    if (!this.#made.has(mask)) this.#made.set(mask, this.#wider(mask))
    node.setInput(3, this.#made.get(mask)!)
  }

  #wider(mask: Value): Value {
    const rank = mask.shape!.length
    const wide = this.#beside(this.#filled(mask, true, [rank - 1]), mask, rank - 1)
    if (!this.#hasQueries || mask.shape![rank - 2] === 1) return wide
    const square = this.#net.constant(`prompt_mask_${this.#count}`, lowerTriangle(this.#count))
    const own = this.#net.op('Or', [this.#filled(mask, false, [rank - 2, rank - 1]), square])
    return this.#beside(this.#beside(own, this.#filled(mask, false, [rank - 2]), rank - 1), wide, rank - 2)
  }

  #beside(first: Value, second: Value, axis: number): Value {
    return this.#net.op('Concat', [first, second], { axis: int(axis) })
  }

  /** One value in the shape of the mask, with some axes as long as there are keys in front. */
  #filled(mask: Value, value: boolean, axes: readonly number[]): Value {
    const net = this.#net
    const sizes = mask.shape!.map((_, axis) =>
      axes.includes(axis) ? net.ints([this.#count]) : net.op('Shape', [mask], { start: int(axis), end: int(axis + 1) }),
    )
    const content = net.constant(value ? 'bool_true' : 'bool_false', new ArrayTensor('bool', [], Uint8Array.of(Number(value))))
    return net.op('Expand', [content, net.op('Concat', sizes, { axis: int(0) })])
  }
}

function lowerTriangle(size: number): ArrayTensor {
  return new ArrayTensor(
    'bool',
    [size, size],
    Uint8Array.from({ length: size * size }, (_, i) => Number(i % size <= Math.floor(i / size))),
  )
}
