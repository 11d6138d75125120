/** Along one axis or plane: the largest, the different, running sums and products, triangles. */
import { badInput } from '../base/errors.js'
import type { Node } from '../ir/node.js'
import { isInteger, type NDArray, sizeOf } from '../numbers/dtype.js'
import { factsAt, freshDim, type InputFacts, sameFacts } from './facts.js'
import { attributeToInput } from './forms.js'
import * as gradients from './gradients/order.js'
import type { Gradient } from './gradients/rule.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import {
  arrayOf,
  type Binary,
  type Entry,
  iterate,
  normalizeAxis,
  pick,
  pickAlong,
  range,
  required,
  reshaped,
  scalarOf,
  stridesOf,
} from './support.js'

/** The offsets of each line of elements along an axis. */
function* lines(shape: readonly number[], axis: number): Generator<number[]> {
  const step = stridesOf(shape)[axis]
  const starts = shape.map((dim, i) => (i === axis ? Math.min(dim, 1) : dim))
  for (const index of iterate(starts)) {
    const start = index.reduce((sum, at, i) => sum + at * stridesOf(shape)[i], 0)
    yield range(shape[axis], (i) => start + i * step)
  }
}

/** Ascending order; NaN comes last, as in NumPy. */
function ascending(a: Entry, b: Entry): number {
  if (a < b) return -1
  if (a > b) return 1
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
}

function topK(node: Node, input: NDArray, count: number): NDArray[] {
  const axis = normalizeAxis(node.int('axis', -1), input.shape.length)
  if (count > input.shape[axis]) throw badInput(`k = ${count} of an axis of length ${input.shape[axis]}`)
  const direction = node.int('largest', 1) ? -1 : 1
  const data = input.data as ArrayLike<Entry>
  const shape = input.shape.map((dim, i) => (i === axis ? count : dim))
  const step = stridesOf(shape)[axis]
  const [at, indices] = [new Float64Array(sizeOf(shape)), new Float64Array(sizeOf(shape))]
  let line = 0
  for (const members of lines(input.shape, axis)) {
    const order = range(members.length).sort((i, j) => direction * ascending(data[members[i]], data[members[j]]) || i - j)
    const start = Math.floor(line / step) * step * count + (line % step)
    for (let i = 0; i < count; i++) {
      at[start + i * step] = members[order[i]]
      indices[start + i * step] = order[i]
    }
    line++
  }
  return [pick(input, shape, at), arrayOf('int64', shape, indices)]
}

const topKOperator = operator({
  name: 'TopK',
  since: 11,
  gradient: gradients.topKGradient,
  infer(node, inputs) {
    const { dtype, shape } = factsAt(inputs, 0)
    const axis = shape && normalizeAxis(node.int('axis', -1), shape.length)
    const count = factsAt(inputs, 1).contents?.[0]
    const result = shape?.map((dim, i) => (i === axis ? (count ?? freshDim(node, i)) : dim)) ?? null
    return [
      { dtype, shape: result },
      { dtype: 'int64', shape: result },
    ]
  },
  evaluate: (node, inputs) => topK(node, required(inputs, 0), scalarOf(required(inputs, 1))),
  upgrades: [attributeToInput(10, 'k', 1)],
})

/** The parts of an array along an axis as lists of elements, by which they are compared. */
function partsOf(input: NDArray, axis: number): Entry[][] {
  const along = input.shape.map((dim) => range(dim))
  return range(input.shape[axis], (i) => {
    const part = pickAlong(
      input,
      along.map((indices, k) => (k === axis ? [i] : indices)),
    )
    return Array.from(part.data as ArrayLike<Entry>)
  })
}

function compareParts(a: readonly Entry[], b: readonly Entry[]): number {
  for (let i = 0; i < a.length; i++) {
    const order = ascending(a[i], b[i])
    if (order) return order
  }
  return 0
}

function unique(node: Node, given: NDArray): NDArray[] {
  const wanted = node.int('axis')
  const input = wanted === undefined ? reshaped(given, [sizeOf(given.shape)]) : given
  const axis = normalizeAxis(wanted ?? 0, input.shape.length)
  const parts = partsOf(input, axis)
  const sorted = range(parts.length).sort((i, j) => compareParts(parts[i], parts[j]) || i - j)
  const groups: number[][] = []
  for (const i of sorted) {
    const last = groups[groups.length - 1]
    if (last && compareParts(parts[last[0]], parts[i]) === 0) last.push(i)
    else groups.push([i])
  }
  if (!node.int('sorted', 1)) groups.sort(([a], [b]) => a - b)
  const firsts = groups.map(([first]) => first)
  const inverse = new Float64Array(parts.length)
  groups.forEach((members, g) => {
    for (const i of members) inverse[i] = g
  })
  const along = input.shape.map((dim, i) => (i === axis ? firsts : range(dim)))
  const counts = groups.map((members) => members.length)
  return [pickAlong(input, along), ...[firsts, inverse, counts].map((list) => arrayOf('int64', [list.length], list))]
}

function inferUnique(node: Node, inputs: InputFacts): ValueFacts[] {
  const { dtype, shape } = factsAt(inputs, 0)
  const wanted = node.int('axis')
  const count = freshDim(node, 0)
  const axis = shape && wanted !== undefined ? normalizeAxis(wanted, shape.length) : 0
  const parts = wanted === undefined ? [count] : (shape?.map((dim, i) => (i === axis ? count : dim)) ?? null)
  const total = wanted === undefined ? freshDim(node, 1) : (shape?.[axis] ?? freshDim(node, 1))
  const inverse = wanted === undefined && shape?.length === 1 ? shape[0] : total
  return [{ dtype, shape: parts }, ...[count, inverse, count].map((length) => ({ dtype: 'int64' as const, shape: [length] }))]
}

/** A running sum or product. */
function running(name: string, since: number, gradient: Gradient, first: number, combine: Binary<number>): Operator {
  return operator({
    name,
    since,
    gradient,
    infer: (_, inputs) => sameFacts(inputs),
    evaluate(node, inputs) {
      const input = required(inputs, 0)
      const axis = normalizeAxis(scalarOf(required(inputs, 1)), input.shape.length)
      return [accumulated(input, axis, first, combine, Boolean(node.int('exclusive', 0)), Boolean(node.int('reverse', 0)))]
    },
  })
}

function accumulated(input: NDArray, axis: number, first: number, combine: Binary<number>, exclusive: boolean, reverse: boolean): NDArray {
  const data = input.data as ArrayLike<number | bigint>
  const exact = isInteger(input.dtype)
  const add = combine as Binary<Entry>
  const values = new Array<Entry>(data.length)
  for (const members of lines(input.shape, axis)) {
    let state: Entry = exact ? BigInt(first) : first
    for (const at of reverse ? members.reverse() : members) {
      const next: Entry = add(state, exact ? BigInt(data[at]) : data[at])
      values[at] = exclusive ? state : next
      state = next
    }
  }
  return arrayOf(input.dtype, input.shape, values)
}

const trilu = operator({
  name: 'Trilu',
  since: 14,
  gradient: gradients.triluGradient,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const diagonal = inputs[1] ? scalarOf(inputs[1]) : 0
    const upper = node.int('upper', 1)
    const rank = input.shape.length
    let at = 0
    const kept = Array.from(iterate(input.shape), (index) => {
      const distance = index[rank - 1] - index[rank - 2] - diagonal
      const place = at++
      return (upper ? distance >= 0 : distance <= 0) ? place : -1
    })
    return [pick(input, input.shape, kept)]
  },
})

/** The determinant of a row-major square matrix by elimination with pivots. */
function determinant(matrix: Float64Array, size: number): number {
  let result = 1
  for (let k = 0; k < size; k++) {
    const pivot = range(size - k, (i) => k + i).reduce((best, i) =>
      Math.abs(matrix[i * size + k]) > Math.abs(matrix[best * size + k]) ? i : best,
    )
    if (matrix[pivot * size + k] === 0) return 0
    if (pivot !== k) {
      result = -result
      for (let j = k; j < size; j++) {
        const swapped = matrix[k * size + j]
        matrix[k * size + j] = matrix[pivot * size + j]
        matrix[pivot * size + j] = swapped
      }
    }
    result *= matrix[k * size + k]
    for (let i = k + 1; i < size; i++) {
      const factor = matrix[i * size + k] / matrix[k * size + k]
      for (let j = k; j < size; j++) matrix[i * size + j] -= factor * matrix[k * size + j]
    }
  }
  return result
}

const det = operator({
  name: 'Det',
  since: 11,
  gradient: gradients.detGradient,
  infer: (_, inputs) => [{ dtype: factsAt(inputs, 0).dtype, shape: factsAt(inputs, 0).shape?.slice(0, -2) ?? null }],
  evaluate(_, inputs) {
    const input = required(inputs, 0)
    const size = input.shape[input.shape.length - 1]
    const shape = input.shape.slice(0, -2)
    const data = Float64Array.from(input.data as ArrayLike<number>)
    const values = range(sizeOf(shape), (i) => determinant(data.slice(i * size * size, (i + 1) * size * size), size))
    return [arrayOf(input.dtype, shape, values)]
  },
})

/** Order, differences, running sums, triangles. */
export const orders: readonly Operator[] = [
  topKOperator,
  operator({
    name: 'Unique',
    since: 11,
    gradient: gradients.uniqueGradient,
    infer: inferUnique,
    evaluate: (node, inputs) => unique(node, required(inputs, 0)),
  }),
  running('CumSum', 11, gradients.cumSumGradient, 0, (x, y) => x + y),
  running('CumProd', 26, gradients.cumProdGradient, 1, (x, y) => x * y),
  trilu,
  det,
]
