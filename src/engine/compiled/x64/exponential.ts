import { chebyshevPolynomial } from '../polynomial.js'
import type { Assembler } from './assembler.js'
import type { Memory, Vector } from './operands.js'
import type { VectorConstants } from './vector-machine.js'

/** Below this, results would no longer be normal numbers; above, they would be infinite. */
const [lowest, highest] = [-87, 88.3]

const degree = 6

/** Coefficients of exp on [-ln 2 / 2, ln 2 / 2]. */
const coefficients = chebyshevPolynomial(Math.exp, -Math.LN2 / 2, Math.LN2 / 2, degree).map((c, power) => c / (Math.LN2 / 2) ** power)

/** ln 2 in two parts: the first has so few bits that its products with exponents are exact. */
const ln2High = Math.round(Math.LN2 * 2 ** 9) / 2 ** 9
const ln2Low = Math.LN2 - ln2High

/**
 * Emits `x = exp(x)` in every lane of a vector, to a relative error of 2e-7: exp(x) = 2^n exp(r) with n = round(x / ln 2) and a polynomial
 * of r. Arguments are clamped to [-87, 88.3], so there are neither denormal nor infinite results; NaN stays.
 *
 * @param temporaries two vectors that may be overwritten
 */
export function emitExp(a: Assembler, x: Vector, temporaries: readonly Vector[], constants: VectorConstants): void {
  const [sum, exponent] = temporaries
  emitReduction(a, x, exponent, sum, constants)
  a.vmovups(sum, constants.float(coefficients[degree]))
  for (let power = degree - 1; power >= 0; power--) a.vfmadd213ps(sum, x, constants.float(coefficients[power]))
  a.vpslld(exponent, exponent, 23)
  a.vpaddd(x, sum, exponent)
}

/**
 * Emits `x = exp(x) - 1` in every lane, to a relative error of 2e-7 for small `x` too. Arguments are clamped to [-87, 88.3].
 *
 * @param temporaries two vectors that may be overwritten
 */
export function emitExpMinusOne(a: Assembler, x: Vector, temporaries: readonly Vector[], constants: VectorConstants): void {
  const [sum, exponent] = temporaries
  emitReduction(a, x, exponent, sum, constants)
  a.vmovups(sum, constants.float(coefficients[degree]))
  for (let power = degree - 1; power >= 1; power--) a.vfmadd213ps(sum, x, constants.float(coefficients[power]))
  a.vmulps(sum, sum, x)
  const power = exponent
  a.vpslld(power, exponent, 23)
  a.vpaddd(power, power, constants.float(1))
  a.vsubps(x, power, constants.float(1))
  a.vfmadd231ps(x, sum, power)
}

/** Sets `exponent` to n as an integer, and `x` to x - n ln 2. */
function emitReduction(a: Assembler, x: Vector, exponent: Vector, temporary: Vector, constants: VectorConstants): void {
  emitClamp(a, x, temporary, constants.float(lowest), constants.float(highest))
  a.vmulps(exponent, x, constants.float(Math.LOG2E))
  a.vcvtps2dq(exponent, exponent)
  a.vcvtdq2ps(temporary, exponent)
  a.vfnmadd231ps(x, temporary, constants.float(ln2High))
  a.vfnmadd231ps(x, temporary, constants.float(ln2Low))
}

/** Emits `x = min(max(x, low), high)`; NaN stays, for the second operand is the result then. */
export function emitClamp(a: Assembler, x: Vector, temporary: Vector, low: Memory, high: Memory): void {
  a.vmovups(temporary, low)
  a.vmaxps(x, temporary, x)
  a.vmovups(temporary, high)
  a.vminps(x, temporary, x)
}
