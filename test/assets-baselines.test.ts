import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bagOfWords } from '../scripts/assets/bag-of-words.mjs'
import { learnMerges, scores } from '../scripts/assets/merges.mjs'
import { NGrams } from '../scripts/assets/n-grams.mjs'

describe('n-grams', () => {
  const vocabulary = 5
  const texts = fc.array(fc.integer({ min: 0, max: vocabulary - 1 }), { minLength: 30, maxLength: 200 })

  it('give every context probabilities that sum to 1', () => {
    fc.assert(
      fc.property(texts, fc.array(fc.integer({ min: 0, max: vocabulary - 1 }), { maxLength: 6 }), (ids, context) => {
        const grams = new NGrams(ids, { vocabulary, order: 4 })
        const last = (at: number) => at === context.length
        const sum = Array.from({ length: vocabulary }, (_, next) => Math.exp(-grams.loss([...context, next], last)))
        expect(sum.reduce((a, b) => a + b)).toBeCloseTo(1, 9)
      }),
      { numRuns: 50 },
    )
  })

  it('learn a cycle', () => {
    const cycle = Array.from({ length: 400 }, (_, i) => i % vocabulary)
    const grams = new NGrams(cycle, { vocabulary, order: 3 })
    expect(grams.loss(cycle, (at) => at > 2) / (cycle.length - 3)).toBeLessThan(0.1)
  })
})

describe('merges', () => {
  const plain = { split: (word: string) => [...word], join: (left: string, right: string) => left + right }

  it('follow the counts, as in the example of Sennrich et al.', () => {
    const words: [string, number][] = [
      ['low_', 5],
      ['lower_', 2],
      ['newest_', 6],
      ['widest_', 3],
    ]
    const { merges } = learnMerges(words, { ...plain, mergeCount: 3, score: scores.count })
    const made = merges.map(([left, right]) => left + right)
    expect([made[0], made[2]]).toEqual(['es', 'est_'])
  })

  it('follow the likelihood: a pair of rare symbols that always stand together before one of frequent symbols', () => {
    const words: [string, number][] = [
      ['qu', 50],
      ['ea', 60],
      ['ae', 60],
      ['e', 900],
      ['a', 900],
    ]
    expect(learnMerges(words, { ...plain, mergeCount: 1, score: scores.likelihood }).merges).toEqual([['q', 'u']])
    expect(learnMerges(words, { ...plain, mergeCount: 1, score: scores.count }).merges).toEqual([['e', 'a']])
  })
})

describe('bags of words', () => {
  it('tell classes apart that words tell apart, and no others', () => {
    const samples = (...rows: [string, number][]) => rows.map(([text, label]) => ({ words: text.split(' '), label }))
    const train = samples(['a bird sings', 0], ['a bird flies', 0], ['a stone rolls', 1], ['the stone lies', 1], ['a stone falls', 1])
    const test = samples(['the bird', 0], ['that stone', 1])
    const found = bagOfWords({ train, dev: test, test }, 2, { penalties: [1, 1e-3], epochs: 10 })
    expect(found).toMatchObject({ dev: 100, test: 100 })
    const unknown = samples(['unseen', 1], ['unheard', 0])
    expect(bagOfWords({ train, dev: unknown, test: unknown }, 2, { penalties: [1e-2], epochs: 5 }).test).toBe(50)
  })
})
