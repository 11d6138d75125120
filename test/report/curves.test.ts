import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { chart, type Point, smoothed } from '../../src/report/curves.js'

const line = (points: readonly Point[]) => chart({ title: 'a & b', along: 'step', curves: [{ name: 'loss', tone: 'strong', points }] }).text
const coordinates = (text: string) => {
  const [, points] = /polyline [^>]*points="([^"]+)"/.exec(text)!
  return [...points.matchAll(/(\S+) (\S+)/g)].map(([, x, y]) => [Number(x), Number(y)])
}

const values = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 }), { minLength: 1, maxLength: 1200 })

describe('a chart', () => {
  test('has its points inside, in order, the greatest above the least', () => {
    fc.assert(
      fc.property(values, (ys) => {
        const found = coordinates(line(ys.map((y, x) => ({ x, y }))))
        for (const [i, [x, y]] of found.entries()) {
          expect(Number.isFinite(x) && Number.isFinite(y)).toBe(true)
          expect(x >= (found[i - 1]?.[0] ?? 0) && x <= 100 && y >= 0 && y <= 100).toBe(true)
        }
        const heights = found.map(([, y]) => y)
        if (ys.length <= 800) expect(heights[ys.indexOf(Math.max(...ys))]).toBe(Math.min(...heights))
        expect(found.length).toBeLessThanOrEqual(800)
      }),
      { numRuns: 60 },
    )
  })

  test('says in words what it shows, and escapes what it is given', () => {
    const text = chart({
      title: 'a & b',
      along: 'step',
      curves: [
        {
          name: '<loss>',
          tone: 'strong',
          points: [
            { x: 1, y: 3 },
            { x: 9, y: 0.5 },
          ],
        },
      ],
      mark: { x: 9, y: 0.5, name: 'best' },
      level: { y: 2, name: 'majority' },
    }).text
    expect(text).toContain('aria-label="a &#38; b. &#60;loss&#62;: 3 at step 1, 0.5 at step 9. best: 0.5 at step 9. majority: 2."')
    expect(text).not.toContain('<loss>')
  })

  test('keeps peaks of long curves', () => {
    const points = Array.from({ length: 10_000 }, (_, x) => ({ x, y: x === 7777 ? 50 : 1 }))
    expect(Math.min(...coordinates(line(points)).map(([, y]) => y))).toBeLessThan(10)
  })
})

describe('smoothing', () => {
  test('leaves constants alone and stays between the least and the greatest', () => {
    fc.assert(
      fc.property(values, fc.double({ min: -100, max: 100, noNaN: true }), (ys, constant) => {
        const [least, most] = [Math.min(...ys), Math.max(...ys)]
        const room = 1e-9 * Math.max(1, Math.abs(least), Math.abs(most))
        for (const { y } of smoothed(ys.map((y, x) => ({ x, y })))) expect(y >= least - room && y <= most + room).toBe(true)
        for (const { y } of smoothed(ys.map((_, x) => ({ x, y: constant })))) expect(y).toBeCloseTo(constant, 8)
      }),
      { numRuns: 60 },
    )
  })
})
