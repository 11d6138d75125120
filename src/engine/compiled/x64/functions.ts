import { gelu } from '../../../ops/activation.js'
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

/** Beyond this, GELU is 0 or x to less than 1e-6. */
const geluEnd = 5.2
const geluDegree = 13

/** (Phi(x) - 1/2) / x, an even function, by powers of x^2 - geluEnd^2 / 2; Phi is the normal distribution, which is GELU(x) / x. */
const geluSlope = chebyshevPolynomial(
  (square) => (gelu(Math.sqrt(square)) / Math.sqrt(square) - 0.5) / Math.sqrt(square),
  0,
  geluEnd ** 2,
  geluDegree,
).map((coefficient, power) => coefficient * (2 / geluEnd ** 2) ** power)

/** GELU(x) = x Phi(x) to 5e-7, or that part of x: Phi(x) = 1/2 + x times a polynomial of x^2. All vectors share the load of a coefficient. */
const emitGelu: EmitFunction = (a, vectors, shared, constants) => {
  const lanes = vectors.map(({ x, temporaries: [near, square, sum] }) => ({ x, near, square, sum }))
  a.vmovups(shared, constants.float(-geluEnd))
  for (const { x } of lanes) a.vmaxps(x, shared, x)
  a.vmovups(shared, constants.float(geluEnd))
  for (const { x, near } of lanes) a.vminps(near, shared, x)
  for (const { near, square } of lanes) {
    a.vmovaps(square, near)
    a.vfmsub213ps(square, near, constants.float(geluEnd ** 2 / 2))
  }
  a.vmovups(shared, constants.float(geluSlope[geluDegree]))
  for (const { sum } of lanes) a.vmovaps(sum, shared)
  for (let power = geluDegree - 1; power >= 0; power--) {
    a.vmovups(shared, constants.float(geluSlope[power]))
    for (const { sum, square } of lanes) a.vfmadd213ps(sum, square, shared)
  }
  a.vmovups(shared, constants.float(0.5))
  for (const { sum, near } of lanes) a.vfmadd213ps(sum, near, shared)
  for (const { x, sum } of lanes) a.vmulps(x, x, sum)
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

export const emitFunctions: Readonly<Record<ActivationFunction, EmitFunction>> = {
  gelu: emitGelu,
  // x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3)
  'gelu-tanh': each((a, x, [power, ...temporaries], constants) => {
    const slope = -2 * Math.sqrt(2 / Math.PI)
    a.vmulps(power, x, x)
    a.vmovups(temporaries[0], constants.float(0.044715 * slope))
    a.vfmadd213ps(power, temporaries[0], constants.float(slope))
    a.vmulps(power, power, x)
    emitDivide(a, x, power, temporaries, constants)
  }),
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
