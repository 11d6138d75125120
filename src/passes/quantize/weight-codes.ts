import { pairSafeWeights } from '../../numbers/pair-safe.js'
import { integerGrid, type Layout, minMaxParameters, quantize } from '../../numbers/quantizer.js'
import type { QuantizedConstant } from './apply.js'

/** How 8-bit weights are kept from overflowing 16-bit sums on processors without VNNI. */
export type Saturation = 'pair-safe' | '7-bit' | 'ignore'

export const saturationChoices = ['pair-safe', '7-bit', 'ignore'] as const

/** Symmetric 8-bit codes of a weight [inputs, outputs], one scale for each output. */
export function weightCodes(x: Float32Array, inputs: number, outputs: number, saturation: Saturation): QuantizedConstant {
  const layout: Layout = { shape: [inputs, outputs], axis: 1 }
  const grid = integerGrid('int8', { bits: saturation === '7-bit' ? 7 : 8, symmetric: true })
  if (saturation !== 'pair-safe') {
    const parameters = minMaxParameters(x, layout, grid)
    return { codes: quantize(x, parameters, grid, layout), grid, layout, parameters }
  }
  const { codes, scale } = pairSafeWeights(x, inputs, outputs)
  return { codes, grid, layout, parameters: { scale, zeroPoint: new Int32Array(outputs) } }
}
