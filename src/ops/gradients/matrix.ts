/** Gradients of matrix products: `dA = dY B^T`, `dB = A^T dY`, for any ranks and broadcast batches. */
import { float, int, string } from '../../ir/attribute.js'
import type { Dim } from '../../ir/dimension.js'
import type { Value } from '../../ir/node.js'
import { parseEquation } from '../equation.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import {
  castLike,
  expandLike,
  integers,
  multiply,
  rangeTo,
  reshape,
  reshapeLike,
  type Size,
  shapeOf,
  sizeAlong,
  sumOver,
  sumTo,
  transposeMatrix,
  unsqueeze,
} from './terms.js'

/** [..., rows, columns] as one matrix of `columns` columns. */
function asMatrix(g: GradientBuilder, x: Value): Value {
  const shape = shapeOf(x)
  return shape.length === 2 ? x : reshape(g, x, integers(g, [-1, Number(shape.at(-1))]))
}

function hasKnownColumns(...values: readonly Value[]): boolean {
  return values.every((value) => typeof shapeOf(value).at(-1) === 'number')
}

/** d(loss)/da and d(loss)/db of the matrix product of a and b. */
export function matrixGradients(g: GradientBuilder, a: Value, b: Value, dy: Value): [Value, Value] {
  if (shapeOf(b).length === 2 && shapeOf(a).length > 1 && hasKnownColumns(a, dy)) return linearGradients(g, a, b, dy)
  const left = shapeOf(a).length === 1 ? unsqueeze(g, a, 0) : a
  const right = shapeOf(b).length === 1 ? unsqueeze(g, b, 1) : b
  let flowing = dy
  if (left !== a) flowing = unsqueeze(g, flowing, shapeOf(flowing).length - (right === b ? 1 : 0))
  if (right !== b) flowing = unsqueeze(g, flowing, shapeOf(flowing).length)
  const da = g.op('MatMul', [flowing, transposeMatrix(g, right)])
  const db = g.op('MatMul', [transposeMatrix(g, left), flowing])
  return [reshapeLike(g, sumTo(g, da, left), a), reshapeLike(g, sumTo(g, db, right), b)]
}

/** With one matrix for all rows both gradients are products of two matrices, which Gemm transposes while it reads them. */
function linearGradients(g: GradientBuilder, x: Value, weight: Value, dy: Value): [Value, Value] {
  const [rows, flowing] = [asMatrix(g, x), asMatrix(g, dy)]
  const dx = g.op('Gemm', [flowing, weight], { transB: int(1) })
  return [reshapeLike(g, dx, x), g.op('Gemm', [rows, flowing], { transA: int(1) })]
}

export const matMulGradient: GradientRule = (node, [dy], g) => matrixGradients(g, node.inputs[0]!, node.inputs[1]!, dy!)

/** Y = alpha A' B' + beta C, where A' and B' may be transposed. */
export const gemmGradient: GradientRule = (node, [dy], g) => {
  const [a, b, c] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const [transA, transB] = [node.int('transA', 0) === 1, node.int('transB', 0) === 1]
  const alpha = float(node.float('alpha', 1))
  const product = (x: Value, y: Value, transposeX: boolean, transposeY: boolean): Value =>
    g.op('Gemm', [x, y], { transA: int(Number(transposeX)), transB: int(Number(transposeY)), alpha })
  return [
    transA ? product(b, dy!, transB, true) : product(dy!, b, false, !transB),
    transB ? product(dy!, a, true, transA) : product(a, dy!, !transA, false),
    c && multiply(g, sumTo(g, dy!, c), node.float('beta', 1)),
  ]
}

/**
 * The gradient by an operand is the contraction of dY with the other operands. Indices that only this operand has are
 * repeated; of an index that it has twice only the diagonal gets something, by an identity matrix.
 */
export const einsumGradient: GradientRule = (node, [dy], g) => {
  const operands = node.inputs as Value[]
  const ranks = operands.map((operand) => shapeOf(operand).length)
  const { inputs, output } = parseEquation(node.string('equation', ''), ranks)
  return operands.map((operand, i) => {
    const [term, diagonals] = withoutRepetitions(inputs[i])
    const identities = diagonals.map(([letter]) => identity(g, sizeAlong(g, operand, term.indexOf(letter)), operand))
    const terms = [output, ...inputs.filter((_, k) => k !== i), ...diagonals]
    const seen = term.filter((letter) => terms.some((other) => other.includes(letter)))
    const others = operands.filter((_, k) => k !== i)
    const partial = g.op('Einsum', [dy!, ...others, ...identities], { equation: string(equationOf(terms, seen)) })
    return restored(g, partial, seen, term, operand)
  })
}

/** The term with each index once, and the pairs of indices that were equal. */
function withoutRepetitions(term: readonly string[]): [string[], [string, string][]] {
  const pairs: [string, string][] = []
  const once = term.map((letter, axis) => {
    if (term.indexOf(letter) === axis) return letter
    const other = `${letter}${axis}`
    pairs.push([letter, other])
    return other
  })
  return [once, pairs]
}

/** An equation in which every index, whatever its name, is a letter. */
function equationOf(terms: readonly (readonly string[])[], output: readonly string[]): string {
  const names = [...new Set(terms.flat())]
  const letters = (term: readonly string[]): string => term.map((name) => String.fromCharCode(97 + names.indexOf(name))).join('')
  return `${terms.map(letters).join(',')}->${letters(output)}`
}

/** The square matrix with ones on its diagonal, in the dtype of `like`. */
function identity(g: GradientBuilder, size: Size, like: Value): Value {
  const places = rangeTo(g, size)
  return castLike(g, g.op('Equal', [unsqueeze(g, places, 1), unsqueeze(g, places, 0)]), like)
}

/** Sums what was broadcast, and puts summed indices back as repeated ones. */
function restored(g: GradientBuilder, partial: Value, seen: readonly string[], term: readonly string[], operand: Value): Value {
  const missing = term.flatMap((letter, axis) => (seen.includes(letter) ? [] : [axis]))
  const spread = missing.length ? unsqueeze(g, partial, ...missing) : partial
  const sizes = seen.map((_, i) => shapeOf(partial)[i])
  spread.shape = term.map((letter): Dim => (seen.includes(letter) ? sizes[seen.indexOf(letter)] : 1))
  const broadcast = term.flatMap((_, axis) => (shapeOf(operand)[axis] === 1 && spread.shape![axis] !== 1 ? [axis] : []))
  return expandLike(g, sumOver(g, spread, broadcast), operand)
}
