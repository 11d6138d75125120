/** Reductions along axes: sums, means, extremes, norms, and where the extremes are. */
import { addDims, type Dim, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type DType, dtypes, isInteger, type NDArray, numbersOf } from '../numbers/dtype.js'
import { factsAt, freshDim, type InputFacts, numericContents } from './facts.js'
import { attributeToInput } from './forms.js'
import { reductionGradients } from './gradients/reduce.js'
import { nothingFlows } from './gradients/rule.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, type Entry, integersOf, normalizeAxes, normalizeAxis, offsets, required, stridesOf } from './support.js'

/** How a reduction treats the elements that fall together. */
interface Reduction {
  readonly real: (values: Float64Array) => number
  /** For integers, and for booleans as 0 and 1. */
  readonly integer: (values: readonly bigint[], dtype: DType) => bigint
  /** For whole vectors of shape computations. */
  readonly contents?: (values: readonly Dim[]) => Dim
}

function reduction(name: keyof typeof reductionGradients, since: number, rule: Reduction): Operator {
  return operator({
    name,
    since,
    gradient: reductionGradients[name],
    infer: (node, inputs) => inferReduction(node, inputs, rule),
    evaluate: (node, inputs) => [reduce(required(inputs, 0), keptAxes(node, inputs), Boolean(node.int('keepdims', 1)), rule)],
    upgrades: [attributeToInput(since, 'axes', 1)],
  })
}

/** The axes to reduce; undefined for all. */
function keptAxes(node: Node, inputs: readonly (NDArray | null)[]): number[] | undefined {
  const axes = inputs[1] ? integersOf(inputs[1]) : []
  return axes.length ? axes : node.int('noop_with_empty_axes', 0) ? [] : undefined
}

function inferReduction(node: Node, inputs: InputFacts, rule: Reduction): ValueFacts[] {
  const { dtype, shape, contents } = factsAt(inputs, 0)
  const given = node.input(1) ? numericContents(inputs, 1) : []
  const keep = Boolean(node.int('keepdims', 1))
  if (!shape || !given) return [{ dtype, shape: keep && shape ? shape.map((_, i) => freshDim(node, i)) : null }]
  const all = node.int('noop_with_empty_axes', 0) ? [] : undefined
  const axes = normalizeAxes(given.length ? given : all, shape.length)
  const result = reducedShape(shape, axes, keep)
  const whole = contents && shape.length === 1 && axes.length === 1
  return [{ dtype, shape: result, contents: whole && rule.contents ? [rule.contents(contents)] : null }]
}

function reducedShape<T extends Dim>(shape: readonly T[], axes: readonly number[], keep: boolean): (T | 1)[] {
  return keep ? shape.map((dim, i) => (axes.includes(i) ? 1 : dim)) : shape.filter((_, i) => !axes.includes(i))
}

function reduce(array: NDArray, given: readonly number[] | undefined, keep: boolean, { real, integer }: Reduction): NDArray {
  const axes = normalizeAxes(given, array.shape.length)
  const { starts, steps } = groups(array.shape, axes)
  const shape = reducedShape(array.shape, axes, keep)
  if (isInteger(array.dtype) || array.dtype === 'bool') {
    const data = array.data as ArrayLike<number | bigint>
    return arrayOf(
      array.dtype,
      shape,
      Array.from(starts, (start) =>
        integer(
          Array.from(steps, (step) => BigInt(data[start + step])),
          array.dtype,
        ),
      ),
    )
  }
  const data = numbersOf(array)
  return arrayOf(
    array.dtype,
    shape,
    Array.from(starts, (start) => real(steps.map((step) => data[start + step]))),
  )
}

/** Where each group of elements that are reduced together starts, and where its members lie from there. */
function groups(shape: readonly number[], axes: readonly number[]): { starts: Float64Array; steps: Float64Array } {
  const strides = stridesOf(shape)
  const along = (keep: (axis: number) => boolean) =>
    offsets(
      shape.filter((_, i) => keep(i)),
      strides.filter((_, i) => keep(i)),
    )
  return { starts: along((axis) => !axes.includes(axis)), steps: along((axis) => axes.includes(axis)) }
}

function sum(values: Float64Array): number {
  let total = 0
  for (const x of values) total += x
  return total
}

function sumOf(f: (x: number) => number): (values: Float64Array) => number {
  return (values) => sum(values.map(f))
}

function total(values: readonly bigint[]): bigint {
  return values.reduce((a, b) => a + b, 0n)
}

function totalOf(f: (x: bigint) => bigint): (values: readonly bigint[]) => bigint {
  return (values) => total(values.map(f))
}

/** An integer result of a real function, truncated. */
function truncated(f: (values: Float64Array) => number): (values: readonly bigint[]) => bigint {
  return (values) => BigInt(Math.trunc(f(Float64Array.from(values, Number))))
}

function logSumExp(values: Float64Array): number {
  const max = values.reduce((a, b) => Math.max(a, b), -Infinity)
  if (!Number.isFinite(max)) return max
  return max + Math.log(sum(values.map((x) => Math.exp(x - max))))
}

const absolute = (x: bigint) => (x < 0n ? -x : x)
const norm = (values: Float64Array) => Math.sqrt(sumOf((x) => x * x)(values))
const logSum = (values: Float64Array) => Math.log(sum(values))

/** The least and the greatest integer of a dtype; those of bool are 0 and 1. */
function integerLimits(dtype: DType): { least: bigint; greatest: bigint } {
  const { bits, kind } = dtypes[dtype]
  if (kind === 'bool') return { least: 0n, greatest: 1n }
  const least = kind === 'int' ? -(1n << BigInt(bits - 1)) : 0n
  return { least, greatest: least + (1n << BigInt(bits)) - 1n }
}

function smaller<T extends number | bigint>(x: T, y: T): T {
  if (y < x) return y
  return x
}

function larger<T extends number | bigint>(x: T, y: T): T {
  if (y > x) return y
  return x
}

/** ArgMax and ArgMin. */
function position(name: string, better: (x: Entry, y: Entry) => boolean): Operator {
  return operator({
    name,
    since: 12,
    gradient: nothingFlows,
    infer(node, inputs) {
      const { shape } = factsAt(inputs, 0)
      const axis = shape && normalizeAxis(node.int('axis', 0), shape.length)
      return [{ dtype: 'int64', shape: shape && reducedShape(shape, [axis!], Boolean(node.int('keepdims', 1))) }]
    },
    evaluate: (node, inputs) => [positionOf(required(inputs, 0), node, better)],
  })
}

function positionOf(array: NDArray, node: Node, better: (x: Entry, y: Entry) => boolean): NDArray {
  const axis = normalizeAxis(node.int('axis', 0), array.shape.length)
  const last = node.int('select_last_index', 0)
  const { starts, steps } = groups(array.shape, [axis])
  const data = array.data as ArrayLike<Entry>
  const positions = Array.from(starts, (start) => {
    let best = 0
    for (let i = 1; i < steps.length; i++) {
      const [have, found] = [data[start + steps[best]], data[start + steps[i]]]
      if (better(found, have) || (last && found === have)) best = i
    }
    return best
  })
  return arrayOf('int64', reducedShape(array.shape, [axis], Boolean(node.int('keepdims', 1))), positions)
}

/** Reductions of the standard. */
export const reductions: readonly Operator[] = [
  reduction('ReduceSum', 13, { real: sum, integer: total, contents: (values) => values.reduce(addDims, 0) }),
  reduction('ReduceProd', 18, {
    real: (values) => values.reduce((a, b) => a * b, 1),
    integer: (values) => values.reduce((a, b) => a * b, 1n),
    contents: (values) => values.reduce(multiplyDims, 1),
  }),
  reduction('ReduceMean', 18, {
    real: (values) => sum(values) / values.length,
    integer: (values) => total(values) / BigInt(values.length),
  }),
  reduction('ReduceL1', 18, { real: sumOf(Math.abs), integer: totalOf(absolute) }),
  reduction('ReduceL2', 18, { real: norm, integer: truncated(norm) }),
  reduction('ReduceSumSquare', 18, { real: sumOf((x) => x * x), integer: totalOf((x) => x * x) }),
  reduction('ReduceLogSum', 18, { real: logSum, integer: truncated(logSum) }),
  reduction('ReduceLogSumExp', 18, { real: logSumExp, integer: truncated(logSumExp) }),
  reduction('ReduceMax', 18, {
    real: (values) => values.reduce((a, b) => Math.max(a, b), -Infinity),
    integer: (values, dtype) => values.reduce(larger, integerLimits(dtype).least),
  }),
  reduction('ReduceMin', 18, {
    real: (values) => values.reduce((a, b) => Math.min(a, b), Infinity),
    integer: (values, dtype) => values.reduce(smaller, integerLimits(dtype).greatest),
  }),
  position('ArgMax', (x, y) => x > y),
  position('ArgMin', (x, y) => x < y),
]
