import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { Net } from '../../nn/net.js'
import type { RaiseContext, RaiseRule } from '../rule.js'
import { maskOf, scaleOf } from './attention.js'

/** A float activation from its codes, made once for all products that read them. */
export function dequantize(
  codes: Value,
  scale: Value,
  zeroPoint: Value | null,
  before: Node,
  graph: Graph,
  { dequantized }: RaiseContext,
): Value {
  const known = dequantized.get(codes)
  if (known) return known
  const net = new Net(graph, undefined, codes.producer?.name ?? '')
  const inputs = zeroPoint ? [codes, scale, zeroPoint] : [codes, scale]
  const value = net.op('DequantizeLinear', inputs, {}, { before: codes.producer?.next ?? before })
  dequantized.set(codes, value)
  return value
}

/** A weight [in, out] in float from its codes, in the module that the codes are named after. */
function matrixOf(codes: Value, scale: Value, zeroPoint: Value | null, before: Node, graph: Graph): Value {
  const net = new Net(graph, undefined, moduleOf(codes))
  const inputs = zeroPoint ? [codes, scale, zeroPoint] : [codes, scale]
  return net.op('DequantizeLinear', inputs, scale.shape?.length === 1 ? { axis: int(1) } : {}, { before })
}

function moduleOf(weight: Value): string {
  return weight.name.replace(/\.weight$/, '')
}

/** x W + b in float, for a weight [in, out] of codes; takes the place of a fused node. */
function linearOf(node: Node, graph: Graph, x: Value, weight: readonly (Value | null)[], bias: Value | null): void {
  const net = new Net(graph, undefined, node.name)
  const [codes, scale, zeroPoint] = weight
  const place = { before: node }
  const product = net.op('MatMul', [x, matrixOf(codes!, scale!, zeroPoint, node, graph)], {}, place)
  graph.replace(node, bias ? net.op('Add', [product, bias], {}, place) : product)
}

const integerToFloat: RaiseRule = {
  name: 'matmul-integer-to-float',
  at: ['com.microsoft.MatMulIntegerToFloat'],
  rewrite(node, graph, context) {
    const [a, b, aScale, bScale, aZero, bZero, bias] = node.inputs
    if (!a || !aScale || b?.shape?.length !== 2) return false
    linearOf(node, graph, dequantize(a, aScale, aZero ?? null, node, graph, context), [b, bScale, bZero ?? null], bias ?? null)
    return true
  },
}

/** The projection to query, key and value and the attention of which QAttention is made. */
const quantizedAttention: RaiseRule = {
  name: 'quantized-attention',
  at: ['com.microsoft.QAttention'],
  rewrite(node, graph, context) {
    const [codes, weight, bias, scale, weightScale, padding, zeroPoint, weightZero] = node.inputs
    const attentionMask = producedBy(padding, 'Cast')?.input(0)
    const heads = node.int('num_heads', 0)
    if (
      !codes ||
      !weight?.isConstant ||
      !bias ||
      !scale ||
      attentionMask?.shape?.length !== 2 ||
      node.input(8) ||
      node.int('unidirectional', 0)
    )
      return false
    if (!isZero(weightZero)) return false
    const width = bias.shape![0] as number
    const x = dequantize(codes, scale, zeroPoint, node, graph, context)
    const place = { before: node }
    const projection = new Net(graph, undefined, moduleOf(weight))
    const matrix = matrixOf(weight, weightScale!, null, node, graph)
    const merged = projection.op('Add', [projection.op('MatMul', [x, matrix], {}, place), bias], {}, place)
    const sizes = projection.ints([width / 3, width / 3, width / 3])
    const parts = projection.ops('Split', [merged, sizes], { ...place, attributes: { axis: int(-1) }, outputs: ['q', 'k', 'v'] })
    const net = new Net(graph, undefined, node.name)
    const mask = maskOf(attentionMask, node, graph, context)
    graph.replace(
      node,
      net.op('Attention', [...parts, mask], { q_num_heads: int(heads), kv_num_heads: int(heads), ...scaleOf(node) }, place),
    )
    return true
  },
}

function isZero(value: Value | null): boolean {
  return !value?.tensor || (value.tensor.elements !== null && Array.from(value.tensor.elements as ArrayLike<number>).every((z) => z === 0))
}

const dynamicQuantizeMatMul: RaiseRule = {
  name: 'dynamic-quantize-matmul',
  at: ['com.microsoft.DynamicQuantizeMatMul'],
  rewrite(node, graph, context) {
    const [a, b, bScale, bZero, bias] = node.inputs
    if (!a || b?.shape?.length !== 2) return false
    const known = a.users.find((user) => user.type === 'DynamicQuantizeLinear')
    const [codes, scale, zeroPoint] =
      known?.outputs ??
      new Net(graph, undefined, node.name).ops('DynamicQuantizeLinear', [a], { outputs: ['codes', 'scale', 'zero_point'], before: node })
    linearOf(node, graph, dequantize(codes, scale, zeroPoint, node, graph, context), [b, bScale, bZero ?? null], bias ?? null)
    return true
  },
}

/** Codes of rows, cast and scaled: a table of codes that was read row by row. */
const integerEmbedding: RaiseRule = {
  name: 'integer-embedding',
  at: ['Mul'],
  rewrite(node, graph) {
    const codes = producedBy(producedBy(node.input(0), 'Cast')?.input(0) ?? null, 'Gather')
    const scale = producedBy(producedBy(node.input(1), 'Unsqueeze')?.input(0) ?? null, 'Gather')
    const [table, scales] = [codes?.input(0), scale?.input(0)]
    if (
      !codes ||
      codes.input(1) !== scale?.input(1) ||
      codes.int('axis', 0) ||
      !table?.isConstant ||
      !scales?.isConstant ||
      table.shape?.length !== 2
    )
      return false
    const net = new Net(graph, undefined, node.name)
    const dequantized = net.op('DequantizeLinear', [table, scales], { axis: int(0) }, { before: node })
    graph.replace(node, net.op('Gather', [dequantized, codes.input(1)], { axis: int(0) }, { before: node }))
    return true
  },
}

export const quantizedRules: readonly RaiseRule[] = [quantizedAttention, integerToFloat, dynamicQuantizeMatMul, integerEmbedding]
