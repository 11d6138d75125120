import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { reshaped, type Tensor, transposed } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import type { BlockBits } from '../../numbers/matmul-nbits.js'
import { elementsOf, isScalar, operandsOf } from '../pattern.js'
import type { RaiseRule } from '../rule.js'
import { constantInstead, unpackedCodes } from './blocks.js'

/** A product with block codes, and the constant that its shift by sums of blocks is made of. */
interface Shifted {
  readonly product: Node
  readonly minimum: Value
}

/** The two parts of an addition: a product with block codes, and sums of its blocks times minimums raised by the middle code's number. */
function shiftedProduct(sum: Value): Shifted | null {
  for (const [first, second] of operandsOf(sum, 'Add')) {
    const [product, shift] = [producedBy(first, 'com.microsoft.MatMulNBits'), producedBy(second, 'MatMul')]
    const [x, codes, scale, zeroPoint, groups] = product?.inputs ?? []
    const raised = producedBy(shift?.input(1) ?? null, 'Add')
    const scaled = producedBy(raised?.input(1) ?? null, 'Mul')
    const minimum = raised?.input(0)
    if (!product || !shift || !x || !codes?.isConstant || !scale?.isConstant || !minimum?.isConstant || zeroPoint || groups) continue
    if (producedBy(scaled?.input(0) ?? null, 'Transpose')?.input(0) !== scale) continue
    if (!isScalar(scaled?.input(1), 2 ** (product.int('bits', 4) - 1)) || product.output.uses.size > 1) continue
    if (isBlockSum(shift.input(0), x, product)) return { product, minimum }
  }
  return null
}

/** Whether a value holds the sums of another's blocks, as the product divides them. */
function isBlockSum(value: Value | null, x: Value, product: Node): boolean {
  const sum = producedBy(value, 'ReduceSum')
  const divided = producedBy(sum?.input(0) ?? null, 'Reshape')
  const blockSize = product.int('block_size', 0)
  const [count, size] = elementsOf(divided?.input(1))?.slice(-2) ?? []
  const last = elementsOf(sum?.input(1))?.join() === '-1' && sum?.int('keepdims', 1) === 0
  return last && divided?.input(0) === x && size === blockSize && count * size === product.int('K', 0)
}

/** Products with block codes and minimums become DequantizeLinear, an addition of the minimums, and MatMul. */
const minimumBlockLinear: RaiseRule = {
  name: 'minimum-block-linear',
  at: ['Add'],
  rewrite(node, graph) {
    const found = shiftedProduct(node.output)
    const bits = found?.product.int('bits', 4)
    if (!found || (bits !== 2 && bits !== 4 && bits !== 8)) return false
    const { product } = found
    const [x, bias] = [product.input(0), product.input(5)]
    const net = new Net(graph, undefined, product.name)
    const place = { before: node }
    const result = net.op('MatMul', [x, matrixOf(found, bits, node, graph)], {}, place)
    graph.replace(node, bias ? net.op('Add', [result, bias], {}, place) : result)
    return true
  },
}

/** The weight [inputs, outputs] in float from its codes, under the names of those of the kernel. */
function matrixOf({ product, minimum }: Shifted, bits: BlockBits, before: Node, graph: Graph): Value {
  const [codes, scale] = [product.input(1)!, product.input(2)!]
  const [rows, columns, blockSize] = [product.int('N', 0), product.int('K', 0), product.int('block_size', 0)]
  const blocks = columns / blockSize
  const [codeTensor, scaleTensor, minimumTensor] = [codes.tensor!, scale.tensor!, minimum.tensor!]
  const turned = (tensor: Tensor, ...shape: number[]) => reshaped(transposed(tensor), shape)
  const constants = [
    constantInstead(graph, codes, turned(unpackedCodes(codeTensor, { rows, columns, bits, blockSize }), blocks, blockSize, rows)),
    constantInstead(graph, scale, turned(reshaped(scaleTensor, [rows, blocks]), blocks, 1, rows)),
  ]
  const minimums = constantInstead(graph, minimum, reshaped(minimumTensor, [blocks, 1, rows]))
  const net = new Net(graph, undefined, constants[0].name.replace(/\.weight$/, ''))
  const place = { before }
  const dequantized = net.op('DequantizeLinear', constants, { axis: int(1), block_size: int(blockSize) }, place)
  return net.op('Reshape', [net.op('Add', [dequantized, minimums], {}, place), net.ints([columns, rows])], {}, place)
}

export const minimumBlockRules: readonly RaiseRule[] = [minimumBlockLinear]
