import { gelu, tanhGelu } from '../../../ops/activation.js'
import type { ActivationFunction } from '../plan/steps.js'
import { chebyshevPolynomial } from '../polynomial.js'
import type { Assembler } from './assembler.js'
import { emitExp, emitExpMinusOne } from './exponential.js'
import type { Vector } from './operands.js'
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
  let coefficients: readonly number[] | undefined
  return (a, vectors, shared, constants) => {
    coefficients ??= chebyshevPolynomial(slope, 0, end ** 2, degree).map((coefficient, power) => coefficient / middle ** power)
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
    0,
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

/** Pieces of {@link quadratics}: how many, two vectors of coefficients; their width, a power of two; the middle of the first, in widths. */
const [pieces, pieceWidth, firstPiece] = [32, 1 / 4, -15]

/**
 * The same by still fewer instructions for vectors of 512 bits: a quadratic for each piece of the line, whose coefficients are looked up. In
 * the first piece, which has no begin, it is a constant; in the last one, which has no end, it is x.
 */
function quadratics(of: (x: number) => number): EmitFunction {
  const lastPiece = firstPiece + pieces - 1
  const powers: (readonly number[])[] = []
  for (let piece = firstPiece; piece <= lastPiece; piece++) {
    const [low, high] = [-1, 1].map((side) => (piece + side / 2) * pieceWidth)
    const inside = inPowers(chebyshevPolynomial(of, low, high, 2), low, high)
    powers[piece & (pieces - 1)] = piece === firstPiece ? [of(high) / 2, 0, 0] : piece === lastPiece ? [0, 1, 0] : inside
  }
  // Behind this sum the lowest bits are the number of the piece.
  const shift = 1.5 * 2 ** 23 * pieceWidth
  return (a, vectors, shared, constants) => {
    const [least, most] = [firstPiece, lastPiece].map((piece) => constants.float(shift + piece * pieceWidth))
    const lanes = vectors.map(({ x, temporaries: [piece, sum, coefficient] }) => ({ x, piece, sum, coefficient }))
    const emitCoefficients = (power: number, to: 'sum' | 'coefficient') => {
      const [low, high] = [0, pieces / 2].map((first) => constants.floats((lane) => powers[first + lane][power]))
      a.vmovups(shared, low)
      for (const lane of lanes) {
        a.vmovaps(lane[to], shared)
        a.vpermt2ps(lane[to], lane.piece, high)
      }
    }
    for (const { x, piece } of lanes) {
      a.vaddps(piece, x, constants.float(shift))
      // Compared as integers, so that a NaN has a piece too and its quadratic is NaN.
      a.vpmaxsd(piece, piece, least)
      a.vpminsd(piece, piece, most)
    }
    emitCoefficients(2, 'sum')
    emitCoefficients(1, 'coefficient')
    for (const { x, sum, coefficient } of lanes) a.vfmadd213ps(sum, x, coefficient)
    emitCoefficients(0, 'coefficient')
    for (const { x, sum, coefficient } of lanes) a.vfmadd213ps(x, sum, coefficient)
  }
}

/** The one of the two that the vectors have instructions for. */
function coarseSmoothRelu(of: (x: number) => number): EmitFunction {
  const [one, many] = [smoothRelu(of, 3.75, 6), quadratics(of)]
  return (a, vectors, shared, constants) => (constants.machine.name === 'avx512' ? many : one)(a, vectors, shared, constants)
}

/** Coefficients of powers of x out of those of powers of (2x - low - high) / (high - low). */
function inPowers(coefficients: readonly number[], low: number, high: number): number[] {
  const [slope, offset] = [2 / (high - low), -(low + high) / (high - low)]
  return coefficients.reduceRight<number[]>((sum, coefficient) => {
    const product = [...sum.map((c) => offset * c), 0]
    for (const [power, c] of sum.entries()) product[power + 1] += slope * c
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
  gelu: coarseSmoothRelu(gelu),
  'gelu-tanh': coarseSmoothRelu(tanhGelu),
}
