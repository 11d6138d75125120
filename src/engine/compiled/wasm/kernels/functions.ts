import { gelu, tanhGelu } from '../../../../ops/activation.js'
import type { ActivationFunction } from '../../plan/steps.js'
import { chebyshevPolynomial } from '../../polynomial.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32x4, i16x8, i32x4 } from '../values.js'
import type { Vector } from './kernel.js'

/** a * b + c; fused, with one rounding, where that is to be had. */
export function multiplyAdd(f: FunctionBuilder, a: Vector, b: Vector, c: Vector): Vector {
  return f.module.features.multiplyAdd ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c)
}

/** sum + products of four signed bytes with four numbers from 0 to the features' `largestCode`, in each lane; exact where pairs fit. */
export function addDot(f: FunctionBuilder, bytes: Vector, numbers: Vector, sum: Vector): Vector {
  if (f.module.features.dot === 'quads') return i32x4.relaxed_dot_i8x16_i7x16_add_s(bytes, numbers, sum)
  // With ones: on x64, where this is used, other sums of neighbours load the same ones from memory again and again.
  return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(bytes, numbers), f.integers(0x10001)))
}

/** Coefficients from the constant upwards, by Horner's rule. */
function polynomial(f: FunctionBuilder, x: Local<'v128'>, coefficients: readonly number[]): Local<'v128'> {
  const sum = f.local('v128', f.floats(coefficients.at(-1)!))
  for (const coefficient of coefficients.slice(0, -1).reverse()) f.set(sum, multiplyAdd(f, sum, x, f.floats(coefficient)))
  return sum
}

/** x between two bounds; NaN stays. */
function clamp(f: FunctionBuilder, x: Vector, low: number, high: number): Vector {
  return f32x4.pmin(f32x4.pmax(x, f.floats(low)), f.floats(high))
}

const ln2High = 0.693359375
const ln2Low = Math.LN2 - ln2High
const largestExponent = 127
/** Added to a small number, it leaves that one's nearest integer in the lowest bits. */
const rounding = 1.5 * 2 ** 23

/** e^x for four x. x = n ln 2 + r; the polynomial is expf's of Cephes (Moshier), within two units in the last place. */
export function exponential(f: FunctionBuilder, x: Vector): Local<'v128'> {
  const rest = f.local('v128', clamp(f, x, -126 * Math.LN2, largestExponent * Math.LN2))
  const shifted = f.local('v128', multiplyAdd(f, rest, f.floats(Math.LOG2E), f.floats(rounding)))
  const turns = f.local('v128', f32x4.sub(shifted, f.floats(rounding)))
  f.set(rest, multiplyAdd(f, turns, f.floats(-ln2High), rest))
  f.set(rest, multiplyAdd(f, turns, f.floats(-ln2Low), rest))
  const series = polynomial(f, rest, [5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.98756915e-4])
  const result = f.local('v128', multiplyAdd(f, series, f32x4.mul(rest, rest), f32x4.add(rest, f.floats(1))))
  const power = i32x4.add(i32x4.shl(shifted, 23), f.integers(largestExponent << 23))
  f.set(result, f32x4.mul(result, power))
  return result
}

/** A quotient of polynomials in x^2, times x. */
function oddRational(f: FunctionBuilder, x: Vector, bound: number, above: readonly number[], below: readonly number[]): Local<'v128'> {
  const inside = f.local('v128', clamp(f, x, -bound, bound))
  const square = f.local('v128', f32x4.mul(inside, inside))
  const numerator = polynomial(f, square, above)
  f.set(numerator, f32x4.mul(numerator, inside))
  const denominator = polynomial(f, square, below)
  return f.local('v128', f32x4.div(numerator, denominator))
}

/** The error function; minimax approximation of Eigen's generic_fast_erf_float. */
export function errorFunction(f: FunctionBuilder, x: Vector): Local<'v128'> {
  return oddRational(
    f,
    x,
    3.832507,
    [1.1283791, 0.18520832, 0.050955694, 0.003408291, 0.00022905065],
    [1, 0.49746925, 0.11098505, 0.01407047, 0.0010179626, 2.3547966e-5, -1.1791603e-7],
  )
}

/** Minimax approximation of Eigen's generic_fast_tanh_float. */
export function hyperbolicTangent(f: FunctionBuilder, x: Vector): Local<'v128'> {
  return oddRational(
    f,
    x,
    7.905311,
    [0.0048935246, 0.00063726195, 1.48572235e-5, 5.1222973e-8, -8.604672e-11, 2.000188e-13, -2.7607684e-16],
    [0.004893525, 0.0022684347, 0.00011853471, 1.1982584e-6],
  )
}

function sigmoid(f: FunctionBuilder, x: Vector): Vector {
  return f32x4.div(f.floats(1), f32x4.add(f.floats(1), exponential(f, f32x4.neg(x))))
}

/** 0.5 x (1 + t) */
const halfOf = (f: FunctionBuilder, x: Vector, t: Vector) => f32x4.mul(f32x4.mul(x, f.floats(0.5)), f32x4.add(t, f.floats(1)))

/** What an activation makes of four numbers. */
export const activationFunctions: Readonly<Record<ActivationFunction, (f: FunctionBuilder, x: Local<'v128'>) => Vector>> = {
  gelu: (f, x) => halfOf(f, x, errorFunction(f, f32x4.mul(x, f.floats(Math.SQRT1_2)))),
  'gelu-tanh': (f, x) => {
    const cube = f32x4.mul(f32x4.mul(x, x), x)
    const inner = f.local('v128', f32x4.mul(multiplyAdd(f, cube, f.floats(0.044715), x), f.floats(Math.sqrt(2 / Math.PI))))
    return halfOf(f, x, hyperbolicTangent(f, inner))
  },
  'quick-gelu': (f, x) => f32x4.mul(x, sigmoid(f, f32x4.mul(x, f.floats(1.702)))),
  silu: (f, x) => f32x4.mul(x, sigmoid(f, x)),
  relu: (f, x) => f32x4.pmax(x, f.floats(0)),
  tanh: hyperbolicTangent,
  sigmoid,
}

/** How far results of coarse functions may be off. */
export const coarseError = 3.5e-4

/**
 * A function that is 0 for very small x, and x for very large: max(x, 0) plus t times a polynomial of t = min(|x|, end), by few instructions.
 */
function smoothRelu(of: (x: number) => number): (typeof activationFunctions)['gelu'] {
  const [end, degree] = [3.75, 6]
  const coefficients = chebyshevPolynomial((t) => of(-t) / t, 0, end, degree)
  return (f, x) => {
    const t = f.local('v128', f32x4.pmin(f32x4.abs(x), f.floats(end)))
    const inside = f.local('v128', multiplyAdd(f, t, f.floats(2 / end), f.floats(-1)))
    return multiplyAdd(f, t, polynomial(f, inside, coefficients), f32x4.pmax(x, f.floats(0)))
  }
}

/** For results that are rounded to much larger steps. */
export const coarseFunctions: Partial<typeof activationFunctions> = { gelu: smoothRelu(gelu), 'gelu-tanh': smoothRelu(tanhGelu) }
