import { Net } from '../../nn/net.js'
import type { LowerRule } from '../rule.js'
import { activationCodes } from './quantized.js'

/** Integer product of two quantized activations, unsigned by signed, straight from their codes. */
const integerProduct: LowerRule = {
  name: 'integer-product',
  at: ['MatMul'],
  rewrite(node, graph, { target }) {
    const [a, b] = [activationCodes(node.input(0)), activationCodes(node.input(1), 'int8')]
    if (!target.fused.has('MatMulIntegerToFloat') || !a || !b) return false
    const net = new Net(graph, undefined, node.name)
    const inputs = [a.codes, b.codes, a.scale, b.scale, a.zeroPoint, b.zeroPoint]
    graph.replace(node, net.op('MatMulIntegerToFloat', inputs, {}, { domain: 'com.microsoft', before: node }))
    return true
  },
}

export const quantizedProductRules: readonly LowerRule[] = [integerProduct]
