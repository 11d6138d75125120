import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  accuracy,
  bootstrapInterval,
  f1,
  macroF1,
  majority,
  mean,
  parseTask,
  pearson,
  ranks,
  spanF1,
  spearman,
} from '../../src/tasks/index.js'

describe('ranks and correlations', () => {
  it('gives each value the mean of the places that its equals take', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1 }), (values) => {
        const definition = values.map((x) => values.filter((y) => y < x).length + (values.filter((y) => y === x).length + 1) / 2)
        expect([...ranks(values)]).toEqual(definition)
      }),
    )
  })

  it('is 1 - 6 sum d^2 / (n (n^2 - 1)) without ties', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e6 }), fc.integer({ min: 3, max: 40 }), (seed, n) => {
        const random = new Random(seed)
        const [a, b] = [random.permutation(n), random.permutation(n)]
        const squares = a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0)
        expect(spearman(a, b)).toBeCloseTo(1 - (6 * squares) / (n * (n * n - 1)), 10)
      }),
    )
  })

  it('handles ties as the definition does', () => {
    expect(spearman([1, 2, 2, 3], [1, 3, 2, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12)
    expect(spearman([1, 1], [1, 2])).toBeNaN()
  })

  it('is invariant to shift and scale (Pearson) and to any growing map (Spearman)', () => {
    const a = [0.3, -1, 2.5, 0.9, 4]
    const b = [1, 0.5, 2, 3, 2.5]
    const shifted = a.map((x) => 1e6 + 3 * x)
    expect(pearson(shifted, b)).toBeCloseTo(pearson(a, b), 8)
    expect(spearman(a.map(Math.exp), b)).toBe(spearman(a, b))
    expect(pearson([1, 2, 3], [2, 4, 7])).toBeCloseTo(5 / Math.sqrt(2 * (38 / 3)), 12)
  })
})

describe('classes', () => {
  it('counts', () => {
    expect(accuracy(['a', 'b'], ['a', 'a'])).toBe(0.5)
    expect(macroF1(['a', 'a', 'b'], ['a', 'b', 'b'])).toBeCloseTo(2 / 3)
    expect(macroF1(['a', 'a'], ['a', 'b'])).toBeCloseTo((2 / 3 + 0) / 2)
    expect(f1(0, 3, 0)).toBe(0)
    expect(majority([0, 1, 1])).toEqual({ value: 1, share: 2 / 3 })
    expect(() => accuracy([1], [1, 2])).toThrow('cannot be compared')
  })

  it('scores whole spans', () => {
    const expected = [['B-PER', 'I-PER', 'O', 'B-LOC']]
    expect(spanF1(expected, expected)).toBe(1)
    expect(spanF1([['B-PER', 'O', 'O', 'B-LOC']], expected)).toBe(0.5)
    expect(spanF1([['O', 'O', 'O', 'O']], expected)).toBe(0)
  })
})

it('the bootstrap interval of a mean is near the normal one, and the same for the same seed', () => {
  const random = new Random(5)
  const values = Array.from({ length: 400 }, () => random.normal())
  const interval = () => bootstrapInterval(values.length, (drawn) => mean(drawn.map((i) => values[i])), { random: new Random(1) })
  const [low, high] = interval()
  expect(high - low).toBeGreaterThan(0.16)
  expect(high - low).toBeLessThan(0.24)
  expect((low + high) / 2).toBeCloseTo(mean(values), 1)
  expect(interval()).toEqual([low, high])
})

describe('parseTask', () => {
  it('splits at the first equals sign and knows the tasks', () => {
    expect(parseTask('sts=a=b.csv')).toMatchObject({ task: { name: 'sts' }, file: 'a=b.csv' })
    expect(() => parseTask('stss=x')).toThrow(expect.objectContaining({ code: 'usage', hint: 'Did you mean "sts"?' }))
    expect(() => parseTask('sts')).toThrow(expect.objectContaining({ hint: 'Write sts=FILE.' }))
  })
})
