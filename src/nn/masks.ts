import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import type { Net, OperatorOptions } from './net.js'

/** Which keys each query may see, from a 0/1 padding mask [batch, keys]: bool [batch, 1, 1, keys]. */
export function paddingMask(net: Net, attentionMask: Value, place: OperatorOptions = {}): Value {
  return net.op('Unsqueeze', [net.op('Cast', [attentionMask], { to: int(9) }, place), net.ints([1, 2])], {}, place)
}

/**
 * Which keys each query of a decoder with a cache may see: those not after it and not padding, and always itself, so
 * that no row is empty. Bool [batch, 1, queries, keys].
 *
 * @param attentionMask 0/1 [batch, keys], past included
 * @param past a cached key of any layer, [batch, kvHeads, pastLength, headSize]
 */
export function causalMask(net: Net, attentionMask: Value, past: Value): Value {
  const pastLength = net.op('Squeeze', [net.op('Shape', [past], { start: int(2), end: int(3) }), net.ints([0])])
  const keys = net.op('Squeeze', [net.op('Shape', [attentionMask], { start: int(1), end: int(2) }), net.ints([0])])
  const rows = net.op('Unsqueeze', [net.op('Range', [pastLength, keys, net.ints(1)]), net.ints([1])])
  const columns = net.op('Range', [net.ints(0), keys, net.ints(1)])
  const visible = net.op('And', [net.op('LessOrEqual', [columns, rows]), paddingMask(net, attentionMask)])
  return net.op('Or', [visible, net.op('Equal', [columns, rows])])
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
