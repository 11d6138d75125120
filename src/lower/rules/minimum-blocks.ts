import { int, ints } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { ArrayTensor, LazyTensor, transposeMatrix } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { ndarray } from '../../numbers/dtype.js'
import { type BlockBits, packMatMulNBits } from '../../numbers/matmul-nbits.js'
import type { LowerRule } from '../rule.js'
import { bitsOf, constantInstead, integerActivations } from './blocks.js'
import { biasOf, replaceProduct } from './products.js'

/** A weight [inputs, outputs] whose blocks of inputs have a scale and a float minimum. */
interface MinimumBlocks {
  /** [blocks, block size, outputs] */
  readonly codes: Value
  /** [blocks, 1, outputs] */
  readonly scale: Value
  readonly minimum: Value
  readonly bits: BlockBits
  readonly blocks: number
  readonly blockSize: number
  readonly outputs: number
}

function minimumBlocks(matrix: Value | null): MinimumBlocks | null {
  const shifted = producedBy(producedBy(matrix, 'Reshape')?.input(0) ?? null, 'Add')
  const node = producedBy(shifted?.input(0) ?? null, 'DequantizeLinear')
  const [codes, scale, minimum] = [node?.input(0), node?.input(1), shifted?.input(1)]
  if (!codes?.tensor || !scale?.tensor || !minimum?.tensor || codes.uses.size > 1 || node?.input(2)) return null
  const [bits, [blocks, blockSize, outputs, more]] = [bitsOf[codes.dtype!], codes.tensor.shape]
  const factors = `${blocks},1,${outputs}`
  if (!bits || more || node?.int('axis', 1) !== 1 || blockSize < 16 || blockSize & (blockSize - 1)) return null
  if (scale.shape!.join() !== factors || minimum.shape!.join() !== factors || scale.dtype !== minimum.dtype) return null
  return matrix!.shape?.join() === `${blocks * blockSize},${outputs}` ? { codes, scale, minimum, bits, blocks, blockSize, outputs } : null
}

/**
 * Products with block codes that have minimums. With `middle` for the code that the kernel takes for 0:
 * x W = x (scale * (codes - middle)) + (sums of x over blocks) (minimum + middle * scale).
 * The minimums stay in the file as they are; a runtime computes the last factor when it loads the graph.
 */
const minimumBlockLinear: LowerRule = {
  name: 'minimum-block-linear',
  at: ['MatMul'],
  rewrite(node, graph, context) {
    const weight = minimumBlocks(node.input(1))
    const x = node.input(0)!
    const { fused, fourBitProducts } = context.target
    if (!weight || !x.shape?.length || !fused.has('MatMulNBits') || !fourBitProducts) return false
    const { bits, blocks, blockSize, outputs } = weight
    const sums = blockSums(graph, x, blocks, blockSize, node)
    const addition = biasOf(node, context)
    const net = new Net(graph, undefined, node.name)
    const place = { before: addition?.node ?? node }
    const { codes, scale, minimum } = packedConstants(graph, weight)
    const attributes = {
      K: int(blocks * blockSize),
      N: int(outputs),
      bits: int(bits),
      block_size: int(blockSize),
      accuracy_level: int(integerActivations),
    }
    const operands = [x, codes, scale, ...(addition ? [null, null, addition.bias] : [])]
    const product = net.op('MatMulNBits', operands, attributes, { domain: 'com.microsoft', ...place })
    const middle = net.constant(`${scale.dtype}_${2 ** (bits - 1)}`, ArrayTensor.of(ndarray(scale.dtype!, [], [2 ** (bits - 1)])))
    const scaled = net.op('Mul', [net.op('Transpose', [scale], { perm: ints([1, 0]) }, place), middle], {}, place)
    const shift = net.op('MatMul', [sums, net.op('Add', [minimum, scaled], {}, place)], {}, place)
    replaceProduct(graph, node, addition?.node ?? null, net.op('Add', [product, shift], {}, place))
    return true
  },
}

/** Sums of each block of a value's last dimension, made once for all products that read it. */
function blockSums(graph: Graph, x: Value, blocks: number, blockSize: number, before: Node): Value {
  const net = new Net(graph, undefined, before.name)
  const divided = net.ints([...x.shape!.slice(1).map(() => 0), blocks, blockSize])
  const known = x.users.find((user) => user.type === 'Reshape' && user.input(1) === divided)
  const sums = known?.output.users.find((user) => user.type === 'ReduceSum')
  if (sums) return sums.output
  const place = { before }
  return net.op('ReduceSum', [net.op('Reshape', [x, divided], {}, place), net.ints([-1])], { keepdims: int(0) }, place)
}

/** Codes and scales in the kernel's layout and minimums [blocks, outputs], under the names of those that they replace. */
function packedConstants(graph: Graph, weight: MinimumBlocks): Pick<MinimumBlocks, 'codes' | 'scale' | 'minimum'> {
  const { bits, blocks, blockSize, outputs } = weight
  const [codes, scale, minimum] = [weight.codes, weight.scale, weight.minimum].map((value) => value.tensor!)
  const columns = blocks * blockSize
  const pack = async () => {
    const rows = transposeMatrix((await codes.read()) as Uint8Array, columns, outputs)
    return packMatMulNBits({ rows: outputs, columns, bits, blockSize, codes: rows }).data
  }
  return {
    codes: constantInstead(graph, weight.codes, new LazyTensor('uint8', [outputs, blocks, (blockSize * bits) / 8], pack)),
    scale: constantInstead(
      graph,
      weight.scale,
      new LazyTensor(scale.dtype, [outputs, blocks], async () => transposeMatrix(await scale.read(), blocks, outputs)),
    ),
    minimum: constantInstead(graph, weight.minimum, new LazyTensor(minimum.dtype, [blocks, outputs], () => minimum.read())),
  }
}

export const minimumBlockRules: readonly LowerRule[] = [minimumBlockLinear]
