import { float, int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import type { Net } from './net.js'

/** x W + b; `weight` [out, in] in the checkpoint; the bias is taken where `bias` says so. */
export function linear(net: Net, x: Value, inputs: number, outputs: number, bias: boolean): Value {
  const product = net.op('MatMul', [x, net.matrix('weight', inputs, outputs)])
  return bias ? net.op('Add', [product, net.parameter('bias', [outputs])]) : product
}

/** x W + b with `weight` [in, out] in the checkpoint, which GPT-2 calls Conv1D. */
export function conv1d(net: Net, x: Value, inputs: number, outputs: number): Value {
  return net.op('Add', [net.op('MatMul', [x, net.parameter('weight', [inputs, outputs])]), net.parameter('bias', [outputs])])
}

/** LayerNorm over the last axis. */
export function layerNorm(net: Net, x: Value, size: number, epsilon: number): Value {
  return net.op('LayerNormalization', [x, net.parameter('weight', [size]), net.parameter('bias', [size])], {
    axis: int(-1),
    epsilon: float(epsilon),
  })
}

/** RMSNorm over the last axis (Zhang and Sennrich, 2019). */
export function rmsNorm(net: Net, x: Value, size: number, epsilon: number): Value {
  return net.op('RMSNormalization', [x, net.parameter('weight', [size])], { axis: int(-1), epsilon: float(epsilon) })
}

/** Rows of a table [count, width] by integer ids. */
export function embedding(net: Net, ids: Value, count: number, width: number): Value {
  return net.op('Gather', [net.parameter('weight', [count, width]), ids], { axis: int(0) })
}

/** The first rows of a table [count, width], one for each token of ids [batch, tokens]: learned absolute positions. */
export function positionEmbedding(net: Net, ids: Value, count: number, width: number): Value {
  const tokens = net.op('Shape', [ids], { start: int(1), end: int(2) })
  return net.op('Slice', [net.parameter('weight', [count, width]), net.ints([0]), tokens, net.ints([0])])
}

/** Logits from a table [count, width] shared with the embedding: x times its transpose, the table stored once. */
export function tiedHead(net: Net, x: Value, table: Value): Value {
  return net.op('MatMul', [x, net.op('Transpose', [table], { perm: { kind: 'ints', value: [1, 0] } })])
}
