/** ONNX Runtime's quantized products and tables (domain com.microsoft). */
import { unsupported } from '../base/errors.js'
import { type Dim, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type DType, dtypes, type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { type BlockBits, dequantizeBlocks, unpackMatMulNBits } from '../numbers/matmul-nbits.js'
import { unpackBits } from '../numbers/storage.js'
import { factsAt, type InputFacts } from './facts.js'
import { fourBitNumbers } from './four-bit.js'
import * as gradients from './gradients/microsoft-quantization.js'
import { addPerColumn, matrixProduct, matrixProductShape, type RealArray, realsOf } from './matrix.js'
import { microsoft } from './microsoft.js'
import { dequantizeLinear, eachScale, integerProduct, quantizeDynamically, quantizeLinear, requantized } from './quantization.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, broadcastStrides, filled, integersOf, normalizeAxis, offsets, required, reshaped, transposedArray } from './support.js'

/** Multiplies values by a scale that broadcasts to them, in place. */
function scaleBy({ shape, values }: RealArray, scale: NDArray): void {
  const [scales, at] = [numbersOf(scale), offsets(shape, broadcastStrides(scale.shape, shape))]
  for (let i = 0; i < values.length; i++) values[i] *= scales[at[i]]
}

const matMulIntegerToFloat = operator({
  name: 'MatMulIntegerToFloat',
  domain: microsoft,
  since: 1,
  gradient: gradients.matMulIntegerToFloat,
  infer: (_, inputs) => [
    { dtype: factsAt(inputs, 2).dtype, shape: matrixProductShape(factsAt(inputs, 0).shape, factsAt(inputs, 1).shape) },
  ],
  evaluate: (_, inputs) => {
    const [a, b, aScale, bScale] = [0, 1, 2, 3].map((i) => required(inputs, i))
    const product = integerProduct(a, b, inputs[4], inputs[5])
    scaleBy(product, aScale)
    scaleBy(product, bScale)
    if (inputs[6]) addPerColumn(product, numbersOf(inputs[6]))
    return [arrayOf(aScale.dtype, product.shape, product.values)]
  },
})

const dynamicQuantizeMatMul = operator({
  name: 'DynamicQuantizeMatMul',
  domain: microsoft,
  since: 1,
  gradient: gradients.dynamicQuantizeMatMul,
  infer: (_, inputs) => [
    { dtype: factsAt(inputs, 0).dtype, shape: matrixProductShape(factsAt(inputs, 0).shape, factsAt(inputs, 1).shape) },
  ],
  evaluate: (_, inputs) => {
    const [a, b, bScale] = [0, 1, 2].map((i) => required(inputs, i))
    const { codes, scale, zeroPoint } = quantizeDynamically(a)
    const product = integerProduct(codes, b, filled('uint8', [], zeroPoint), inputs[3])
    scaleBy(product, filled('float32', [], scale))
    scaleBy(product, bScale)
    if (inputs[4]) addPerColumn(product, numbersOf(inputs[4]))
    return [arrayOf(a.dtype, product.shape, product.values)]
  },
})

const qGemm = operator({
  name: 'QGemm',
  domain: microsoft,
  since: 1,
  gradient: gradients.qGemm,
  infer: (node, inputs) => {
    const turn = (shape: readonly Dim[] | null, name: string) => (shape && node.int(name, 0) ? [shape[1], shape[0]] : shape)
    const shape = matrixProductShape(turn(factsAt(inputs, 0).shape, 'transA'), turn(factsAt(inputs, 3).shape, 'transB'))
    return [{ dtype: inputs[8] ? inputs[8].dtype : 'float32', shape }]
  },
  evaluate: (node, inputs) => {
    const turn = (array: NDArray, name: string) => (node.int(name, 0) ? transposedArray(array, [1, 0]) : array)
    const [a, aScale, aZero, b, bScale] = [0, 1, 2, 3, 4].map((i) => required(inputs, i))
    const product = integerProduct(turn(a, 'transA'), turn(b, 'transB'), aZero, inputs[5])
    if (inputs[6]) addBroadcast(product, inputs[6])
    scaleBy(product, aScale)
    scaleBy(product, bScale)
    const alpha = node.float('alpha', 1)
    for (let i = 0; i < product.values.length; i++) product.values[i] *= alpha
    return [inputs[7] && inputs[8] ? requantized(product, inputs[7], inputs[8]) : arrayOf('float32', product.shape, product.values)]
  },
})

function addBroadcast({ shape, values }: RealArray, array: NDArray): void {
  const [terms, at] = [numbersOf(array), offsets(shape, broadcastStrides(array.shape, shape))]
  for (let i = 0; i < values.length; i++) values[i] += terms[at[i]]
}

/** Output of a linear whose weight has N rows. */
function linearFacts(node: Node, inputs: InputFacts): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  return [{ dtype, shape: shape && [...shape.slice(0, -1), node.int('N', 0)] }]
}

/** x W^T for a weight [rows, columns]. */
function linear(x: NDArray, weight: Float32Array, rows: number, columns: number): RealArray {
  const matrix: NDArray = { dtype: 'float32', shape: [rows, columns], data: weight }
  return matrixProduct(realsOf(x), realsOf(transposedArray(matrix, [1, 0])))
}

/** Weights in blocks along the input; activations stay as they are, which is `accuracy_level` 0. */
const matMulNBits = operator({
  name: 'MatMulNBits',
  domain: microsoft,
  since: 1,
  gradient: gradients.matMulNBits,
  infer: linearFacts,
  evaluate: (node, inputs) => {
    const [x, codes, scales] = [0, 1, 2].map((i) => required(inputs, i))
    if (inputs[4]) throw unsupported('MatMulNBits with g_idx has no reference here')
    const [rows, columns, blockSize] = [node.int('N', 0), node.int('K', 0), node.int('block_size', 0)]
    const layout = { rows, columns, bits: node.int('bits', 4) as BlockBits, blockSize }
    const zeroPoint = inputs[3] ? (inputs[3].data as Uint8Array | Float32Array) : undefined
    const weight = dequantizeBlocks(unpackMatMulNBits(layout, codes.data as Uint8Array, zeroPoint), Float32Array.from(numbersOf(scales)))
    const product = linear(x, weight, rows, columns)
    if (inputs[5]) addPerColumn(product, numbersOf(inputs[5]))
    return [arrayOf(x.dtype, product.shape, product.values)]
  },
})

const matMulBnb4 = operator({
  name: 'MatMulBnb4',
  domain: microsoft,
  since: 1,
  gradient: gradients.matMulBnb4,
  infer: linearFacts,
  evaluate: (node, inputs) => {
    const [x, packed, absmax] = [0, 1, 2].map((i) => required(inputs, i))
    if (!node.int('transB', 1)) throw unsupported('MatMulBnb4 with transB = 0 has no reference here')
    const [rows, columns, blockSize] = [node.int('N', 0), node.int('K', 0), node.int('block_size', 0)]
    const [table, bytes, largest] = [fourBitNumbers[node.int('quant_type', 0)], packed.data as Uint8Array, numbersOf(absmax)]
    const weight = Float32Array.from({ length: rows * columns }, (_, i) => {
      const code = i % 2 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4
      return table[code] * largest[Math.floor(i / blockSize)]
    })
    const product = linear(x, weight, rows, columns)
    return [arrayOf(x.dtype, product.shape, product.values)]
  },
})

/** Codes of an array whose last axis is packed into bytes; arrays of sub-byte dtypes are unpacked already. */
function unpackedCodes(array: NDArray, bits: number, width = (array.shape.at(-1)! * 8) / bits): NDArray {
  if (array.dtype !== 'uint8' || bits === 8) return array
  const [rows, bytes] = [sizeOf(array.shape.slice(0, -1)), array.shape.at(-1)!]
  const codes = new Uint8Array(rows * width)
  for (let row = 0; row < rows; row++)
    codes.set(unpackBits((array.data as Uint8Array).subarray(row * bytes, (row + 1) * bytes), width, bits), row * width)
  return { dtype: 'uint8', shape: [...array.shape.slice(0, -1), width], data: codes }
}

function tableBits(node: Node, dtype: DType | null): number {
  return dtype === 'uint8' || !dtype ? node.int('bits', 4) : dtypes[dtype].bits
}

const gatherBlockQuantized = operator({
  name: 'GatherBlockQuantized',
  domain: microsoft,
  since: 1,
  gradient: gradients.gatherBlockQuantized,
  infer: (node, inputs): ValueFacts[] => {
    const [data, indices, dtype] = [factsAt(inputs, 0), factsAt(inputs, 1).shape, factsAt(inputs, 2).dtype]
    if (!data.shape || !data.dtype || !indices) return [{ dtype, shape: null }]
    const factor = data.dtype === 'uint8' ? 8 / tableBits(node, data.dtype) : 1
    const table = [...data.shape.slice(0, -1), multiplyDims(data.shape.at(-1)!, factor)]
    const axis = normalizeAxis(node.int('gather_axis', 0), table.length)
    return [{ dtype, shape: [...table.slice(0, axis), ...indices, ...table.slice(axis + 1)] }]
  },
  evaluate: (node, inputs) => {
    const [data, indices, scales] = [0, 1, 2].map((i) => required(inputs, i))
    const bits = tableBits(node, data.dtype)
    const codes = unpackedCodes(data, bits)
    const table = dequantizedTable(node, codes, scales, inputs[3] ? unpackedCodes(inputs[3], bits, scales.shape.at(-1)) : null, bits)
    return [
      gathered(
        reshaped(table, codes.shape),
        integersOf(indices),
        indices.shape,
        normalizeAxis(node.int('gather_axis', 0), codes.shape.length),
      ),
    ]
  },
})

function dequantizedTable(node: Node, codes: NDArray, scales: NDArray, zeroPoint: NDArray | null, bits: number): NDArray {
  const [values, factors, zeros] = [numbersOf(codes), numbersOf(scales), zeroPoint && numbersOf(zeroPoint)]
  const middle = codes.dtype === 'uint8' ? 2 ** (bits - 1) : 0
  const result = new Float64Array(values.length)
  const layout = { shape: codes.shape, axis: node.int('quantize_axis', 1), blockSize: node.int('block_size', 128) }
  eachScale(layout, (i, group) => {
    result[i] = (values[i] - (zeros ? zeros[group] : middle)) * factors[group]
  })
  return arrayOf(scales.dtype, codes.shape, result)
}

/** Slices of a table along an axis; indices out of range give zeros. */
function gathered(table: NDArray, indices: readonly number[], shape: readonly number[], axis: number): NDArray {
  const [outer, inner, length] = [sizeOf(table.shape.slice(0, axis)), sizeOf(table.shape.slice(axis + 1)), table.shape[axis]]
  const values = numbersOf(table)
  const result = new Float64Array(outer * indices.length * inner)
  for (let o = 0; o < outer; o++)
    indices.forEach((index, i) => {
      const at = index < 0 ? index + length : index
      if (at >= 0 && at < length)
        result.set(values.subarray((o * length + at) * inner, (o * length + at + 1) * inner), (o * indices.length + i) * inner)
    })
  return arrayOf(table.dtype, [...table.shape.slice(0, axis), ...shape, ...table.shape.slice(axis + 1)], result)
}

/** ONNX Runtime's quantized operators. */
export const microsoftQuantizations: readonly Operator[] = [
  matMulIntegerToFloat,
  dynamicQuantizeMatMul,
  qGemm,
  matMulNBits,
  matMulBnb4,
  gatherBlockQuantized,
  { ...quantizeLinear, domain: microsoft, since: 1 },
  { ...dequantizeLinear, domain: microsoft, since: 1 },
]
