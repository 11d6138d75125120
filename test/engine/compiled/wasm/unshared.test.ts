import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { canShare } from '../../../../src/engine/compiled/wasm/workers.js'
import { floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const numbers = (count: number, seed: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i))

describe('where threads may not share memory', () => {
  beforeAll(() => void Object.assign(globalThis, { crossOriginIsolated: false }))
  afterAll(() => void Reflect.deleteProperty(globalThis, 'crossOriginIsolated'))

  it.each(['float32', 'int8'] as const)('one thread has the memory, caches of %s included', async (cacheDtype) => {
    expect(canShare()).toBe(false)
    const b = new PlanBuilder()
    const [heads, size, lengths] = [2, 8, [5, 1, 40]]
    const view = (seed: number) => b.rows(heads * size, numbers(46 * heads * size, seed))
    const scales = cacheDtype === 'int8' && { scales: heads }
    const cache = b.cache({ keyColumns: heads * size, valueColumns: heads * size, ...scales })
    const options = { heads, keyValueHeads: heads, scale: 0.5, causal: true, cache, cacheDtype }
    const mixed = b.add({ kind: 'attention', query: view(1), key: view(2), value: view(3), ...options, output: b.buffer(heads * size) })
    const weight = { kind: 'float32', values: floats([heads * size, 5], numbers(heads * size * 5, 4)) } as const
    const plan = b.output('out', b.add({ kind: 'linear', input: mixed, weight, output: b.buffer(5) })).plan()
    const [expected, actual] = await Promise.all(
      [reference, wasm].map((backend) => runPlan(backend, plan, { lengths, pasts: [0, 3, 100], threads: 2 })),
    )
    expect(relativeError(actual.outputs.out, expected.outputs.out)).toBeLessThan(1e-5)
    expect(actual.caches).toEqual(expected.caches)
  })
})
