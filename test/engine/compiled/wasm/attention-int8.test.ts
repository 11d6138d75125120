import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { Backend } from '../../../../src/engine/compiled/backend.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { compileWith } from '../../../../src/engine/compiled/wasm/backend.js'
import { baselineFeatures, type WasmFeatures } from '../../../../src/engine/compiled/wasm/module.js'
import { wasmFeatures } from '../../../../src/engine/compiled/wasm/probe.js'
import { PlanBuilder, runPlan } from '../plans.js'
import { type AttentionCase, codesAttentionCases } from '../x64/attention-cases.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const here = await wasmFeatures()
const relaxed = here.dot === 'none' ? [] : (['pairs', 'quads'] as const).map((dot) => ({ ...here, dot }))

/** Every form of products that this machine can run. */
const forms: readonly (readonly [string, WasmFeatures])[] = [baselineFeatures, ...relaxed].map((features) => [features.dot, features])

function backendWith(features: WasmFeatures): Backend {
  return { name: 'wasm', compile: (plan, { threads }) => compileWith(features, plan, threads) }
}

/** Queries, keys and values side by side, as a product with joined weights leaves them. */
function planOf({ seed, keyValueHeads, group, headSize, valueSize, causal, window, spread, sequences }: AttentionCase) {
  const random = new Random(seed)
  const heads = group * keyValueHeads
  const widths = [heads * headSize, keyValueHeads * headSize, keyValueHeads * valueSize]
  const columns = widths.reduce((a, b) => a + b)
  const tokens = sequences.reduce((sum, { rows }) => sum + rows, 0)
  const b = new PlanBuilder()
  const joined = b.rows(
    columns,
    Array.from({ length: tokens * columns }, () => spread * random.normal()),
  )
  const [query, key, value] = widths.map((width, i) => ({
    ...joined,
    column: widths.slice(0, i).reduce((sum, one) => sum + one, 0),
    columns: width,
  }))
  const options = { heads, keyValueHeads, causal, window, scale: 1 / Math.sqrt(headSize), products: 'int8' } as const
  const output = b.add({ kind: 'attention', query, key, value, ...options, output: b.buffer(heads * valueSize) })
  return b.output('output', output).plan()
}

const cases = codesAttentionCases.filter(({ sequences }) => sequences.some(({ rows }) => rows > 0))

describe.each(forms)('attention by products of codes, dot products: %s', (_, features) => {
  it('gives what the reference gives, bit for bit, with any number of threads', () =>
    fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const plan = planOf(one)
        const lengths = one.sequences.map(({ rows }) => rows)
        const want = (await runPlan(reference, plan, { lengths })).outputs['output']
        const got = (await runPlan(backendWith(features), plan, { lengths, threads: one.threads })).outputs['output']
        expect(got).toEqual(want)
      }),
      { numRuns: 60 },
    ))
})
