/** 1.5 * 2^52: added to a double below 2^51 in magnitude it leaves no bits for a fraction, and the sum is rounded half to even. */
const magic = 6755399441055744

/**
 * The nearest integer, ties to the even one: the only rounding of the project, and that of ONNX's Round, QuantizeLinear
 * and Cast. Exact for every double; NaN and infinities stay, and the sign of zero is kept (-0.3 gives -0).
 *
 * Source: IEEE 754, roundTiesToEven.
 *
 * @example
 * [0.5, 1.5, 2.5, -2.5].map(roundHalfEven) // [0, 2, 2, -2]
 */
export function roundHalfEven(x: number): number {
  if (x < 2251799813685248 && x > -2251799813685248) {
    const rounded = x + magic - magic
    return rounded === 0 ? x * 0 : rounded
  }
  // From 2^51 on only halves are left, and from 2^52 on nothing.
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

/**
 * `roundHalfEven` for loops over numbers below 2^51 in magnitude: two additions. Zero comes out positive, and NaN stays.
 *
 * @example
 * roundSmall(2.5) // 2
 */
export function roundSmall(x: number): number {
  return x + magic - magic
}

/**
 * The nearest number with so many significant bits, up to 29; for numbers whose magnitude is far from the largest double.
 *
 * Source: Veltkamp's splitting (Dekker, A floating-point technique for extending the available precision, 1971).
 *
 * @example
 * [1 / 3, 1023].map((x) => roundSignificant(x, 2)) // [0.375, 1024]
 */
export function roundSignificant(x: number, bits: number): number {
  const high = (2 ** (53 - bits) + 1) * x
  return high - (high - x)
}
