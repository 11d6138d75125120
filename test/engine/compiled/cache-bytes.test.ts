import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/base/random.js'
import { planOf } from '../../../src/engine/compiled/plan/index.js'
import { cacheBytes } from '../../../src/engine/compiled/plan/plan.js'
import { ReferenceCache } from '../../../src/engine/compiled/reference/backend.js'
import { openCompiled } from '../../../src/engine/compiled/session.js'
import { backends } from './backends.js'
import { relativeError } from './plans.js'
import { fresh, smallLlama } from './small-models.js'

const coded = { keyColumns: 6, valueColumns: 15, scales: 3 }
const layers = [{ keyColumns: 4, valueColumns: 2 }, coded]

function normals(count: number, seed: number): Float32Array {
  const random = new Random(seed)
  return Float32Array.from({ length: count }, () => random.normal())
}

/** The largest magnitude of each head. */
function largest(values: Float32Array, size: number): number[] {
  return Array.from({ length: values.length / size }, (_, head) =>
    Math.max(...values.subarray(head * size, (head + 1) * size).map(Math.abs)),
  )
}

describe('caches of codes', () => {
  it('keep the largest number of each head, and all others to half a step of it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(1e-20, 1, 1e20), (seed, spread) => {
        const cache = new ReferenceCache(layers, 7)
        const values = normals(5 * coded.valueColumns, seed).map((x) => spread * x)
        cache.write(1, 'values', values)
        const kept = cache.read(1, 'values', 5)
        const size = coded.valueColumns / coded.scales
        const most = largest(values, size)
        expect(relativeError(largest(kept, size), most)).toBeLessThan(1e-6)
        for (const [i, value] of values.entries())
          expect(Math.abs(kept[i] - value)).toBeLessThanOrEqual((1.0001 * most[Math.floor(i / size)]) / 254)
      }),
    )
  })

  it('keep heads apart: one of zeros, one of the smallest numbers, one that is not finite', () => {
    const cache = new ReferenceCache([coded], 1)
    cache.write(0, 'keys', Float32Array.of(0, -0, 1e-40, -1e-40, Number.NaN, 2))
    const [a, b, c, d, ...rest] = cache.read(0, 'keys', 1)
    expect([a, b, c, d].every((x) => x === 0)).toBe(true)
    expect(rest.some(Number.isFinite)).toBe(false)
  })

  it('are written from any token on, and copied to another room bit for bit', () => {
    const [small, large] = [new ReferenceCache(layers, 6), new ReferenceCache(layers, 11)]
    const values = normals(6 * coded.keyColumns, 1)
    small.write(1, 'keys', values.subarray(0, 4 * coded.keyColumns))
    small.write(1, 'keys', values.subarray(4 * coded.keyColumns), 4)
    const whole = new ReferenceCache(layers, 6)
    whole.write(1, 'keys', values)
    expect(small.read(1, 'keys', 6)).toEqual(whole.read(1, 'keys', 6))
    small.write(0, 'values', normals(12, 2))
    large.copy(small, 6)
    for (const [layer, part] of [
      [0, 'values'],
      [1, 'keys'],
    ] as const)
      expect(large.read(layer, part, 6)).toEqual(small.read(layer, part, 6))
    expect(() => small.write(1, 'keys', values, 1)).toThrow('room')
  })

  it('take 27 % of the bytes where heads have 64 columns', () => {
    const floats = { keyColumns: 192, valueColumns: 192 }
    expect(cacheBytes([{ ...floats, scales: 3 }]) / cacheBytes([floats])).toBeCloseTo(0.27, 2)
  })
})

const decoder = () => fresh(smallLlama(256))

describe('a decoder with a cache of codes', () => {
  it('has a scale for each key head in its plan', async () => {
    const { caches, steps } = await planOf(decoder(), {}, { cache: 'int8' })
    expect(caches).toEqual(Array.from({ length: 2 }, () => ({ keyColumns: 16, valueColumns: 16, scales: 2 })))
    expect(steps.flatMap((step) => (step.kind === 'attention' ? [step.cacheDtype] : []))).toEqual(['int8', 'int8'])
  })

  it.each(backends)('goes on with it token by token, beyond the room that it began with, on $name', async (backend) => {
    const ids = Array.from({ length: 150 }, (_, i) => (i * 31) % 50)
    const logitsOf = async (cache: 'float32' | 'int8', each: number) => {
      const session = await openCompiled(decoder(), backend, { threads: 2, cache })
      const sequence = session.tokenSequence!()!
      let logits = new Float32Array(0)
      for (let first = 0; first < ids.length; first += each) logits = (await sequence.logits(ids.slice(first, first + each))).slice()
      sequence.dispose()
      await session.dispose()
      return logits
    }
    const [exact, together, oneByOne] = [await logitsOf('float32', 150), await logitsOf('int8', 150), await logitsOf('int8', 1)]
    // A key or value that is off by a rounding may get the next code: a step is 1/127.
    expect(relativeError(oneByOne, together)).toBeLessThan(5e-3)
    expect(relativeError(together, exact)).toBeLessThan(0.05)
    expect(together).not.toEqual(exact)
  })
})
