/** Matrix products: MatMul, Gemm, Einsum. */
import { badInput } from '../base/errors.js'
import { broadcastDims, type Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { type Equation, letterSizes, parseEquation } from './equation.js'
import { factsAt, type InputFacts } from './facts.js'
import { einsumGradient, gemmGradient, matMulGradient } from './gradients/matrix.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, broadcast, broadcastShape, broadcastStrides, mapElements, offsets, required, transposedArray } from './support.js'

/** Numbers in float64 with their shape, before they are rounded to a dtype. */
export interface RealArray {
  readonly shape: readonly number[]
  readonly values: Float64Array
}

/** The elements of an array in float64. */
export function realsOf(array: NDArray): RealArray {
  return { shape: array.shape, values: Float64Array.from(numbersOf(array)) }
}

/**
 * The product of two arrays as NumPy's matmul has it: matrices in the last two axes, broadcast over the others, vectors
 * as a row on the left and a column on the right. Sums run in float64, so products of integers up to 2^53 are exact.
 *
 * @throws TinsmithError `bad-input` where the shapes do not fit
 */
export function matrixProduct(a: RealArray, b: RealArray): RealArray {
  if (!a.shape.length || !b.shape.length) throw badInput('a scalar has no matrix product')
  const left = a.shape.length === 1 ? [1, a.shape[0]] : a.shape
  const right = b.shape.length === 1 ? [b.shape[0], 1] : b.shape
  const [rows, inner, columns] = [left.at(-2)!, left.at(-1)!, right.at(-1)!]
  if (inner !== right.at(-2)) throw badInput(`shapes [${a.shape}] and [${b.shape}] have no matrix product`)
  const batch = broadcastShape(left.slice(0, -2), right.slice(0, -2))
  const starts = [left, right].map((shape) => offsets(batch, broadcastStrides(shape.slice(0, -2), batch)))
  const values = new Float64Array(sizeOf(batch) * rows * columns)
  for (let i = 0; i < starts[0].length; i++)
    multiplyInto(
      values.subarray(i * rows * columns, (i + 1) * rows * columns),
      a.values.subarray(starts[0][i] * rows * inner, (starts[0][i] + 1) * rows * inner),
      b.values.subarray(starts[1][i] * inner * columns, (starts[1][i] + 1) * inner * columns),
      inner,
      columns,
    )
  return { shape: [...batch, ...(a.shape.length > 1 ? [rows] : []), ...(b.shape.length > 1 ? [columns] : [])], values }
}

function multiplyInto(target: Float64Array, a: Float64Array, b: Float64Array, inner: number, columns: number): void {
  for (let row = 0, at = 0; at < target.length; row++, at += columns)
    for (let k = 0; k < inner; k++) {
      const x = a[row * inner + k]
      const start = k * columns
      for (let j = 0; j < columns; j++) target[at + j] += x * b[start + j]
    }
}

/** Adds a number per last axis in place: the bias of a linear. */
export function addPerColumn({ shape, values }: RealArray, bias: ArrayLike<number>): void {
  const columns = shape.at(-1)!
  for (let i = 0; i < values.length; i++) values[i] += bias[i % columns]
}

/** The shape of a matrix product; null where an input's is unknown. Throws `bad-input` where the shapes do not fit. */
export function matrixProductShape(a: readonly Dim[] | null, b: readonly Dim[] | null): Dim[] | null {
  if (!a || !b) return null
  if (!a.length || !b.length) throw badInput('a scalar has no matrix product')
  const [inner, other] = [a.at(-1)!, b.length === 1 ? b[0] : b.at(-2)!]
  const batch = broadcastDims(a.slice(0, -2), b.slice(0, -2))
  if (!batch || (typeof inner === 'number' && typeof other === 'number' && inner !== other))
    throw badInput(`shapes [${a.join(', ')}] and [${b.join(', ')}] have no matrix product`)
  return [...batch, ...(a.length > 1 ? [a.at(-2)!] : []), ...(b.length > 1 ? [b.at(-1)!] : [])]
}

const matMul = operator({
  name: 'MatMul',
  since: 1,
  gradient: matMulGradient,
  infer: (_, inputs) => [
    { dtype: factsAt(inputs, 0).dtype, shape: matrixProductShape(factsAt(inputs, 0).shape, factsAt(inputs, 1).shape) },
  ],
  evaluate: (_, inputs) => {
    const [a, b] = [required(inputs, 0), required(inputs, 1)]
    const { shape, values } = matrixProduct(realsOf(a), realsOf(b))
    return [arrayOf(a.dtype, shape, values)]
  },
})

const gemm = operator({
  name: 'Gemm',
  since: 11,
  gradient: gemmGradient,
  infer: (node, inputs) => [{ dtype: factsAt(inputs, 0).dtype, shape: gemmShape(node, inputs) }],
  evaluate: (node, inputs) => {
    const [a, b] = [orient(required(inputs, 0), node.int('transA', 0)), orient(required(inputs, 1), node.int('transB', 0))]
    const [alpha, beta] = [node.float('alpha', 1), node.float('beta', 1)]
    const { shape, values } = matrixProduct(realsOf(a), realsOf(b))
    const product = { dtype: 'float64' as const, shape, data: values }
    const sum = inputs[2]
      ? broadcast(product, inputs[2], 'float64', (y, c) => alpha * y + beta * c)
      : mapElements(product, (y) => alpha * y)
    return [arrayOf(a.dtype, shape, numbersOf(sum))]
  },
})

function orient(matrix: NDArray, transpose: number): NDArray {
  return transpose ? transposedArray(matrix, [1, 0]) : matrix
}

function gemmShape(node: Node, inputs: InputFacts): Dim[] | null {
  const [a, b] = [factsAt(inputs, 0).shape, factsAt(inputs, 1).shape]
  if (!a || !b) return null
  if (a.length !== 2 || b.length !== 2) throw badInput(`Gemm multiplies matrices, not shapes [${a.join(', ')}] and [${b.join(', ')}]`)
  return matrixProductShape(node.int('transA', 0) ? [a[1], a[0]] : a, node.int('transB', 0) ? [b[1], b[0]] : b)
}

const einsum = operator({
  name: 'Einsum',
  since: 12,
  gradient: einsumGradient,
  infer: (node, inputs): ValueFacts[] => {
    const dtype = factsAt(inputs, 0).dtype
    const shapes = inputs.map((input) => input?.shape)
    if (!shapes.every((shape) => shape)) return [{ dtype, shape: null }]
    const known = shapes as (readonly Dim[])[]
    const equation = parseEquation(
      node.string('equation', ''),
      known.map((shape) => shape.length),
    )
    const sizes = letterSizes(equation.inputs, known)
    return [{ dtype, shape: equation.output.map((letter) => sizes.get(letter)!) }]
  },
  evaluate: (node, inputs) => {
    const arrays = inputs.map((_, i) => required(inputs, i))
    const shapes = arrays.map((array) => array.shape)
    const equation = parseEquation(
      node.string('equation', ''),
      shapes.map((shape) => shape.length),
    )
    const { shape, values } = contract(equation, arrays.map(realsOf))
    return [arrayOf(arrays[0].dtype, shape, values)]
  },
})

/** Sums the product of all operands over every index that the output does not have. */
function contract({ inputs, output }: Equation, operands: readonly RealArray[]): RealArray {
  const sizes = letterSizes(
    inputs,
    operands.map((operand) => operand.shape),
  ) as Map<string, number>
  const summed = [...sizes.keys()].filter((letter) => !output.includes(letter))
  const letters = [...output, ...summed]
  const space = letters.map((letter) => sizes.get(letter)!)
  const walks = operands.map((operand, i) => offsets(space, letterStrides(letters, inputs[i], operand.shape)))
  const shape = output.map((letter) => sizes.get(letter)!)
  const length = sizeOf(summed.map((letter) => sizes.get(letter)!))
  const values = new Float64Array(sizeOf(shape))
  for (let i = 0; i < values.length * length; i++) {
    let product = 1
    for (let k = 0; k < operands.length; k++) product *= operands[k].values[walks[k][i]]
    values[Math.floor(i / length)] += product
  }
  return { shape, values }
}

/** How far one step of each letter goes in an operand; a letter that occurs twice walks its diagonal. */
function letterStrides(letters: readonly string[], term: readonly string[], shape: readonly number[]): number[] {
  const strides = broadcastStrides(shape, shape)
  return letters.map((letter) => term.reduce((sum, other, axis) => (other === letter ? sum + strides[axis] : sum), 0))
}

/** Matrix products of the standard. */
export const matrixProducts: readonly Operator[] = [matMul, gemm, einsum]
