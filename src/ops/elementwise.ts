/** Element by element: arithmetic, powers and logarithms, trigonometry, rounding, bits. Broadcasting is NumPy's. */
import { addDims, type Dim, divideDims, multiplyDims, subtractDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type DType, dtypes, isFloat, isInteger, type NDArray, numbersOf } from '../numbers/dtype.js'
import { roundHalfEven } from '../numbers/rounding.js'
import { broadcastFacts, commonDtype, computedContents, factsAt, numericOnly, sameFacts } from './facts.js'
import { attributeToInput } from './forms.js'
import {
  addGradient,
  clipGradient,
  divideGradient,
  extremeGradient,
  meanGradient,
  moduloGradient,
  multiplyGradient,
  powerGradient,
  subtractGradient,
  sumGradient,
  unaryGradients,
} from './gradients/elementwise.js'
import { type Gradient, nothingFlows } from './gradients/rule.js'
import { type Operator, operator } from './record.js'
import { erf } from './special.js'
import {
  arrayOf,
  type Binary,
  broadcast,
  broadcastEntries,
  broadcastShape,
  type Entry,
  expanded,
  mapElements,
  numericBinary,
  numericUnary,
  required,
  type Unary,
} from './support.js'

/** How an element of a shape computation follows from the input's; null where that cannot be said. */
type ContentsRule = (x: Dim) => Dim | null

/** An operator of one argument. `contents` carries integers through shape computations. */
function elementary(
  name: keyof typeof unaryGradients,
  since: number,
  real: Unary<number>,
  integer?: Unary<bigint>,
  contents: ContentsRule = () => null,
): Operator {
  return unaryOperator(name, since, real, integer, contents, unaryGradients[name])
}

function unaryOperator(
  name: string,
  since: number,
  real: Unary<number>,
  integer: Unary<bigint> | undefined,
  contents: ContentsRule,
  gradient: Gradient,
): Operator {
  return operator({
    name,
    since,
    gradient,
    infer(_, inputs) {
      const [facts] = sameFacts(inputs)
      return [{ ...facts, contents: computedContents(inputs, ([x]) => contents(x)) }]
    },
    evaluate: (_, inputs) => [numericUnary(required(inputs, 0), real, integer)],
  })
}

/** A function in steps, so flat almost everywhere. */
function step(name: string, since: number, real: Unary<number>, integer: Unary<bigint>, contents: ContentsRule = () => null): Operator {
  return unaryOperator(name, since, real, integer, contents, nothingFlows)
}

/** A step function that leaves integers alone. */
function rounding(name: string, since: number, real: Unary<number>): Operator {
  const contents: ContentsRule = (x) => (typeof x === 'number' ? real(x) : x)
  return step(name, since, real, (x) => x, contents)
}

function absolute(x: bigint): bigint {
  return x < 0n ? -x : x
}

function signOf(x: bigint): bigint {
  return x > 0n ? 1n : x < 0n ? -1n : 0n
}

function negate(x: number): number {
  return -x
}

const unary: readonly Operator[] = [
  elementary('Abs', 6, Math.abs, absolute, numericOnly(Math.abs)),
  elementary('Neg', 6, negate, undefined, (x) => multiplyDims(x, -1)),
  step('Sign', 9, Math.sign, signOf, numericOnly(Math.sign)),
  rounding('Floor', 6, Math.floor),
  rounding('Ceil', 6, Math.ceil),
  rounding('Round', 11, roundHalfEven),
  elementary('Reciprocal', 6, (x) => 1 / x),
  elementary('Sqrt', 6, Math.sqrt),
  elementary('Exp', 6, Math.exp),
  elementary('Log', 6, Math.log),
  elementary('Erf', 9, erf),
  elementary('Sin', 7, Math.sin),
  elementary('Cos', 7, Math.cos),
  elementary('Tan', 7, Math.tan),
  elementary('Asin', 7, Math.asin),
  elementary('Acos', 7, Math.acos),
  elementary('Atan', 7, Math.atan),
  elementary('Sinh', 9, Math.sinh),
  elementary('Cosh', 9, Math.cosh),
  elementary('Asinh', 9, Math.asinh),
  elementary('Acosh', 9, Math.acosh),
  elementary('Atanh', 9, Math.atanh),
  step(
    'BitwiseNot',
    18,
    (x) => ~x,
    (x) => ~x,
  ),
]

/** An operator of two arrays of one dtype. `contents` is for scalars and vectors, which shape computations are made of. */
function arithmetic(
  name: string,
  since: number,
  gradient: Gradient,
  evaluate: (a: NDArray, b: NDArray, node: Node) => NDArray,
  contents: (a: Dim, b: Dim, dtype: DType | null, node: Node) => Dim | null = () => null,
): Operator {
  return operator({
    name,
    since,
    gradient,
    infer(node, inputs) {
      const [facts] = broadcastFacts(inputs, commonDtype(inputs))
      return [{ ...facts, contents: computedContents(inputs, ([a, b]) => contents(a, b, facts.dtype, node)) }]
    },
    evaluate: (node, inputs) => [evaluate(required(inputs, 0), required(inputs, 1), node)],
  })
}

function numeric(real: Binary<number>): (a: NDArray, b: NDArray) => NDArray {
  return (a, b) => numericBinary(a, b, real)
}

/** Division of elements of a shape computation: truncated for integers, known only where exact for floats. */
function divideContents(a: Dim, b: Dim, dtype: DType | null): Dim | null {
  if (b === 0) return null
  if (typeof a === 'number' && typeof b === 'number') return dtype && isFloat(dtype) ? a / b : Math.trunc(a / b)
  const quotient = divideDims(a, b)
  return dtype && isFloat(dtype) && String(quotient).includes('//') ? null : quotient
}

/** Remainder with the divisor's sign, as Python's; source: ONNX Mod, fmod = 0. */
function floorModulo(x: number, y: number): number {
  const rest = x % y
  if (rest === 0) return y < 0 || Object.is(y, -0) ? -0 : 0
  return rest < 0 !== y < 0 ? rest + y : rest
}

function floorModuloInteger(x: bigint, y: bigint): bigint {
  const rest = x % y
  return rest !== 0n && rest < 0n !== y < 0n ? rest + y : rest
}

function modulo(a: NDArray, b: NDArray, node: Node): NDArray {
  if (node.int('fmod', 0)) return numericBinary(a, b, (x, y) => x % y)
  return numericBinary(a, b, floorModulo, floorModuloInteger)
}

function moduloContents(a: Dim, b: Dim, _: DType | null, node: Node): Dim | null {
  if (typeof a === 'number' && typeof b === 'number') return b === 0 ? null : node.int('fmod', 0) ? a % b : floorModulo(a, b)
  return String(divideDims(a, b)).includes('//') ? null : 0
}

function power(base: NDArray, exponent: NDArray): NDArray {
  if (!isInteger(base.dtype) || !isInteger(exponent.dtype)) return broadcast(base, exponent, base.dtype, Math.pow)
  return broadcastEntries(base, exponent, base.dtype, (x, y) => integerPower(BigInt(x), BigInt(y)))
}

/** Negative exponents give the truncated quotient. */
function integerPower(x: bigint, y: bigint): bigint {
  if (y >= 0n) return x ** y
  return x === 1n || x === -1n ? x ** -y : 0n
}

function shiftBits(a: NDArray, b: NDArray, node: Node): NDArray {
  const right = node.string('direction') === 'RIGHT'
  const bits = BigInt(dtypes[a.dtype].bits)
  return broadcastEntries(a, b, a.dtype, (x, y) => shift(BigInt(x), BigInt(y), right, bits))
}

function shift(x: bigint, y: bigint, right: boolean, bits: bigint): bigint {
  const amount = y < 0n || y > bits ? bits : y
  return right ? x >> amount : x << amount
}

const binary: readonly Operator[] = [
  arithmetic(
    'Add',
    7,
    addGradient,
    numeric((x, y) => x + y),
    addDims,
  ),
  arithmetic(
    'Sub',
    7,
    subtractGradient,
    numeric((x, y) => x - y),
    subtractDims,
  ),
  arithmetic(
    'Mul',
    7,
    multiplyGradient,
    numeric((x, y) => x * y),
    multiplyDims,
  ),
  arithmetic(
    'Div',
    7,
    divideGradient,
    numeric((x, y) => x / y),
    divideContents,
  ),
  arithmetic('Mod', 10, moduloGradient, modulo, moduloContents),
  arithmetic('BitShift', 11, nothingFlows, shiftBits),
  arithmetic(
    'BitwiseAnd',
    18,
    nothingFlows,
    numeric((x, y) => x & y),
  ),
  arithmetic(
    'BitwiseOr',
    18,
    nothingFlows,
    numeric((x, y) => x | y),
  ),
  arithmetic(
    'BitwiseXor',
    18,
    nothingFlows,
    numeric((x, y) => x ^ y),
  ),
  operator({
    name: 'Pow',
    since: 7,
    gradient: powerGradient,
    infer: (_, inputs) => broadcastFacts(inputs, factsAt(inputs, 0).dtype),
    evaluate: (_, inputs) => [power(required(inputs, 0), required(inputs, 1))],
  }),
]

/** An operator of any number of arrays of one dtype. */
function variadic(
  name: string,
  gradient: Gradient,
  real: (values: readonly number[]) => number,
  integer: Binary<bigint>,
  contents: (values: readonly Dim[]) => Dim | null,
): Operator {
  return operator({
    name,
    since: 8,
    gradient,
    infer(_, inputs) {
      const [facts] = broadcastFacts(inputs, commonDtype(inputs))
      return [{ ...facts, contents: computedContents(inputs, contents) }]
    },
    evaluate: (_, inputs) => [
      combineAll(
        inputs.map((_, i) => required(inputs, i)),
        real,
        integer,
      ),
    ],
  })
}

function combineAll(arrays: readonly NDArray[], real: (values: readonly number[]) => number, integer: Binary<bigint>): NDArray {
  const { dtype } = arrays[0]
  const shape = broadcastShape(...arrays.map((array) => array.shape))
  const wide = arrays.map((array) => expanded(array, shape))
  if (isInteger(dtype)) return wide.reduce((a, b) => broadcastEntries(a, b, dtype, (x, y) => integer(BigInt(x), BigInt(y))))
  const columns = wide.map(numbersOf)
  return arrayOf(
    dtype,
    shape,
    Array.from(columns[0], (_, i) => real(columns.map((column) => column[i]))),
  )
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}

function larger(x: bigint, y: bigint): bigint {
  if (x > y) return x
  return y
}

function smaller(x: bigint, y: bigint): bigint {
  if (x < y) return x
  return y
}

/** Where all elements are equal the extreme is that element; of different symbols it is a symbol of its own, `min(n, 64)`. */
function extreme(name: 'min' | 'max'): (values: readonly Dim[]) => Dim {
  return (values) => {
    const different = [...new Set(values)]
    if (different.length === 1) return different[0]
    return numericOnly(Math[name])(...different) ?? `${name}(${different.map(String).sort().join(', ')})`
  }
}

const sumContents = (values: readonly Dim[]) => values.reduce(addDims, 0)
const many: readonly Operator[] = [
  variadic('Sum', sumGradient, sum, (x, y) => x + y, sumContents),
  variadic(
    'Mean',
    meanGradient,
    (values) => sum(values) / values.length,
    (x, y) => x + y,
    () => null,
  ),
  variadic('Max', extremeGradient, (values) => Math.max(...values), larger, extreme('max')),
  variadic('Min', extremeGradient, (values) => Math.min(...values), smaller, extreme('min')),
]

function clip(input: NDArray, low: NDArray | null, high: NDArray | null): NDArray {
  const [min, max] = [low, high].map((bound) => (bound ? (bound.data as ArrayLike<Entry>)[0] : null))
  return arrayOf(
    input.dtype,
    input.shape,
    Array.from(input.data as ArrayLike<Entry>, (x) => {
      const raised = min !== null && x < min ? min : x
      return max !== null && raised > max ? max : raised
    }),
  )
}

const others: readonly Operator[] = [
  operator({
    name: 'Clip',
    since: 11,
    gradient: clipGradient,
    infer: (_, inputs) => sameFacts(inputs),
    evaluate: (_, inputs) => [clip(required(inputs, 0), inputs[1] ?? null, inputs[2] ?? null)],
    upgrades: [attributeToInput(11, 'min', 1), attributeToInput(11, 'max', 2)],
  }),
  operator({
    name: 'IsNaN',
    since: 9,
    gradient: nothingFlows,
    infer: (_, inputs) => sameFacts(inputs, 'bool'),
    evaluate: (_, inputs) => [mapElements(required(inputs, 0), (x) => Number(Number.isNaN(x)), 'bool')],
  }),
  operator({
    name: 'IsInf',
    since: 10,
    gradient: nothingFlows,
    infer: (_, inputs) => sameFacts(inputs, 'bool'),
    evaluate(node, inputs) {
      const [negative, positive] = [node.int('detect_negative', 1), node.int('detect_positive', 1)]
      return [mapElements(required(inputs, 0), (x) => (x === Infinity ? positive : x === -Infinity ? negative : 0), 'bool')]
    },
  }),
]

/** Arithmetic and elementary functions of the standard. */
export const elementwise: readonly Operator[] = [...unary, ...binary, ...many, ...others]
