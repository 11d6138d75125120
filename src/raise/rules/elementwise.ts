import { float, ints, string } from '../../ir/attribute.js'
import { Net } from '../../nn/net.js'
import type { RaiseRule } from '../rule.js'

const quickGelu: RaiseRule = {
  name: 'quick-gelu',
  at: ['com.microsoft.QuickGelu'],
  rewrite(node, graph) {
    const alpha = node.float('alpha', 1.702)
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('Swish', [node.input(0)], alpha === 1 ? {} : { alpha: float(alpha) }, { before: node }))
    return true
  },
}

const gelu: RaiseRule = {
  name: 'gelu',
  at: ['com.microsoft.Gelu'],
  rewrite(node, graph) {
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('Gelu', [node.input(0)], {}, { before: node }))
    return true
  },
}

const fastGelu: RaiseRule = {
  name: 'fast-gelu',
  at: ['com.microsoft.FastGelu'],
  rewrite(node, graph) {
    const [x, bias] = node.inputs
    const net = new Net(graph, undefined, node.name)
    const input = bias ? net.op('Add', [x, bias], {}, { before: node }) : x
    graph.replace(node, net.op('Gelu', [input], { approximate: string('tanh') }, { before: node }))
    return true
  },
}

const simplifiedLayerNormalization: RaiseRule = {
  name: 'simplified-layer-normalization',
  at: ['SimplifiedLayerNormalization'],
  rewrite(node, graph) {
    if (node.outputs.slice(1).some((output) => output.uses.size)) return false
    const net = new Net(graph, undefined, node.name)
    const { stash_type: _, ...attributes } = node.attributes
    graph.replace(node, net.op('RMSNormalization', [node.input(0), node.input(1)], attributes, { before: node }))
    return true
  },
}

const fusedMatMul: RaiseRule = {
  name: 'fused-matmul',
  at: ['com.microsoft.FusedMatMul'],
  rewrite(node, graph) {
    const [a, b] = node.inputs
    if (
      node.int('transA', 0) ||
      node.int('transBatchA', 0) ||
      node.int('transBatchB', 0) ||
      (node.int('transB', 0) && b?.shape?.length !== 2)
    )
      return false
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const matrix = node.int('transB', 0) ? net.op('Transpose', [b], { perm: ints([1, 0]) }, place) : b
    const product = net.op('MatMul', [a, matrix], {}, place)
    const alpha = node.float('alpha', 1)
    graph.replace(node, alpha === 1 ? product : net.op('Mul', [product, net.float(alpha)], {}, place))
    return true
  },
}

export const elementwiseRules: readonly RaiseRule[] = [quickGelu, gelu, fastGelu, simplifiedLayerNormalization, fusedMatMul]
