import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  cosineSimilarities,
  cosineSimilarity,
  klDivergence,
  maxAbsoluteDifference,
  maxRelativeDifference,
  meanSquaredError,
  quantile,
  sqnr,
} from '../../src/numbers/metrics.js'
import { fakeQuantize, integerGrid, minMaxParameters } from '../../src/numbers/quantizer.js'

const f = (...values: number[]) => Float32Array.of(...values)

describe('closed forms', () => {
  test('errors', () => {
    expect(meanSquaredError(f(1, 2), f(1, 4))).toBe(2)
    expect(meanSquaredError(f(), f())).toBe(0)
    expect(maxAbsoluteDifference(f(1, 2), f(1, 4))).toBe(2)
    expect(maxAbsoluteDifference(f(Number.NEGATIVE_INFINITY, Number.NaN), f(Number.NEGATIVE_INFINITY, Number.NaN))).toBe(0)
    expect(maxAbsoluteDifference(f(0), f(Number.NaN))).toBeNaN()
    expect(maxRelativeDifference(f(1, -4), f(1, -2))).toBe(0.5)
    expect(maxRelativeDifference(f(0), f(0))).toBe(0)
    expect(maxRelativeDifference(f(0), f(1))).toBe(Number.POSITIVE_INFINITY)
    expect(() => meanSquaredError(f(1), f(1, 2))).toThrow(/1 and 2 numbers/)
  })

  test('sqnr', () => {
    expect(sqnr(f(10), f(9))).toBeCloseTo(20, 12)
    expect(sqnr(f(1), f(1))).toBe(Number.POSITIVE_INFINITY)
  })

  test('cosines', () => {
    expect(cosineSimilarity(f(1, 0), f(1, 1))).toBeCloseTo(Math.SQRT1_2, 12)
    expect(cosineSimilarity(f(0, 0), f(0, 0))).toBe(1)
    expect(cosineSimilarity(f(0, 0), f(0, 1))).toBe(0)
    expect([...cosineSimilarities(f(1, 0, 0, 2), f(-3, 0, 0, 1), 2)]).toEqual([-1, 1])
    expect(() => cosineSimilarities(f(1, 2, 3), f(1, 2, 3), 2)).toThrow(/no rows of 2/)
  })

  test('Kullback-Leibler divergence', () => {
    // Against p = (1/2, 1/2), q = (3/4, 1/4): log(2 / sqrt(3)).
    expect(klDivergence(f(0, 0), f(Math.log(3), 0), 2)[0]).toBeCloseTo(Math.log(2 / Math.sqrt(3)), 7)
    expect(klDivergence(f(0, Number.NEGATIVE_INFINITY), f(0, Number.NEGATIVE_INFINITY), 2)[0]).toBe(0)
    expect(klDivergence(f(1000, 0), f(1000, 0), 2)[0]).toBe(0)
  })

  test('quantile', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
    expect(quantile([4, 1, 3, 2], 0)).toBe(1)
    expect(quantile([4, 1, 3, 2], 1)).toBe(4)
    expect(() => quantile([], 0.5)).toThrow(/no numbers/)
  })
})

test('divergence is not negative and does not see a shift of the logits', () => {
  const logits = fc.float32Array({ min: -20, max: 20, noNaN: true, minLength: 6, maxLength: 6 })
  fc.assert(
    fc.property(logits, logits, (a, b) => {
      const divergences = klDivergence(a, b, 3)
      expect(divergences.length).toBe(2)
      const shifted = klDivergence(
        a,
        Float64Array.from(b, (v) => v + 7),
        3,
      )
      for (const row of [0, 1]) {
        expect(divergences[row]).toBeGreaterThanOrEqual(-1e-12)
        expect(shifted[row]).toBeCloseTo(divergences[row], 9)
      }
    }),
  )
})

test('each bit adds 6 dB to uniform numbers', () => {
  const random = new Random(3)
  const x = Float32Array.from({ length: 50_000 }, () => random.uniform() * 2 - 1)
  const at = (bits: number) => {
    const grid = integerGrid('int16', { bits })
    return sqnr(x, fakeQuantize(x, minMaxParameters(x, { shape: [x.length] }, grid, { symmetric: false }), grid))
  }
  for (const bits of [4, 6, 8, 10]) expect(at(bits + 1) - at(bits)).toBeCloseTo(6.02 * 1, 0)
  expect(at(8)).toBeCloseTo(6.02 * 8, 0)
})
