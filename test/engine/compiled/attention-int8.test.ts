import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/base/random.js'
import { describePlan } from '../../../src/engine/compiled/plan/describe.js'
import { planOf } from '../../../src/engine/compiled/plan/index.js'
import type { AttentionProducts } from '../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../src/engine/compiled/reference/backend.js'
import { openCompiled } from '../../../src/engine/compiled/session.js'
import { ndarray } from '../../../src/numbers/dtype.js'
import { backends } from './backends.js'
import { PlanBuilder, relativeError, runPlan } from './plans.js'
import { fresh, smallLlama } from './small-models.js'

const bert = {
  model_type: 'bert',
  architectures: ['BertModel'],
  vocab_size: 50,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 48,
  max_position_embeddings: 200,
  type_vocab_size: 2,
}

/** Rows of queries, keys and values side by side, each of so many columns. */
interface Rows {
  readonly columns: number
  readonly rows: readonly (readonly number[])[]
  readonly causal?: boolean
}

async function attention({ columns, rows, causal = false }: Rows, products: AttentionProducts): Promise<Float32Array> {
  const builder = new PlanBuilder()
  const joined = builder.rows(3 * columns, rows.flat())
  const [query, key, value] = [0, 1, 2].map((part) => ({ ...joined, column: part * columns, columns }))
  const output = builder.buffer(columns)
  builder.add({ kind: 'attention', query, key, value, heads: 1, keyValueHeads: 1, scale: 1, causal, products, output })
  const { outputs } = await runPlan(reference, builder.output('output', output).plan(), { lengths: [rows.length] })
  return outputs['output']
}

describe('attention by products of codes', () => {
  it('is near to that in float32', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 60 }), fc.boolean(), async (seed, tokens, causal) => {
        const random = new Random(seed)
        const rows = Array.from({ length: tokens }, () => Array.from({ length: 24 }, () => random.normal()))
        const [got, want] = [
          await attention({ columns: 8, rows, causal }, 'int8'),
          await attention({ columns: 8, rows, causal }, 'float32'),
        ]
        expect(relativeError(got, want, 1)).toBeLessThan(0.1)
      }),
      { numRuns: 30 },
    )
  })

  it('gives the mean where no key stands out, to a step of weights and half a step of values', async () => {
    const random = new Random(3)
    const values = Array.from({ length: 77 }, () => random.normal())
    const got = await attention({ columns: 1, rows: values.map((value) => [0, random.normal(), value]) }, 'int8')
    const [mean, largest] = [values.reduce((a, b) => a + b) / values.length, Math.max(...values.map(Math.abs))]
    for (const value of got) expect(Math.abs(value - mean)).toBeLessThan((largest * 1.5) / 127)
  })

  it('keeps the share of many keys that have less than half a weight each', async () => {
    // Behind one key that has e^6 times as much, 800 others have two thirds of all together.
    const [others, peak] = [800, 6]
    const random = new Random(5)
    const rows = Array.from({ length: others + 1 }, (_, i) => [i ? 0 : 1, i ? 0.3 * random.normal() : peak, i ? 1 : 0])
    const [got, want] = [await attention({ columns: 1, rows }, 'int8'), await attention({ columns: 1, rows }, 'float32')]
    expect(want[0]).toBeGreaterThan(0.6)
    expect(Math.abs(got[0] - want[0])).toBeLessThan(0.03)
  })
})

describe('plans with attention in int8', () => {
  it('have such products where there is no cache, and say so', async () => {
    const encoder = await planOf(fresh(bert), reference.fusions, { attention: 'int8' })
    const described = describePlan(encoder).steps.filter(({ kind }) => kind === 'attention')
    expect(described.map(({ details }) => details.includes('int8 products'))).toEqual([true, true])
    const decoder = await planOf(fresh(smallLlama(64)), reference.fusions, { attention: 'int8' })
    expect(decoder.steps.some((step) => step.kind === 'attention' && step.products === 'int8')).toBe(false)
  })

  const outputOf = async (backend: (typeof backends)[number], attention: AttentionProducts, threads = 1) => {
    const ids = Array.from({ length: 120 }, (_, i) => (i * 31) % 50)
    const feeds = {
      input_ids: ndarray('int64', [1, ids.length], BigInt64Array.from(ids, BigInt)),
      attention_mask: ndarray('int64', [1, ids.length], new BigInt64Array(ids.length).fill(1n)),
      token_type_ids: ndarray('int64', [1, ids.length], new BigInt64Array(ids.length)),
    }
    const session = await openCompiled(fresh(bert), backend, { threads, attention })
    const output = (await session.run(feeds))['last_hidden_state']
    const data = Float32Array.from(output.data as Float32Array)
    output.dispose()
    await session.dispose()
    return data
  }

  it('give what the reference gives, on several threads too', async () => {
    const [exact, want] = [await outputOf(reference, 'float32'), await outputOf(reference, 'int8')]
    expect(relativeError(want, exact)).toBeGreaterThan(1e-5)
    for (const backend of backends)
      for (const threads of [1, 2, 3]) {
        // A number that is off by a rounding may get the next code.
        expect(relativeError(await outputOf(backend, 'int8', threads), want)).toBeLessThan(5e-3)
      }
  })
})
