import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { roundHalfEven } from '../../src/numbers/rounding.js'

/** The definition, written plainly. */
function definition(x: number): number {
  const floor = Math.floor(x)
  const fraction = x - floor
  if (fraction < 0.5) return floor
  if (fraction > 0.5) return floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

describe('roundHalfEven', () => {
  test('ties go to the even neighbour', () => {
    for (let i = -1000; i < 1000; i++) expect(roundHalfEven(i + 0.5)).toBeCloseTo(i % 2 === 0 ? i : i + 1, 12)
  })

  test('the neighbours of a tie do not', () => {
    expect(roundHalfEven(0.49999999999999994)).toBe(0)
    expect(roundHalfEven(0.5000000000000001)).toBe(1)
    expect(roundHalfEven(2.5000000000000004)).toBe(3)
    expect(roundHalfEven(-0.5000000000000001)).toBe(-1)
  })

  test('large numbers, zeros, infinities and NaN', () => {
    for (const x of [2 ** 51 - 0.5, 2 ** 51 + 0.5, 2 ** 51 + 1.5, 2 ** 52 + 1, 2 ** 53, 1e300])
      for (const signed of [x, -x]) expect(roundHalfEven(signed)).toBe(definition(signed))
    expect(roundHalfEven(-0)).toBe(-0)
    expect(roundHalfEven(-0.3)).toBe(-0)
    expect(roundHalfEven(0.3)).toBe(0)
    expect(roundHalfEven(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY)
    expect(roundHalfEven(Number.NEGATIVE_INFINITY)).toBe(Number.NEGATIVE_INFINITY)
    expect(roundHalfEven(Number.NaN)).toBeNaN()
  })

  test('agrees with the definition on every double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => roundHalfEven(x) + 0 === definition(x) + 0),
      { numRuns: 5000 },
    )
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 }), (i) => roundHalfEven(i / 4) + 0 === definition(i / 4) + 0),
      { numRuns: 5000 },
    )
  })
})
