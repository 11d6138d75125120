import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import type { Encoded } from '../../src/pipelines/index.js'
import { beginsWord, type Masking, type MaskingUnit, maskTokens, spanLength, vocabulary } from '../../src/train/objectives/masking.js'
import { byteTokenizer } from '../pipelines/fakes.js'
import { average, maskTokenizer } from './objective-models.js'

const maskId = 4
/** Ids from 10 begin words where they are even; 1 is special. */
const masking = (unit: MaskingUnit, rate = 0.15): Masking => ({
  unit,
  rate,
  maskId,
  replacements: Array.from({ length: 1000 }, (_, i) => 2000 + i),
  beginsWord: (id) => id % 2 === 0,
})

/** A text of `length` tokens between special ones; a third of them continue words. */
function text(length: number, seed: number): Encoded {
  const random = new Random(seed, 'text')
  const inner = Array.from({ length }, (_, i) => 10 + 2 * random.integer(400) + (i && random.uniform() < 1 / 3 ? 1 : 0))
  const ids = [1, ...inner, 1]
  return { ids, types: ids.map(() => 0), special: [1, ...inner.map(() => 0), 1] }
}

/** Whether a count of hits lies within five standard deviations of a binomial's mean. */
function expectShare(hits: number, draws: number, share: number): void {
  expect(Math.abs(hits - share * draws)).toBeLessThan(5 * Math.sqrt(draws * share * (1 - share)) + 1)
}

const units: readonly MaskingUnit[] = ['token', 'word', 'span']

describe.each(units)('masking by %s', (unit) => {
  const texts = Array.from({ length: 300 }, (_, i) => text(120, i))
  const masked = texts.map((encoded, i) => maskTokens(encoded, masking(unit), new Random(i, 'masks')))
  const chosen = masked.flatMap(({ ids, labels }, row) =>
    labels.flatMap((label, at) => (label === -100 ? [] : [{ label, now: ids[at], was: texts[row].ids[at] }])),
  )

  it('hides 15 % of the tokens', () => {
    const perText = masked.map(({ labels }) => labels.filter((label) => label !== -100).length)
    if (unit === 'token') for (const count of perText) expect(count).toBe(18)
    for (const count of perText) expect(count).toBeLessThanOrEqual(18)
    expect(average(perText)).toBeGreaterThan(unit === 'span' ? 16.5 : 17.9)
  })

  it('makes 80 % masks, 10 % others and leaves 10 %', () => {
    // Spans share their fate: as many draws as there are spans.
    const draws = unit === 'span' ? chosen.length / 3 : chosen.length
    const share = (hits: number) => (hits / chosen.length) * draws
    expectShare(share(chosen.filter(({ now }) => now === maskId).length), draws, 0.8)
    expectShare(share(chosen.filter(({ now }) => now >= 2000).length), draws, 0.1)
    expectShare(share(chosen.filter(({ now, was }) => now === was).length), draws, 0.1)
    expect(chosen.every(({ label, was }) => label === was)).toBe(true)
  })

  it('changes nothing else and never a special token', () => {
    const wrong = masked.flatMap(({ ids, labels }, row) =>
      labels.filter((label, at) => (label === -100 ? ids[at] !== texts[row].ids[at] : texts[row].special[at])),
    )
    expect(wrong).toEqual([])
  })

  if (unit !== 'token')
    it('never splits a word', () => {
      const split = masked.flatMap(({ labels }, row) =>
        labels.filter(
          (label, at) => !texts[row].special[at] && texts[row].ids[at] % 2 === 1 && (label === -100) !== (labels[at - 1] === -100),
        ),
      )
      expect(split).toEqual([])
    })

  it('hides at least one token of any text, and no more than there are', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 12 }),
        fc.integer({ min: 0, max: 1e6 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        (length, seed, rate) => {
          const { labels } = maskTokens(text(length, seed), masking(unit, rate), new Random(seed, 'any'))
          expect(labels.some((label) => label !== -100)).toBe(length > 0)
        },
      ),
    )
  })

  it('spreads over all positions alike', () => {
    const hidden = (from: number, to: number) =>
      masked.flatMap(({ labels }) => labels.slice(from, to).filter((label) => label !== -100)).length
    const [early, late] = [hidden(20, 60), hidden(60, 100)]
    expectShare(early, early + late, 0.5)
  })
})

describe('spans', () => {
  it('have lengths from the geometric distribution up to 10', () => {
    const random = new Random(1, 'lengths')
    const draws = 20000
    const counts = new Array<number>(11).fill(0)
    for (let i = 0; i < draws; i++) counts[spanLength(random)]++
    const total = 1 - 0.8 ** 10
    for (let length = 1; length <= 10; length++) expectShare(counts[length], draws, (0.2 * 0.8 ** (length - 1)) / total)
    expect(counts[0]).toBe(0)
    expect(counts.reduce((sum, count, length) => sum + count * length, 0) / draws).toBeCloseTo(3.8, 1)
  })

  it('are longer than tokens chosen alone', () => {
    const runs = (unit: MaskingUnit) => {
      const { labels } = maskTokens(text(2000, 7), masking(unit), new Random(7))
      return labels.filter((label, at) => label !== -100 && labels[at - 1] === -100).length
    }
    expect(runs('span')).toBeLessThan(runs('token') / 2)
  })

  it('do not reach over special tokens', () => {
    const ids = [1, 10, 12, 1, 14, 16, 1]
    const special = [1, 0, 0, 1, 0, 0, 1]
    for (let seed = 0; seed < 50; seed++) {
      const { labels } = maskTokens({ ids, types: ids, special }, masking('span', 0.5), new Random(seed))
      expect(labels[3]).toBe(-100)
    }
  })
})

describe('words', () => {
  it('are told by the marks of the vocabulary', () => {
    const wordPiece = maskTokenizer()
    const begins = beginsWord(wordPiece)
    expect(['play', '##ing', 'a', '##s'].map((token) => begins(wordPiece.idOf(token)!))).toEqual([true, false, true, false])
  })

  it('without marks are tokens', () => {
    const bytes = byteTokenizer()
    expect(['a', 'b'].map((token) => beginsWord(bytes)(bytes.idOf(token)!))).toEqual([true, true])
  })

  it('that stand in for others are no special tokens', () => {
    const wordPiece = maskTokenizer()
    expect(vocabulary(wordPiece)).toEqual(Array.from({ length: 17 }, (_, i) => i + 5))
  })
})
