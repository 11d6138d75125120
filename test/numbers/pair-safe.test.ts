import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pairSafeWeights } from '../../src/numbers/pair-safe.js'

const matrices = fc
  .record({
    inputs: fc.integer({ min: 1, max: 9 }),
    outputs: fc.integer({ min: 1, max: 35 }),
    scale: fc.constantFrom(1, 1e-3, 1e-37, 1e-44),
  })
  .chain(({ inputs, outputs, scale }) => {
    const weights = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: inputs * outputs, maxLength: inputs * outputs })
    return weights.map((numbers) => ({ inputs, outputs, weights: Float32Array.from(numbers, (x) => x * scale) }))
  })

describe('pairSafeWeights', () => {
  test('the codes of a pair add up to 128 at most, and none is beyond 127', () => {
    fc.assert(
      fc.property(matrices, ({ weights, inputs, outputs }) => {
        const { codes } = pairSafeWeights(weights, inputs, outputs)
        expect(codes.every((code) => code >= -127)).toBe(true)
        for (let i = 0; i + outputs < codes.length; i += 2 * outputs)
          for (let n = 0; n < outputs && i + outputs + n < codes.length; n++)
            expect(Math.abs(codes[i + n] + codes[i + outputs + n])).toBeLessThanOrEqual(128)
      }),
    )
  })

  test('no number is farther off than half a step and what its pair had too much', () => {
    fc.assert(
      fc.property(matrices, ({ weights, inputs, outputs }) => {
        const { codes, scale } = pairSafeWeights(weights, inputs, outputs)
        for (let i = 0; i < codes.length; i++) {
          const [row, n] = [Math.floor(i / outputs), i % outputs]
          const other = weights[(row ^ 1) * outputs + n] ?? 0
          const excess = Math.max(0, Math.abs(weights[i] + other) / scale[n] + 1 - 128)
          expect(Math.abs(codes[i] - weights[i] / scale[n])).toBeLessThanOrEqual(0.5 + (excess + 1) / 2 + 1e-3)
        }
      }),
    )
  })

  test('without pairs of large numbers it is plain rounding by max|w| / 127', () => {
    const weights = Float32Array.of(127, 0, 3.4, -64, 0, 100.6)
    expect(pairSafeWeights(weights, 6, 1)).toEqual({ codes: Int8Array.of(127, 0, 3, -64, 0, 101), scale: Float32Array.of(1) })
  })
})
