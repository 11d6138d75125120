import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { producedBy } from '../ir/rewrite.js'
import type { Net, OperatorOptions } from './net.js'

/** Which keys each query may see, from a 0/1 padding mask [batch, keys]: bool [batch, 1, 1, keys]. */
export function paddingMask(net: Net, attentionMask: Value, place: OperatorOptions = {}): Value {
  return net.op('Unsqueeze', [net.op('Cast', [attentionMask], { to: int(9) }, place), net.ints([1, 2])], {}, place)
}

/** The 0/1 padding mask [batch, keys] that {@link paddingMask} made a mask [batch, 1, 1, keys] of; null where it made none. */
export function paddingOf(mask: Value | null): Value | null {
  const cast = producedBy(producedBy(mask, 'Unsqueeze')?.input(0) ?? null, 'Cast')
  return cast?.input(0)?.shape?.length === 2 && mask?.shape?.length === 4 && mask.shape[1] === 1 && mask.shape[2] === 1
    ? cast.input(0)
    : null
}

/**
 * Which keys each query of a decoder may see: those not after it and not padding, and always itself, so that no row is
 * empty. Bool [batch, 1, queries, keys].
 *
 * @param attentionMask 0/1 [batch, keys], past included
 * @param past a cached key of any layer, [batch, kvHeads, pastLength, headSize]; absent without a cache
 * @param window how many keys before the query's own, itself included, it sees; absent: all
 */
export function causalMask(net: Net, attentionMask: Value, past?: Value, window?: number): Value {
  const keys = sizeOf(net, attentionMask, 1)
  const rows = net.op('Unsqueeze', [net.op('Range', [past ? sizeOf(net, past, 2) : net.ints(0), keys, net.ints(1)]), net.ints([1])])
  const columns = net.op('Range', [net.ints(0), keys, net.ints(1)])
  const before = net.op('LessOrEqual', [columns, rows])
  const near =
    window === undefined ? before : net.op('And', [before, net.op('Greater', [columns, net.op('Sub', [rows, net.ints(window)])])])
  const visible = net.op('And', [near, paddingMask(net, attentionMask)])
  return net.op('Or', [visible, net.op('Equal', [columns, rows])])
}

/** The size of an axis as an int64 scalar. */
function sizeOf(net: Net, value: Value, axis: number): Value {
  return net.op('Squeeze', [net.op('Shape', [value], { start: int(axis), end: int(axis + 1) }), net.ints([0])])
}

/** Positions 0, 1, 2 ... of the tokens of each row: int64 [batch, tokens]. */
export function tokenPositions(net: Net, ids: Value): Value {
  return net.op('Expand', [net.op('Range', [net.ints(0), sizeOf(net, ids, 1), net.ints(1)]), net.op('Shape', [ids])])
}

/** The vector of the last token that is kept, by a bool mask [batch, tokens]: [batch, tokens, size] -> [batch, size]. */
export function lastToken(net: Net, hidden: Value, kept: Value): Value {
  const positions = net.op('Range', [net.ints(0), sizeOf(net, kept, 1), net.ints(1)])
  const counted = net.op('Mul', [net.op('Cast', [kept], { to: int(7) }), positions])
  const last = net.op('ArgMax', [counted], { axis: int(1), keepdims: int(1) })
  return net.op('GatherND', [hidden, last], { batch_dims: int(1) })
}

/** The mean over tokens that are no padding: [batch, tokens, size] -> [batch, size]. */
export function meanPool(net: Net, hidden: Value, attentionMask: Value): Value {
  const weights = net.op('Cast', [attentionMask], { to: int(1) })
  const sum = net.op('Squeeze', [net.op('MatMul', [net.op('Unsqueeze', [weights, net.ints([1])]), hidden]), net.ints([1])])
  const count = net.op('Max', [net.op('ReduceSum', [weights, net.ints([1])], { keepdims: int(1) }), net.float(1e-9)])
  return net.op('Div', [sum, count])
}

/** Every row divided by its Euclidean length. */
export function normalizeRows(net: Net, x: Value): Value {
  const length = net.op('ReduceL2', [x, net.ints([-1])], { keepdims: int(1) })
  return net.op('Div', [x, net.op('Max', [length, net.float(1e-12)])])
}

/** The vector of the first token: [batch, tokens, size] -> [batch, size]. */
export function firstToken(net: Net, hidden: Value): Value {
  return net.op('Gather', [hidden, net.ints(0)], { axis: int(1) })
}
