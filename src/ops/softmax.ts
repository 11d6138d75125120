/**
 * The softmax of a row of numbers, in place. A row that is -Infinity everywhere (all masked) becomes zeros.
 *
 * @example
 * const row = Float64Array.of(0, Math.log(3))
 * softmax(row) // row is [0.25, 0.75]
 */
export function softmax(row: Float64Array): void {
  const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  if (max === Number.NEGATIVE_INFINITY) {
    row.fill(0)
    return
  }
  let sum = 0
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - max)
  for (let i = 0; i < row.length; i++) row[i] /= sum
}
