/**
 * The error function, to about 1e-15: its all-positive series (Abramowitz and Stegun 7.1.6) where that converges fast,
 * else one minus the continued fraction of erfc (7.1.14).
 *
 * @example
 * erf(1) // 0.8427007929497149
 */
export function erf(x: number): number {
  const magnitude = Math.abs(x)
  if (x === 0 || magnitude > 6) return Math.sign(x)
  const value = magnitude < 2.5 ? erfSeries(magnitude) : 1 - erfcFraction(magnitude)
  return x < 0 ? -value : value
}

function erfSeries(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

function erfcFraction(x: number): number {
  let fraction = x
  for (let k = 120; k > 0; k--) fraction = x + k / 2 / fraction
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction)
}
