import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addDims,
  broadcastDims,
  type Dim,
  divideDims,
  evaluateDim,
  multiplyDims,
  sizeOfDims,
  subtractDims,
  symbol,
} from '../../src/ir/index.js'

const symbols = new Map([
  ['a', 3],
  ['b', 5],
  ['n', 7],
])

/** Polynomials built by the operations themselves. */
const dim: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<Dim>('a', 'b', 'n'),
    fc.integer({ min: -4, max: 4 }),
    fc.tuple(fc.constantFrom(addDims, subtractDims, multiplyDims), tie('dim'), tie('dim')).map(([operation, a, b]) => operation(a, b)),
  ),
})).dim

const value = (of: Dim) => evaluateDim(of, symbols)!

describe('dimensions', () => {
  test('are evaluated as what they say', () => {
    fc.assert(
      fc.property(dim, dim, (a, b) => {
        expect(value(addDims(a, b))).toBe(value(a) + value(b))
        expect(value(subtractDims(a, b))).toBe(value(a) - value(b))
        expect(value(multiplyDims(a, b))).toBe(value(a) * value(b) + 0)
      }),
    )
  })

  test('have one normal form: equal dimensions are equal texts', () => {
    fc.assert(
      fc.property(dim, dim, dim, (a, b, c) => {
        expect(addDims(a, b)).toBe(addDims(b, a))
        expect(addDims(addDims(a, b), c)).toBe(addDims(a, addDims(b, c)))
        expect(multiplyDims(a, b)).toBe(multiplyDims(b, a))
        expect(multiplyDims(addDims(a, b), c) === addDims(multiplyDims(a, c), multiplyDims(b, c))).toBe(true)
        expect(subtractDims(a, a)).toBe(0)
        expect(addDims(subtractDims(a, b), b) === a).toBe(true)
      }),
    )
  })

  test('divide exactly where they can', () => {
    fc.assert(
      fc.property(dim, fc.constantFrom<Dim>(2, 3, 'a', '2*n', 'a*b'), (a, b) => {
        expect(divideDims(multiplyDims(a, b), b) === a).toBe(true)
      }),
    )
    expect(divideDims(7, 2)).toBe(3)
    expect(divideDims('n', 2)).toBe('(n)//(2)')
    expect(divideDims('n', 1)).toBe('n')
    expect(addDims(divideDims('n', 2), 1)).toBe('(n)//(2) + 1')
    expect(sizeOfDims(['n', 2, 'n'])).toBe('2*n*n')
  })

  test('unknown symbols stay unknown', () => {
    expect(evaluateDim('a + z', symbols)).toBeUndefined()
  })

  test('any name becomes a symbol that stays as it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('a', '2', '+', '*', ' ', '(', ')', '-') })), (name) => {
        const once = symbol(name)
        expect(typeof once).toBe('string')
        expect(symbol(String(once))).toBe(once)
        expect(subtractDims(addDims(once, 5), 5)).toBe(once)
        expect(multiplyDims(once, 1)).toBe(once)
      }),
      { numRuns: 1000 },
    )
    expect(symbol('past + sequence')).toBe(addDims('sequence', 'past'))
    expect(symbol('batch_size')).toBe('batch_size')
  })
})

describe('broadcasting', () => {
  test('follows NumPy', () => {
    expect(broadcastDims([2, 1], [3])).toEqual([2, 3])
    expect(broadcastDims(['n', 1], ['m', 1, 4])).toEqual(['m', 'n', 4])
    expect(broadcastDims(['n'], [5])).toEqual([5])
    expect(broadcastDims(['n'], [1])).toEqual(['n'])
    expect(broadcastDims([2], [3])).toBeUndefined()
    expect(broadcastDims([], [])).toEqual([])
    expect(broadcastDims([0], [1])).toEqual([0])
  })

  test('of equal shapes is that shape, and the order of numbers does not matter', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3 })), fc.array(fc.integer({ min: 0, max: 3 })), (a, b) => {
        expect(broadcastDims(a, a)).toEqual(a)
        expect(broadcastDims(a, b)).toEqual(broadcastDims(b, a))
      }),
    )
  })
})
