import { float, int } from '../../ir/attribute.js'
import { producedBy } from '../../ir/rewrite.js'
import { Net } from '../../nn/net.js'
import type { LowerRule } from '../rule.js'

/** Swish is QuickGelu with its factor. */
const swish: LowerRule = {
  name: 'swish',
  at: ['Swish'],
  rewrite(node, graph, { target }) {
    if (!target.fused.has('QuickGelu')) return false
    const net = new Net(graph, undefined, node.name)
    graph.replace(
      node,
      net.op('QuickGelu', [node.input(0)], { alpha: float(node.float('alpha', 1)) }, { domain: 'com.microsoft', before: node }),
    )
    return true
  },
}

/** GELU by its tanh form has a faster kernel under another name. */
const tanhGelu: LowerRule = {
  name: 'tanh-gelu',
  at: ['Gelu'],
  rewrite(node, graph, { target }) {
    if (!target.fused.has('FastGelu') || node.string('approximate', 'none') !== 'tanh') return false
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('FastGelu', [node.input(0)], {}, { domain: 'com.microsoft', before: node }))
    return true
  },
}

/** RMSNorm under the name that ONNX Runtime knows in every opset. */
const rmsNormalization: LowerRule = {
  name: 'rms-normalization',
  at: ['RMSNormalization'],
  rewrite(node, graph) {
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('SimplifiedLayerNormalization', node.inputs, node.attributes, { before: node }))
    return true
  },
}

/** A product with a transposed constant reads the constant as it lies, so that tied embeddings are stored and held once. */
const transposedWeight: LowerRule = {
  name: 'transposed-weight',
  at: ['MatMul'],
  rewrite(node, graph, { target, observed }) {
    const transpose = producedBy(node.input(1), 'Transpose')
    if (!target.fused.has('FusedMatMul') || !transpose?.input(0)?.isConstant || transpose.ints('perm')?.join() !== '1,0') return false
    if (observed.has(transpose.output)) return false
    const net = new Net(graph, undefined, node.name)
    const attributes = { transA: int(0), transB: int(1), alpha: float(1) }
    graph.replace(node, net.op('FusedMatMul', [node.input(0), transpose.input(0)], attributes, { domain: 'com.microsoft', before: node }))
    return true
  },
}

export const elementwiseRules: readonly LowerRule[] = [swish, tanhGelu, rmsNormalization, transposedWeight]
