/** Comparisons, boolean algebra and choosing. */
import type { Dim } from '../ir/dimension.js'
import type { NDArray } from '../numbers/dtype.js'
import { broadcastFacts, broadcastShapes, commonDtype, computedContents, type InputFacts, numericOnly, sameFacts } from './facts.js'
import { whereGradient } from './gradients/elementwise.js'
import { nothingFlows } from './gradients/rule.js'
import { type Operator, operator } from './record.js'
import { arrayOf, broadcast, broadcastEntries, broadcastShape, type Entry, expanded, mapElements, required } from './support.js'

/** A comparison of two arrays of one dtype. */
function comparison(
  name: string,
  since: number,
  f: (x: Entry, y: Entry) => boolean,
  contents: (a: Dim, b: Dim) => Dim | null = numericOnly((x, y) => Number(f(x, y))),
): Operator {
  return operator({
    name,
    since,
    gradient: nothingFlows,
    infer(_, inputs) {
      commonDtype(inputs)
      return [{ ...broadcastFacts(inputs, 'bool')[0], contents: computedContents(inputs, ([a, b]) => contents(a, b)) }]
    },
    evaluate: (_, inputs) => [broadcastEntries(required(inputs, 0), required(inputs, 1), 'bool', (x, y) => Number(f(x, y)))],
  })
}

/** Symbols stand for sizes: equal to themselves, never negative, otherwise unknown. */
function equalContents(a: Dim, b: Dim): Dim | null {
  if (a === b) return 1
  if (typeof a === 'number' && typeof b === 'number') return 0
  const [number, symbol] = typeof a === 'number' ? [a, b] : [b, a]
  return typeof number === 'number' && number < 0 && !String(symbol).includes('-') ? 0 : null
}

/** A function of two booleans. */
function connective(name: string, f: (x: number, y: number) => number): Operator {
  return operator({
    name,
    since: 7,
    gradient: nothingFlows,
    infer: (_, inputs) => [{ ...broadcastFacts(inputs, 'bool')[0], contents: computedContents(inputs, ([a, b]) => numericOnly(f)(a, b)) }],
    evaluate: (_, inputs) => [broadcast(required(inputs, 0), required(inputs, 1), 'bool', f)],
  })
}

function choose(condition: NDArray, yes: NDArray, no: NDArray): NDArray {
  const shape = broadcastShape(condition.shape, yes.shape, no.shape)
  const [flags, left, right] = [condition, yes, no].map((array) => expanded(array, shape))
  const [taken, other] = [left.data as ArrayLike<Entry>, right.data as ArrayLike<Entry>]
  const values = Array.from(flags.data as Uint8Array, (flag, i) => (flag ? taken[i] : other[i]))
  return arrayOf(yes.dtype, shape, values)
}

function inferWhere(inputs: InputFacts) {
  const branches = inputs.slice(1)
  return [
    {
      dtype: commonDtype(branches),
      shape: broadcastShapes(inputs.map((input) => input?.shape ?? null)),
      contents: computedContents(inputs, ([condition, yes, no]) => (yes === no || condition === 1 ? yes : condition === 0 ? no : null)),
    },
  ]
}

/** Comparisons, boolean algebra and choosing. */
export const logic: readonly Operator[] = [
  comparison('Equal', 7, (x, y) => x === y, equalContents),
  comparison('Less', 7, (x, y) => x < y),
  comparison('LessOrEqual', 12, (x, y) => x <= y),
  comparison('Greater', 7, (x, y) => x > y),
  comparison('GreaterOrEqual', 12, (x, y) => x >= y),
  connective('And', (x, y) => x & y),
  connective('Or', (x, y) => x | y),
  connective('Xor', (x, y) => x ^ y),
  operator({
    name: 'Not',
    since: 1,
    gradient: nothingFlows,
    infer: (_, inputs) => [{ ...sameFacts(inputs, 'bool')[0], contents: computedContents(inputs, ([x]) => numericOnly((x) => 1 - x)(x)) }],
    evaluate: (_, inputs) => [mapElements(required(inputs, 0), (x) => 1 - x)],
  }),
  operator({
    name: 'Where',
    since: 9,
    gradient: whereGradient,
    infer: (_, inputs) => inferWhere(inputs),
    evaluate: (_, inputs) => [choose(required(inputs, 0), required(inputs, 1), required(inputs, 2))],
  }),
]
