import { erf } from '../../../ops/special.js'
import { chebyshevPolynomial } from '../polynomial.js'
import {
  type ElementwiseOperator,
  elementwiseOperators,
  emitComparison,
  emitSelection,
  inRegister,
  unary,
} from './elementwise-operators.js'
import { emitExp } from './exponential.js'

/** Where exp is 0, and where it is infinite. */
const [lowest, highest] = [-87, 88.72]

/** From here on erf is 1, to half a unit of the last place. */
const end = 3.92
const middle = end ** 2 / 2
const degree = 14
/** Coefficients of erf(x) / x as powers of x^2 - middle. */
const coefficients = chebyshevPolynomial((square) => erf(Math.sqrt(square)) / Math.sqrt(square), 0, end ** 2, degree).map(
  (coefficient, power) => coefficient / middle ** power,
)

/**
 * Those of {@link elementwiseOperators}, and functions that are not rounded exactly: Exp to a relative error of 2e-7 (0 below -87, infinite
 * above 88.72), Erf to 3e-7.
 */
export const elementwiseFunctions: Readonly<Record<string, ElementwiseOperator>> = {
  ...elementwiseOperators,
  Exp: unary((context, x) => {
    const { a, constants, to, temporaries } = context
    a.vmovups(to, x)
    emitExp(a, to, temporaries, constants)
    const [bound, chosen] = temporaries
    a.vmovups(bound, constants.float(lowest))
    emitComparison(context, 'greater', chosen, bound, x)
    a.vandnps(to, chosen, to)
    a.vmovups(bound, constants.float(highest))
    emitComparison(context, 'less', chosen, bound, x)
    emitSelection(context, chosen, constants.float(Number.POSITIVE_INFINITY), to)
  }),
  Erf: unary(({ a, constants, to, temporaries: [near, square] }, x) => {
    const source = inRegister(a, x, to)
    a.vmovups(near, constants.float(-end))
    a.vmaxps(near, near, source)
    a.vmovups(square, constants.float(end))
    a.vminps(near, square, near)
    a.vmovups(square, near)
    a.vfmsub213ps(square, near, constants.float(middle))
    a.vmovups(to, constants.float(coefficients[degree]))
    for (let power = degree - 1; power >= 0; power--) a.vfmadd213ps(to, square, constants.float(coefficients[power]))
    a.vmulps(to, to, near)
  }),
}
