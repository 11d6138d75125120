import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import { nextToken, type SamplingOptions, softmax } from '../../src/pipelines/index.js'
import { drawable } from '../../src/pipelines/sampling.js'
import { StopFilter } from '../../src/pipelines/stop-filter.js'

const logits = Float32Array.of(0.5, 2, -1, 1, 0, 1)
const draws = 4000

function counts(options: SamplingOptions): number[] {
  const random = new Random(3)
  const found = new Array<number>(logits.length).fill(0)
  for (let i = 0; i < draws; i++) found[nextToken(logits, [], options, random)]++
  return found
}

/** Pearson's statistic over the ids that can be drawn; others must never be. */
function chiSquare(found: readonly number[], weights: readonly number[]): number {
  const sum = weights.reduce((a, b) => a + b, 0)
  return weights.reduce((total, weight, id) => {
    if (!weight) {
      expect(found[id]).toBe(0)
      return total
    }
    const expected = (draws * weight) / sum
    return total + (found[id] - expected) ** 2 / expected
  }, 0)
}

/** The 99.9 % quantile of chi-square with 5 degrees of freedom. */
const bound = 20.5

describe('nextToken', () => {
  const probabilities = [...softmax(logits)]
  const keep = (...ids: number[]) => probabilities.map((p, id) => (ids.includes(id) ? p : 0))

  it('is greedy by default, at temperature 0 and with one candidate', () => {
    for (const options of [{}, { temperature: 0 }, { temperature: 1, topK: 1 }])
      expect(nextToken(logits, [], options, new Random(0))).toBe(1)
  })

  it('draws by the softmax of logits over the temperature', () => {
    expect(chiSquare(counts({ temperature: 1 }), probabilities)).toBeLessThan(bound)
    expect(chiSquare(counts({ temperature: 0.5 }), [...softmax(logits.map((x) => x * 2))])).toBeLessThan(bound)
  })

  it('draws among the k likeliest, the first of equals', () => {
    expect(chiSquare(counts({ topK: 3 }), keep(1, 3, 5))).toBeLessThan(bound)
    expect(chiSquare(counts({ topK: 2 }), keep(1, 3))).toBeLessThan(bound)
    expect(chiSquare(counts({ topK: 99 }), probabilities)).toBeLessThan(bound)
  })

  it('draws among the fewest that reach p', () => {
    const two = probabilities[1] + probabilities[3]
    expect(chiSquare(counts({ topP: two - 1e-9 }), keep(1, 3))).toBeLessThan(bound)
    expect(chiSquare(counts({ topP: two + 1e-9 }), keep(1, 3, 5))).toBeLessThan(bound)
    expect(chiSquare(counts({ topP: 0.01 }), keep(1))).toBeCloseTo(0, 9)
    expect(chiSquare(counts({ topK: 3, topP: 0.9 }), keep(1, 3, 5))).toBeLessThan(bound)
  })

  it('draws among those near the likeliest', () => {
    expect(chiSquare(counts({ minP: Math.exp(-1) - 1e-6 }), keep(1, 3, 5))).toBeLessThan(bound)
    expect(chiSquare(counts({ minP: Math.exp(-1) + 1e-6 }), keep(1))).toBeCloseTo(0, 9)
  })

  it('leaves the tokens of the definition, whatever the options, in a large vocabulary', () => {
    const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
    const options = fc.record({
      temperature: fc.constantFrom(0.3, 1, 2),
      topK: maybe(fc.integer({ min: 2, max: 300 })),
      topP: maybe(fc.double({ min: 0.01, max: 0.999, noNaN: true })),
      minP: maybe(fc.double({ min: 1e-6, max: 1, noNaN: true })),
    })
    fc.assert(
      fc.property(fc.nat(), fc.boolean(), options, (seed, hasEquals, chosen) => {
        const random = new Random(seed)
        const scores = Float32Array.from({ length: 400 }, () => (hasEquals ? random.integer(6) : 4 * random.normal()))
        const { ids, weights } = drawable(scores, chosen)
        const expected = defined(scores, chosen)
        expect([...ids].sort((a, b) => a - b)).toEqual(expected.map(({ id }) => id))
        for (const { id, weight } of expected) expect(weights[ids.indexOf(id)]).toBeCloseTo(weight, 12)
      }),
    )
  })

  /** Temperature, top k, top p and minimal p as they are defined, on all tokens sorted. */
  function defined(scores: Float32Array, { temperature = 1, topK, topP = 1, minP = 0 }: SamplingOptions) {
    const highest = Math.max(...scores)
    const sorted = Array.from(scores, (score, id) => ({ id, weight: Math.exp((score - highest) / temperature) }))
      .sort((a, b) => b.weight - a.weight || a.id - b.id)
      .slice(0, topK)
    const sum = sorted.reduce((total, { weight }) => total + weight, 0)
    let before = 0
    const nucleus = sorted.filter(({ weight }, i) => {
      const isIn = topP === 1 || i === 0 || before < topP * sum
      before += weight
      return isIn
    })
    // Tokens that matter to nobody are left out before, unless their number says which stay.
    return nucleus.filter(({ weight }) => weight >= minP && (topK || weight >= 1e-15)).sort((a, b) => a.id - b.id)
  }

  it('makes what occurred less likely, whatever the sign', () => {
    expect(nextToken(logits, [1, 1], { repetitionPenalty: 2.5 }, new Random(0))).toBe(3)
    expect(nextToken(Float32Array.of(-1, -1.5), [0], { repetitionPenalty: 2 }, new Random(0))).toBe(1)
  })

  it('gives the same draws for the same seed', () => {
    expect(counts({ temperature: 1, topP: 0.9 })).toEqual(counts({ temperature: 1, topP: 0.9 }))
  })
})

describe('StopFilter', () => {
  it('gives the text before the first stop string however it is cut in pieces', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c') })
    const stop = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), fc.array(stop, { maxLength: 2 }), (pieces, stops) => {
        const filter = new StopFilter(stops)
        const given = pieces.map((piece) => filter.push(piece)).join('') + filter.end()
        const ends = stops.map((one) => pieces.join('').indexOf(one)).filter((at) => at >= 0)
        expect(filter.stopped).toBe(ends.length > 0)
        const all = pieces.join('')
        const earliest = firstCompleted(pieces, stops)
        expect(given).toBe(earliest ?? all)
      }),
    )
  })

  /** The text before the first stop string in the shortest run of pieces that has one. */
  function firstCompleted(pieces: readonly string[], stops: readonly string[]): string | null {
    for (let n = 1; n <= pieces.length; n++) {
      const text = pieces.slice(0, n).join('')
      const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
      if (ends.length) return text.slice(0, Math.min(...ends))
    }
    return null
  }
})
