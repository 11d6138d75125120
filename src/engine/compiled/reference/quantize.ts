import { roundHalfEven } from '../../../numbers/rounding.js'
import type { Quantizer } from '../plan/steps.js'
import type { Rows } from './arrays.js'
import type { Run } from './run.js'

const round = Math.fround

/** The smallest scale of a row: rows that lie within it are zeros. */
export const smallestScale = 2 ** -100

/** A row of numbers to codes, with one multiplication in float32 and one rounding each. NaN becomes the lowest code. */
export function quantizeRow(
  values: Float32Array,
  multipliers: (column: number) => number,
  zeroPoint: number,
  highest: number,
  codes: Uint8Array,
): void {
  for (let column = 0; column < values.length; column++) {
    const code = roundHalfEven(round(values[column] * multipliers(column))) + zeroPoint
    codes[column] = code >= 0 ? Math.min(code, highest) : 0
  }
}

/** Encodes rows of numbers, and writes their parameters where they have some. */
export async function encoder(
  { factors, quantization, highest }: Quantizer,
  run: Run,
): Promise<(values: Float32Array, codes: Uint8Array, row: number) => void> {
  const columnFactors = factors && (await run.floats(factors))
  if (quantization.kind === 'static') {
    const { scale, zeroPoint } = quantization
    const multipliers = (column: number) => round((columnFactors?.[column] ?? 1) / scale)
    return (values, codes) => quantizeRow(values, multipliers, zeroPoint, highest, codes)
  }
  const parameters = run.arena.floats(quantization.parameters)
  return (values, codes, row) => {
    const scaled = columnFactors ? values.map((value, column) => value * columnFactors[column]) : values
    const { scale, inverse, zeroPoint } = rangeOfRow(scaled, highest)
    quantizeRow(scaled, () => inverse, zeroPoint, highest, codes)
    rowOf(parameters, row).set([scale, -zeroPoint])
  }
}

/** Scale and zero point of a row. */
export function rangeOfRow(values: Float32Array, highest: number): { scale: number; inverse: number; zeroPoint: number } {
  let [low, high] = [0, 0]
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  const width = round(round(high - low) / highest)
  const scale = width >= smallestScale ? width : 1
  const inverse = round(1 / scale)
  return { scale, inverse, zeroPoint: roundHalfEven(round(-low * inverse)) }
}

/** A row of an array, shared. */
export function rowOf<A extends Float32Array | Uint8Array>({ data, stride, columns }: Rows<A>, row: number): A {
  return data.subarray(row * stride, row * stride + columns) as A
}
