import { Net } from '../../nn/net.js'
import type { RaiseRule } from '../rule.js'
import { dequantize } from './quantized.js'

/** Integer products of two computed values, as those of attention are. */
const integerProduct: RaiseRule = {
  name: 'integer-product',
  at: ['com.microsoft.MatMulIntegerToFloat'],
  rewrite(node, graph, context) {
    const [a, b, aScale, bScale, aZero, bZero, bias] = node.inputs
    if (!a || !b || b.isConstant || bias || aScale?.shape?.length !== 0 || bScale?.shape?.length !== 0) return false
    const operands = [
      dequantize(a, aScale, aZero ?? null, node, graph, context),
      dequantize(b, bScale, bZero ?? null, node, graph, context),
    ]
    graph.replace(node, new Net(graph, undefined, node.name).op('MatMul', operands, {}, { before: node }))
    return true
  },
}

export const quantizedProductRules: readonly RaiseRule[] = [integerProduct]
