import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { schedule, scheduleNames } from '../../src/train/schedules.js'

const steps = 100
const at = (name: (typeof scheduleNames)[number], options = {}) => {
  const factor = schedule(name, options)
  return Array.from({ length: steps }, (_, step) => factor(step, steps))
}

test.each(scheduleNames)('%s rises in equal steps to 1 over the warm-up', (name) => {
  expect(at(name, { warmup: 10 }).slice(0, 10)).toEqual(Array.from({ length: 10 }, (_, i) => (i + 1) / 10))
  expect(at(name, { warmup: 0.25 })[24]).toBe(1)
  expect(at(name, { warmup: 0 })[0]).toBe(1)
})

test('constant, linear and cosine by their formulas', () => {
  expect(at('constant', { warmup: 0 })).toEqual(new Array(steps).fill(1))
  at('linear', { warmup: 20, floor: 0.1 }).forEach((factor, step) => {
    if (step >= 20) expect(factor).toBeCloseTo(1 - (0.9 * (step - 20)) / 80, 12)
  })
  at('cosine', { warmup: 20, floor: 0.1 }).forEach((factor, step) => {
    if (step >= 20) expect(factor).toBeCloseTo(0.1 + 0.45 * (1 + Math.cos((Math.PI * (step - 20)) / 80)), 12)
  })
})

test('warmup-stable-decay stays at 1 and falls linearly over its last share', () => {
  const factors = at('warmup-stable-decay', { warmup: 20, decay: 0.25, floor: 0.2 })
  expect(factors.slice(20, 81)).toEqual(new Array(61).fill(1))
  for (let step = 80; step < steps; step++) expect(factors[step]).toBeCloseTo(1 - (0.8 * (step - 80)) / 20, 12)
})

test('factors lie between 0 and 1, and the end is at the floor', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...scheduleNames),
      fc.integer({ min: 1, max: 500 }),
      fc.double({ min: 0, max: 0.9, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (name, count, warmup, floor) => {
        const factor = schedule(name, { warmup, floor })
        for (let step = 0; step < count; step++) {
          expect(factor(step, count)).toBeGreaterThanOrEqual(0)
          expect(factor(step, count)).toBeLessThanOrEqual(1 + 1e-12)
        }
        if (name !== 'constant') expect(factor(count, count)).toBeCloseTo(floor, 9)
      },
    ),
  )
})
