import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { paddingOf } from '../../nn/masks.js'
import { Net } from '../../nn/net.js'
import type { LowerContext, LowerRule } from '../rule.js'
import { isPlain, scaleOf } from './attention.js'
import { biasOf, replaceProduct } from './products.js'

/** Codes with their scale and zero point, as they stand before a DequantizeLinear. */
interface Quantized {
  readonly codes: Value
  readonly scale: Value
  readonly zeroPoint: Value | null
}

function dequantized(value: Value | null): (Quantized & { readonly node: Node }) | null {
  const node = producedBy(value, 'DequantizeLinear')
  return node && !node.int('block_size', 0) ? { node, codes: node.input(0)!, scale: node.input(1)!, zeroPoint: node.input(2) } : null
}

/** Codes of an activation, with one scale for all of it. */
export function activationCodes(value: Value | null, dtype: 'uint8' | 'int8' = 'uint8'): Quantized | null {
  const found = dequantized(value)
  return found && !found.codes.isConstant && found.codes.dtype === dtype && found.scale.shape?.length === 0 ? found : null
}

/** Codes of a weight [in, out], with one scale for all of it or for each output. */
function weightCodes(value: Value | null): Quantized | null {
  const found = dequantized(value)
  if (!found?.codes.isConstant || found.codes.shape?.length !== 2) return null
  const perOutput = found.scale.shape?.length === 1 && found.node.int('axis', 1) === 1
  return perOutput || found.scale.shape?.length === 0 ? found : null
}

/** Integer product of quantized activations and weights, back to float with its bias in one operator. */
const integerLinear: LowerRule = {
  name: 'integer-linear',
  at: ['MatMul'],
  rewrite(node, graph, context) {
    const activation = activationCodes(node.input(0))
    const weight = weightCodes(node.input(1))
    if (!context.target.fused.has('MatMulIntegerToFloat') || !activation || !weight) return false
    const addition = biasOf(node, context)
    const net = new Net(graph, undefined, node.name)
    const inputs = [
      activation.codes,
      weight.codes,
      activation.scale,
      weight.scale,
      activation.zeroPoint,
      weight.zeroPoint,
      addition?.bias ?? null,
    ]
    const result = net.op('MatMulIntegerToFloat', inputs, {}, { domain: 'com.microsoft', before: addition?.node ?? node })
    replaceProduct(graph, node, addition?.node ?? null, result)
    return true
  },
}

/** Rows of a table of codes are fetched as codes and scaled afterwards, so that the table is never dequantized whole. */
const integerEmbedding: LowerRule = {
  name: 'integer-embedding',
  at: ['Gather'],
  rewrite(node, graph) {
    const table = dequantized(node.input(0))
    if (!table?.codes.isConstant || table.zeroPoint || node.int('axis', 0) || table.node.int('axis', 1) || table.scale.shape?.length !== 1)
      return false
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const ids = node.input(1)
    const rows = net.op('Cast', [net.op('Gather', [table.codes, ids], {}, place)], { to: int(1) }, place)
    const scales = net.op('Unsqueeze', [net.op('Gather', [table.scale, ids], {}, place), net.ints([-1])], {}, place)
    graph.replace(node, net.op('Mul', [rows, scales], {}, place))
    return true
  },
}

/** The linear of query, key and value in one, behind the parts that attention reads. */
function mergedProjection(node: Node, { observed }: LowerContext): { product: Node; bias: Value } | null {
  const split = producedBy(node.input(0), 'Split')
  const sizes = split?.input(1)?.tensor?.elements
  const parts = split?.outputs ?? []
  if (!split || !sizes || parts.length !== 3 || new Set(Array.from(sizes as ArrayLike<number | bigint>, Number)).size !== 1) return null
  if (parts.some((part, i) => node.input(i) !== part || part.uses.size !== 1 || observed.has(part))) return null
  const addition = producedBy(split.input(0), 'Add')
  const product = producedBy(addition?.input(0) ?? null, 'MatMul')
  const bias = addition?.input(1)
  if (!addition || !product || !bias?.isConstant || addition.output.uses.size !== 1 || product.output.uses.size !== 1) return null
  return observed.has(addition.output) || observed.has(product.output) ? null : { product, bias }
}

/** Integer projection to query, key and value, and attention on them, in one operator. */
const integerAttention: LowerRule = {
  name: 'integer-attention',
  at: ['Attention'],
  rewrite(node, graph, context) {
    const heads = node.int('q_num_heads')
    const padding = paddingOf(node.input(3))
    const merged = mergedProjection(node, context)
    if (
      !context.target.fused.has('QAttention') ||
      !merged ||
      !padding ||
      !isPlain(node) ||
      heads !== node.int('kv_num_heads') ||
      node.input(4)
    )
      return false
    const activation = activationCodes(merged.product.input(0))
    const weight = weightCodes(merged.product.input(1))
    if (!activation || !weight || weight.zeroPoint || !activation.zeroPoint) return false
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const mask = net.op('Cast', [padding], { to: int(6) }, place)
    const zero = net.constant('int8_zero', new ArrayTensor('int8', [], new Int8Array(1)))
    const inputs = [activation.codes, weight.codes, merged.bias, activation.scale, weight.scale, mask, activation.zeroPoint, zero]
    const attributes = { num_heads: int(heads!), ...scaleOf(node) }
    graph.replace(node, net.op('QAttention', inputs, attributes, { domain: 'com.microsoft', ...place }))
    return true
  },
}

export const quantizedRules: readonly LowerRule[] = [integerAttention, integerLinear, integerEmbedding]
