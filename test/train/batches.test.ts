import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BatchOrder } from '../../src/train/batches.js'

const sizes = fc
  .integer({ min: 1, max: 40 })
  .chain((count) => fc.tuple(fc.constant(count), fc.integer({ min: 1, max: count }), fc.integer()))

describe('batch order', () => {
  test('an epoch shows no sample twice, and all of them when batches divide the data', () => {
    fc.assert(
      fc.property(sizes, ([count, size, seed]) => {
        const order = new BatchOrder(count, size, seed)
        for (const epoch of [0, 1, 5]) {
          const seen = Array.from({ length: order.stepsPerEpoch }, (_, i) => order.at(epoch * order.stepsPerEpoch + i)).flat()
          expect(seen.length).toBe(order.stepsPerEpoch * size)
          expect(new Set(seen).size).toBe(seen.length)
          expect(seen.every((row) => row >= 0 && row < count)).toBe(true)
          if (count % size === 0) expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i))
        }
      }),
    )
  })

  test('a step gives the same samples whatever was asked before it', () => {
    fc.assert(
      fc.property(sizes, fc.array(fc.nat(100), { minLength: 1, maxLength: 20 }), ([count, size, seed], steps) => {
        const order = new BatchOrder(count, size, seed)
        for (const step of steps) expect(order.at(step)).toEqual(new BatchOrder(count, size, seed).at(step))
      }),
    )
  })

  test('epochs and seeds have orders of their own', () => {
    const order = new BatchOrder(50, 50, 1)
    expect(order.at(0)).not.toEqual(order.at(1))
    expect(order.at(0)).not.toEqual(new BatchOrder(50, 50, 2).at(0))
  })

  test('no samples, or fewer than a batch, are errors', () => {
    expect(() => new BatchOrder(0, 1, 1)).toThrowError(/no samples/)
    expect(() => new BatchOrder(3, 4, 1)).toThrowError(/a batch of 4 is larger than the data \(3 samples\)/)
  })

  test('makes batches of similar lengths in another order every epoch, all samples in them once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(500), { minLength: 8, maxLength: 400 }),
        fc.integer({ min: 1, max: 8 }),
        fc.nat(),
        (lengths, size, seed) => {
          const order = new BatchOrder(lengths.length, size, seed, lengths)
          const epoch = (at: number) => Array.from({ length: order.stepsPerEpoch }, (_, step) => order.at(at * order.stepsPerEpoch + step))
          const batches = epoch(0)
          expect(new Set(batches.flat()).size).toBe(order.stepsPerEpoch * size)
          const padded = (found: number[][]) => found.reduce((sum, batch) => sum + Math.max(...batch.map((i) => lengths[i])), 0)
          const plain = new BatchOrder(lengths.length, size, seed)
          const unsorted = Array.from({ length: plain.stepsPerEpoch }, (_, step) => plain.at(step))
          if (order.stepsPerEpoch * size === lengths.length) expect(padded(batches)).toBeLessThanOrEqual(padded(unsorted))
        },
      ),
    )
    const many = new BatchOrder(
      400,
      4,
      1,
      Array.from({ length: 400 }, (_, i) => i),
    )
    expect(many.at(0)).not.toEqual(many.at(100))
  })
})
