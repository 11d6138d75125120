import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exactProduct, saturatingProduct, saturationHarm, saturationRisk } from '../../src/numbers/saturation.js'

const cases = (limit: number) =>
  fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4 })).chain(([rows, depth, columns]) =>
    fc.record({
      rows: fc.constant(rows),
      depth: fc.constant(depth),
      columns: fc.constant(columns),
      activations: fc.uint8Array({ minLength: rows * depth, maxLength: rows * depth }),
      weights: fc.int8Array({ min: -limit, max: limit - 1, minLength: depth * columns, maxLength: depth * columns }),
    }),
  )

/** The definition: int16-saturated sums of pairs. */
function definition(activations: Uint8Array, weights: Int8Array, depth: number, columns: number, row: number, n: number) {
  let sum = 0
  let saturated = 0
  for (let k = 0; k < depth; k += 2) {
    let pair = 0
    for (const at of [k, k + 1]) if (at < depth) pair += activations[row * depth + at] * weights[at * columns + n]
    const kept = Math.max(-32768, Math.min(32767, pair))
    if (kept !== pair) saturated++
    sum += kept
  }
  return { sum, saturated }
}

test('saturating product is the definition, and counts agree', () => {
  fc.assert(
    fc.property(cases(128), ({ rows, depth, columns, activations, weights }) => {
      const sums = saturatingProduct(activations, weights, depth, columns)
      const exact = exactProduct(activations, weights, depth, columns)
      let pairs = 0
      let results = 0
      let most = 0
      for (let row = 0; row < rows; row++)
        for (let n = 0; n < columns; n++) {
          const expected = definition(activations, weights, depth, columns, row, n)
          expect(sums[row * columns + n]).toBe(expected.sum)
          let plain = 0
          for (let k = 0; k < depth; k++) plain += activations[row * depth + k] * weights[k * columns + n]
          expect(exact[row * columns + n]).toBe(plain)
          pairs += expected.saturated
          if (plain !== expected.sum) results++
          most = Math.max(most, Math.abs(plain - expected.sum))
        }
      const harm = saturationHarm(activations, weights, depth, columns)
      expect(harm).toMatchObject({ pairs, results, most })
      expect(harm.pairs).toBeLessThanOrEqual(saturationRisk(weights, depth, columns).pairs * rows)
    }),
  )
})

test('7-bit weights never saturate', () => {
  fc.assert(
    fc.property(cases(64), ({ depth, columns, activations, weights }) => {
      expect(saturatingProduct(activations, weights, depth, columns)).toEqual(exactProduct(activations, weights, depth, columns))
      expect(saturationRisk(weights, depth, columns).pairs).toBe(0)
    }),
  )
})

describe('closed forms', () => {
  test('the edges of 16 bits', () => {
    const both = (w: number, a = 255) => saturatingProduct(Uint8Array.of(a, a), Int8Array.of(w, w), 2, 1)[0]
    expect(both(64)).toBe(32640)
    expect(both(65)).toBe(32767)
    expect(both(-64)).toBe(-32640)
    expect(both(-65)).toBe(-32768)
    expect(both(127)).toBe(32767)
    expect(saturatingProduct(Uint8Array.of(255, 255), Int8Array.of(127, -127), 2, 1)[0]).toBe(0)
    // Sums of saturated pairs are exact.
    expect(saturatingProduct(new Uint8Array(4).fill(255), new Int8Array(4).fill(127), 4, 1)[0]).toBe(65534)
  })

  test('risk and harm', () => {
    expect(saturationRisk(Int8Array.of(64, 65, 64, 65), 2, 2)).toEqual({ pairs: 1, share: 0.5, columns: 1 })
    expect(saturationRisk(Int8Array.of(127, 127), 2, 1, 127).pairs).toBe(0)
    const harm = saturationHarm(Uint8Array.of(255, 255, 1, 1), Int8Array.of(127, 127), 2, 1)
    expect(harm).toMatchObject({ pairs: 1, share: 0.5, results: 1, most: 64770 - 32767 })
    expect(harm.relative).toBeCloseTo((64770 - 32767) / Math.hypot(64770, 254), 12)
    expect(saturationHarm(Uint8Array.of(255, 255), Int8Array.of(127, 127), 2, 1, 100).relative).toBeCloseTo(32003 / 39370, 12)
  })

  test('refuses shapes that do not fit', () => {
    expect(() => saturatingProduct(new Uint8Array(3), new Int8Array(4), 2, 2)).toThrow(/3 activations are no rows of 2/)
    expect(() => saturationRisk(new Int8Array(3), 2, 2)).toThrow(/3 weights are no matrix/)
  })
})
