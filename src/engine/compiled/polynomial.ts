/**
 * Coefficients, lowest power first, of the polynomial in `u = (2x - low - high) / (high - low)`, which runs from -1 to 1, that equals the
 * function at the Chebyshev nodes of `[low, high]`; next to the best of its degree for smooth functions.
 *
 * Source: Trefethen, Approximation Theory and Approximation Practice, chapters 3 and 4.
 *
 * @example
 * chebyshevPolynomial((x) => x * x, -1, 1, 2) // about [0, 0, 1]
 */
export function chebyshevPolynomial(of: (x: number) => number, low: number, high: number, degree: number): number[] {
  const count = degree + 1
  const angles = Array.from({ length: count }, (_, i) => (Math.PI * (i + 0.5)) / count)
  const values = angles.map((angle) => of(((high - low) * Math.cos(angle) + high + low) / 2))
  const result = new Array<number>(count).fill(0)
  let [before, chebyshev] = [[0], [1]]
  for (let k = 0; k < count; k++) {
    const sum = values.reduce((total, value, i) => total + value * Math.cos(k * angles[i]), 0)
    const weight = ((k ? 2 : 1) * sum) / count
    for (const [power, coefficient] of chebyshev.entries()) result[power] += weight * coefficient
    const next = [0, ...chebyshev.map((coefficient) => (k ? 2 : 1) * coefficient)]
    for (const [power, coefficient] of before.entries()) next[power] -= k ? coefficient : 0
    ;[before, chebyshev] = [chebyshev, next]
  }
  return result
}
