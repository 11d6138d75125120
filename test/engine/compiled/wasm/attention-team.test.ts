import { describe, expect, it } from 'vitest'
import type { CacheDtype } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i + 0.001 * i * i))

/** An attention, and a product that is worth a team. */
function planOf(cacheDtype: CacheDtype, tokens: number) {
  const b = new PlanBuilder()
  const [heads, keyValueHeads, size, inputs] = [9, 3, 20, 2400]
  const scales = cacheDtype === 'int8' && { scales: keyValueHeads }
  const cache = b.cache({ keyColumns: keyValueHeads * size, valueColumns: keyValueHeads * size, ...scales })
  const [query, key, value] = [heads, keyValueHeads, keyValueHeads].map((count, i) =>
    b.rows(count * size, numbers(tokens * count * size, i)),
  )
  const options = { heads, keyValueHeads, scale: 0.5, causal: true, cache, cacheDtype }
  const mixed = b.add({ kind: 'attention', query, key, value, ...options, output: b.buffer(heads * size) })
  const weight = (rows: number, columns: number) =>
    ({ kind: 'float32', values: floats([rows, columns], numbers(rows * columns, 7)) }) as const
  const wide = b.add({ kind: 'linear', input: mixed, weight: weight(heads * size, inputs), output: b.buffer(inputs) })
  b.output('product', b.add({ kind: 'linear', input: wide, weight: weight(inputs, 900), output: b.buffer(900) }))
  return b.output('mixed', mixed).plan()
}

describe.each(['float32', 'int8'] as const)('a team of threads over caches of %s', (cacheDtype) => {
  it.each([
    [[1], [0]],
    [[1], [5]],
    [[1], [777]],
    [[30], [100]],
  ])('gives what one thread gives, for %j tokens after %j', async (lengths, pasts) => {
    const plan = planOf(cacheDtype, lengths[0])
    const expected = await runPlan(reference, plan, { lengths, pasts })
    const [one, ...others] = await Promise.all([1, 2, 3].map((threads) => runPlan(wasm, plan, { lengths, pasts, threads })))
    expect(relativeError(one.outputs.mixed, expected.outputs.mixed)).toBeLessThan(1e-5)
    expect(one.caches).toEqual(expected.caches)
    for (const other of others) {
      expect(other.outputs.mixed).toEqual(one.outputs.mixed)
      expect(other.caches).toEqual(one.caches)
    }
  })
})
