import { gelu, tanhGelu } from '../../../ops/activation.js'
import type { ActivationFunction } from '../plan/steps.js'
import type { Assembler } from './assembler.js'
import { emitExp, emitExpMinusOne } from './exponential.js'
import type { Vector } from './operands.js'
import { chebyshevPolynomial } from './polynomial.js'
import type { VectorConstants } from './vector-machine.js'

/** A vector that a function is computed of, and three that may be overwritten. */
export interface FunctionVectors {
  readonly x: Vector
  readonly temporaries: readonly Vector[]
}

/** Emits `x = f(x)` in every lane of some vectors; `shared` may be overwritten. NaN stays. */
export type EmitFunction = (a: Assembler, vectors: readonly FunctionVectors[], shared: Vector, constants: VectorConstants) => void

type EmitOne = (a: Assembler, x: Vector, temporaries: readonly Vector[], constants: VectorConstants) => void

/** One vector after the other; the processor overlaps them. */
function each(emit: EmitOne): EmitFunction {
  return (a, vectors, _shared, constants) => {
    for (const { x, temporaries } of vectors) emit(a, x, temporaries, constants)
  }
}

/**
 * A function x S(x) that is 0 for very small x, and x for very large: S(x) = 1/2 + x times a polynomial of x^2, as far as `end`, beyond which S
 * stays. All vectors share the load of a coefficient.
 */
function smoothStep(of: (x: number) => number, end: number, degree: number): EmitFunction {
  const middle = end ** 2 / 2
  const slope = (square: number) => (of(Math.sqrt(square)) / Math.sqrt(square) - 0.5) / Math.sqrt(square)
  const coefficients = chebyshevPolynomial(slope, 0, end ** 2, degree).map((coefficient, power) => coefficient / middle ** power)
  return (a, vectors, shared, constants) => {
    const lanes = vectors.map(({ x, temporaries: [near, square, sum] }) => ({ x, near, square, sum }))
    a.vmovups(shared, constants.float(-end))
    for (const { x } of lanes) a.vmaxps(x, shared, x)
    a.vmovups(shared, constants.float(end))
    for (const { x, near } of lanes) a.vminps(near, shared, x)
    for (const { near, square } of lanes) {
      a.vmovaps(square, near)
      a.vfmsub213ps(square, near, constants.float(middle))
    }
    a.vmovups(shared, constants.float(coefficients[degree]))
    for (const { sum } of lanes) a.vmovaps(sum, shared)
    for (let power = degree - 1; power >= 0; power--) {
      a.vmovups(shared, constants.float(coefficients[power]))
      for (const { sum, square } of lanes) a.vfmadd213ps(sum, square, shared)
    }
    a.vmovups(shared, constants.float(0.5))
    for (const { sum, near } of lanes) a.vfmadd213ps(sum, near, shared)
    for (const { x, sum } of lanes) a.vmulps(x, x, sum)
  }
}

/** x / (1 + exp(-sharpness x)) */
function emitSilu(sharpness: number): EmitFunction {
  return each((a, x, [power, ...temporaries], constants) => {
    a.vmulps(power, x, constants.float(-sharpness))
    emitDivide(a, x, power, temporaries, constants)
  })
}

/** x / (1 + exp(power)) */
function emitDivide(a: Assembler, x: Vector, power: Vector, temporaries: readonly Vector[], constants: VectorConstants): void {
  emitExp(a, power, temporaries, constants)
  a.vaddps(power, power, constants.float(1))
  a.vdivps(x, x, power)
}

/**
 * The same kind of function by fewer instructions: max(x, 0) plus t times a polynomial of t = min(|x|, end). Good where little precision is
 * asked for.
 */
function smoothRelu(of: (x: number) => number, end: number, degree: number): EmitFunction {
  const powers = inPowers(
    chebyshevPolynomial((t) => of(-t) / t, 0, end, degree),
    end,
  )
  return (a, vectors, shared, constants) => {
    a.vmovups(shared, constants.float(end))
    for (const {
      x,
      temporaries: [t, sum],
    } of vectors) {
      a.vandps(t, x, constants.word(0x7fffffff))
      a.vminps(t, shared, t)
      a.vmaxps(x, x, constants.float(0))
      a.vmovups(sum, constants.float(powers[degree]))
    }
    for (let power = degree - 1; power >= 0; power--)
      for (const {
        temporaries: [t, sum],
      } of vectors)
        a.vfmadd213ps(sum, t, constants.float(powers[power]))
    for (const {
      x,
      temporaries: [t, sum],
    } of vectors)
      a.vfmadd231ps(x, t, sum)
  }
}

/** Coefficients of powers of t out of those of powers of 2t / end - 1. */
function inPowers(coefficients: readonly number[], end: number): number[] {
  return coefficients.reduceRight<number[]>((sum, coefficient) => {
    const product = [...sum.map((c) => -c), 0]
    for (const [power, c] of sum.entries()) product[power + 1] += (2 / end) * c
    product[0] += coefficient
    return product
  }, [])
}

/** To 1e-6 or better. */
export const emitFunctions: Readonly<Record<ActivationFunction, EmitFunction>> = {
  gelu: smoothStep(gelu, 5.2, 13),
  'gelu-tanh': smoothStep(tanhGelu, 5.2, 13),
  'quick-gelu': emitSilu(1.702),
  silu: emitSilu(1),
  relu: each((a, x, [zero]) => {
    a.vxorps(zero, zero, zero)
    a.vmaxps(x, zero, x)
  }),
  // (exp(2 x) - 1) / (exp(2 x) + 1); from 10 on it is 1.
  tanh: each((a, x, temporaries, constants) => {
    const [end, sum] = temporaries
    a.vaddps(x, x, x)
    a.vmovups(end, constants.float(-20))
    a.vmaxps(x, end, x)
    a.vmovups(end, constants.float(20))
    a.vminps(x, end, x)
    emitExpMinusOne(a, x, temporaries, constants)
    a.vaddps(sum, x, constants.float(2))
    a.vdivps(x, x, sum)
  }),
  sigmoid: each((a, x, [power, ...temporaries], constants) => {
    a.vmulps(power, x, constants.float(-1))
    a.vmovups(x, constants.float(1))
    emitDivide(a, x, power, temporaries, constants)
  }),
}

/** How far results of coarse functions may be off. */
export const coarseError = 3.5e-4

/** With so few instructions that a product can do them on the way, for results that are rounded to much larger steps. */
export const emitCoarseFunctions: Readonly<Partial<Record<ActivationFunction, EmitFunction>>> = {
  relu: emitFunctions.relu,
  gelu: smoothRelu(gelu, 3.75, 6),
  'gelu-tanh': smoothRelu(tanhGelu, 3.75, 6),
}
