import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { LazyTensor, type Tensor, transposeMatrix } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { type BlockBits, packMatMulNBits, packRows } from '../../numbers/matmul-nbits.js'
import { dataTypes } from '../../onnx/schema.js'
import { evaluateNode } from '../../ops/evaluate.js'
import type { LowerRule, Packed } from '../rule.js'
import { biasOf, replaceProduct } from './products.js'

/** The accuracy level of MatMulNBits that quantizes activations to 8 bits per block: the only fast one for 8 bits. */
export const integerActivations = 4

/**
 * A weight of block codes behind a product: [in, out] as it is, or [out, in] behind a Transpose. Of tables that are looked
 * up too, only those whose rows {@link blockEmbedding} can fetch from the same memory.
 */
interface BlockWeight {
  readonly codes: Value
  readonly scale: Value
  readonly zeroPoint: Value
  readonly bits: BlockBits
  readonly blockSize: number
  readonly transposed: boolean
}

export const bitsOf: Readonly<Record<string, BlockBits>> = { uint2: 2, uint4: 4, uint8: 8 }

export function blockWeight(matrix: Value | null): BlockWeight | null {
  const transpose = producedBy(matrix, 'Transpose')
  const node = producedBy(transpose ? transpose.input(0) : matrix, 'DequantizeLinear')
  const blockSize = node?.int('block_size', 0) ?? 0
  const [codes, scale, zeroPoint] = node?.inputs ?? []
  const bits = bitsOf[codes?.dtype ?? '']
  if (!node || !blockSize || !codes?.tensor || !scale?.tensor || !zeroPoint?.tensor || !bits || codes.shape?.length !== 2) return null
  if (transpose && codes.uses.size > 1 && (bits !== 8 || (codes.shape[1] as number) % blockSize)) return null
  return node.int('axis', 1) === (transpose ? 1 : 0) ? { codes, scale, zeroPoint, bits, blockSize, transposed: transpose !== null } : null
}

/** Products with block codes; the codes are laid out as the kernel reads them. */
const blockLinear: LowerRule = {
  name: 'block-linear',
  at: ['MatMul'],
  rewrite(node, graph, context) {
    const weight = blockWeight(node.input(1))
    if (!weight || !context.target.fused.has('MatMulNBits') || !context.target.fourBitProducts) return false
    const [inputs, outputs] = node.input(1)!.shape as number[]
    const addition = biasOf(node, context)
    const net = new Net(graph, undefined, node.name)
    const packed = packedConstants(graph, weight, inputs, outputs, context.packed)
    const attributes = {
      K: int(inputs),
      N: int(outputs),
      bits: int(weight.bits),
      block_size: int(weight.blockSize),
      accuracy_level: int(integerActivations),
    }
    const operands = [node.input(0), packed.codes, packed.scale, packed.zeroPoint, ...(addition ? [null, addition.bias] : [])]
    const result = net.op('MatMulNBits', operands, attributes, { domain: 'com.microsoft', before: addition?.node ?? node })
    replaceProduct(graph, node, addition?.node ?? null, result)
    return true
  },
}

/** Constants in the kernel's layout under the names of those that they replace; made once for a weight. */
function packedConstants(graph: Graph, weight: BlockWeight, inputs: number, outputs: number, memo: Map<Value, Packed>): Packed {
  const known = memo.get(weight.codes)
  if (known) return known
  const { bits, blockSize, codes, scale, zeroPoint, transposed } = weight
  const blocks = Math.ceil(inputs / blockSize)
  const [codeTensor, scaleTensor, zeroTensor] = [codes, scale, zeroPoint].map((value) => value.tensor!)
  const rows = async <T extends Float32Array | Uint8Array>(tensor: Tensor, height: number): Promise<T> => {
    const data = (await tensor.read()) as T
    return transposed ? data : transposeMatrix(data, height, outputs)
  }
  const zeroPoints = () => rows<Uint8Array>(zeroTensor, blocks)
  const pack = async () => {
    const weightCodes = await rows<Uint8Array>(codeTensor, inputs)
    return packMatMulNBits({ rows: outputs, columns: inputs, bits, blockSize, codes: weightCodes, zeroPoint: await zeroPoints() }).data
  }
  const packed = {
    codes: constantInstead(graph, codes, new LazyTensor('uint8', [outputs, blocks, (blockSize * bits) / 8], pack)),
    scale: constantInstead(
      graph,
      scale,
      new LazyTensor(scaleTensor.dtype, [outputs * blocks], () => rows<Float32Array>(scaleTensor, blocks)),
    ),
    zeroPoint: constantInstead(
      graph,
      zeroPoint,
      new LazyTensor('uint8', [outputs * Math.ceil((blocks * bits) / 8)], async () => packRows(await zeroPoints(), outputs, blocks, bits)),
    ),
  }
  memo.set(codes, packed)
  return packed
}

/** A new constant that takes the name of an old one; the old one keeps its other readers under a name of its own. */
export function constantInstead(graph: Graph, old: Value, tensor: LazyTensor): Value {
  const name = old.name
  graph.rename(old, graph.uniqueName(`${name}_canonical`))
  return graph.addConstant(name, tensor)
}

/** Rows of block codes are fetched and scaled row by row; a table that a product shares is read in the product's layout. */
const blockEmbedding: LowerRule = {
  name: 'block-embedding',
  at: ['Gather'],
  rewrite(node, graph, { packed }) {
    const table = producedBy(node.input(0), 'DequantizeLinear')
    const [codes, scale, zeroPoint] = table?.inputs ?? []
    const blockSize = table?.int('block_size', 0)
    if (
      !table ||
      !blockSize ||
      !codes?.isConstant ||
      codes.dtype !== 'uint8' ||
      !scale?.tensor ||
      !zeroPoint?.tensor ||
      node.int('axis', 0) ||
      table.int('axis', 1) !== 1 ||
      node.input(1)?.shape?.length !== 2
    )
      return false
    const [rows, width] = codes.shape as number[]
    const blocks = Math.ceil(width / blockSize)
    if (blocks * blockSize !== width) return false
    replaceGather(
      node,
      graph,
      packed.get(codes) ?? packedConstants(graph, { codes, scale, zeroPoint, bits: 8, blockSize, transposed: true }, width, rows, packed),
      [rows, width, blocks],
    )
    return true
  },
}

function replaceGather(node: Node, graph: Graph, packed: Packed, [rows, width, blocks]: readonly [number, number, number]): void {
  const net = new Net(graph, undefined, node.name)
  const place = { before: node }
  const ids = node.input(1)!
  const grid = (value: Value) => net.op('Reshape', [value, net.ints([rows, blocks, 1])], {}, place)
  const fetch = (value: Value) =>
    net.op('Cast', [net.op('Gather', [value, ids], {}, place)], { to: int(dataTypes[packed.scale.dtype!]) }, place)
  const shifted = net.op('Sub', [fetch(packed.codes), fetch(grid(packed.zeroPoint))], {}, place)
  const scaled = net.op('Mul', [shifted, net.op('Gather', [grid(packed.scale), ids], {}, place)], {}, place)
  graph.replace(node, net.op('Reshape', [scaled, net.ints([0, 0, width])], {}, place))
}

/** Where the kernel is slow, block codes become float weights when the graph is loaded. */
const unpackBlocks: LowerRule = {
  name: 'unpack-blocks',
  at: ['DequantizeLinear'],
  rewrite(node, graph, { target }) {
    const [codes, scale, zeroPoint] = node.inputs
    if (target.fourBitProducts || !node.int('block_size', 0) || !codes?.tensor || !scale?.tensor) return false
    const tensors = [codes.tensor, scale.tensor, zeroPoint?.tensor ?? null]
    const tensor = new LazyTensor('float32', codes.tensor.shape, async () => {
      const arrays = await Promise.all(tensors.map((part) => part?.array() ?? null))
      return evaluateNode(node, arrays, () => [])[0].data
    })
    graph.replace(node, graph.addConstant(`${codes.name}_unpacked`, tensor))
    return true
  },
}

export const blockRules: readonly LowerRule[] = [unpackBlocks, blockLinear, blockEmbedding]
