import { int, ints } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { BytesTensor, LazyTensor, reshaped, type Tensor, transposed } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import type { DType } from '../../numbers/dtype.js'
import { type BlockBits, unpackMatMulNBits, unpackZeroPoints } from '../../numbers/matmul-nbits.js'
import type { RaiseContext, RaiseRule, Unpacked } from '../rule.js'

export const codeDTypes: Readonly<Record<BlockBits, DType>> = { 2: 'uint2', 4: 'uint4', 8: 'uint8' }

/** A block-quantized weight as the kernel holds it. */
interface PackedWeight {
  readonly codes: Value
  readonly scale: Value
  readonly zeroPoint: Value | null
  /** Rows of the kernel's layout: outputs of a product, entries of a table. */
  readonly rows: number
  /** The dimension that blocks divide. */
  readonly columns: number
  readonly bits: BlockBits
  readonly blockSize: number
}

/** Products with block codes become DequantizeLinear and MatMul; a weight that is a table too stays one, behind a Transpose. */
const blockLinear: RaiseRule = {
  name: 'block-linear',
  at: ['com.microsoft.MatMulNBits'],
  rewrite(node, graph, context) {
    const [x, codes, scale, zeroPoint = null, groups, bias] = node.inputs
    const bits = node.int('bits', 4)
    if (!x || !isStored(codes) || !isStored(scale) || groups || (bits !== 2 && bits !== 4 && bits !== 8)) return false
    if (zeroPoint && !(isStored(zeroPoint) && zeroPoint.dtype === 'uint8')) return false
    const [rows, columns, blockSize] = [node.int('N', 0), node.int('K', 0), node.int('block_size', 0)]
    const weight = { codes, scale, zeroPoint, rows, columns, bits, blockSize } as const
    const table = codes.users.some((user) => user.type === 'Gather') || context.unpacked.get(codes)?.table === true
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const dequantized = dequantize(weight, table, node, graph, context)
    const matrix = table ? net.op('Transpose', [dequantized], { perm: ints([1, 0]) }, place) : dequantized
    const product = net.op('MatMul', [x, matrix], {}, place)
    graph.replace(node, bias ? net.op('Add', [product, bias], {}, place) : product)
    return true
  },
}

/** Rows of block codes that were fetched, shifted and scaled: a table of codes that is read row by row. */
const blockEmbedding: RaiseRule = {
  name: 'block-embedding',
  at: ['Reshape'],
  rewrite(node, graph, context) {
    const scaled = producedBy(node.input(0), 'Mul')
    const shifted = producedBy(scaled?.input(0) ?? null, 'Sub')
    const fetched = [shifted?.input(0), shifted?.input(1)].map((value) =>
      producedBy(producedBy(value ?? null, 'Cast')?.input(0) ?? null, 'Gather'),
    )
    const gathers = [...fetched, producedBy(scaled?.input(1) ?? null, 'Gather')]
    const [codes, zeroPoint, scale] = gathers.map((gather, i) => (i ? beforeReshape(gather?.input(0)) : gather?.input(0)))
    const ids = gathers[0]?.input(1)
    if (!ids || !isStored(codes) || !isStored(zeroPoint) || !isStored(scale) || codes.dtype !== 'uint8' || codes.shape?.length !== 3)
      return false
    if (gathers.some((gather) => gather?.input(1) !== ids || gather.int('axis', 0))) return false
    const [rows, blocks, blockSize] = codes.shape as number[]
    const weight = { codes, scale, zeroPoint, rows, columns: blocks * blockSize, bits: 8, blockSize } as const
    const net = new Net(graph, undefined, node.name)
    const table = dequantize(weight, true, node, graph, context)
    graph.replace(node, net.op('Gather', [table, ids], { axis: int(0) }, { before: node }))
    return true
  },
}

function isStored(value: Value | null | undefined): value is Value {
  return value?.isConstant === true
}

function beforeReshape(value: Value | null | undefined): Value | null {
  return producedBy(value ?? null, 'Reshape')?.input(0) ?? null
}

/** A weight in float from its codes: [rows, columns] for a table, else [columns, rows]. */
function dequantize(weight: PackedWeight, table: boolean, before: Node, graph: Graph, context: RaiseContext): Value {
  const { codes, scale, zeroPoint } = unpackedConstants(weight, table, graph, context)
  const net = new Net(graph, undefined, codes.name.replace(/\.weight$/, ''))
  const attributes = { axis: int(table ? 1 : 0), block_size: int(weight.blockSize) }
  return net.op('DequantizeLinear', [codes, scale, zeroPoint], attributes, { before })
}

/** Constants one entry per code, under the names of those of the kernel; made once for a weight. */
function unpackedConstants(weight: PackedWeight, table: boolean, graph: Graph, { unpacked }: RaiseContext): Unpacked {
  const known = unpacked.get(weight.codes)
  if (known) return known
  const { codes, scale, zeroPoint, rows, columns, bits, blockSize } = weight
  const blocks = Math.ceil(columns / blockSize)
  const [codeTensor, scaleTensor, zeroTensor] = [codes.tensor!, scale.tensor!, zeroPoint?.tensor ?? null]
  const turned = (tensor: Tensor): Tensor => (table ? tensor : transposed(tensor))
  const zeros = async () =>
    zeroTensor ? unpackZeroPoints(weight, (await zeroTensor.read()) as Uint8Array) : new Uint8Array(rows * blocks).fill(2 ** (bits - 1))
  const zeroName = zeroPoint?.name ?? `${codes.name}_zero_point`
  const constants: Unpacked = {
    table,
    codes: constantInstead(graph, codes, turned(unpackedCodes(codeTensor, weight))),
    scale: constantInstead(graph, scale, turned(reshaped(scaleTensor, [rows, blocks]))),
    zeroPoint: constantInstead(graph, zeroPoint, turned(new LazyTensor(codeDTypes[bits], [rows, blocks], zeros)), zeroName),
  }
  unpacked.set(codes, constants)
  return constants
}

/** Codes [rows, columns] as the kernel packs them: where blocks fill the rows, these bytes are the tensor's. */
export function unpackedCodes(packed: Tensor, layout: Pick<PackedWeight, 'rows' | 'columns' | 'bits' | 'blockSize'>): Tensor {
  const { rows, columns, bits, blockSize } = layout
  if (columns % blockSize === 0) return new BytesTensor(codeDTypes[bits], [rows, columns], () => packed.bytes())
  return new LazyTensor(codeDTypes[bits], [rows, columns], async () => unpackMatMulNBits(layout, (await packed.read()) as Uint8Array).codes)
}

/** A new constant that takes the name of an old one, which keeps its other readers. */
export function constantInstead(graph: Graph, old: Value | null, tensor: Tensor, name = old!.name): Value {
  if (old) graph.rename(old, graph.uniqueName(`${name}_packed`))
  return graph.addConstant(name, tensor)
}

export const blockRules: readonly RaiseRule[] = [blockLinear, blockEmbedding]
