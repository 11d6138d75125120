import { describe, expect, it } from 'vitest'
import type { Batch, Program } from '../../../../src/engine/compiled/backend.js'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { blocksOf } from '../../../../src/engine/compiled/wasm/program.js'
import { crew } from '../../../../src/engine/compiled/wasm/workers.js'
import { floats, PlanBuilder } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const rows = 64
const columns = 24
const numbers = (count: number, seed: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i))

/** Rows by their numbers, through some products, and their sums by sequence. */
function planOf(seed: number, products: number, size = columns): Plan {
  const b = new PlanBuilder()
  let value = b.rows(size, numbers(rows * size, seed))
  for (let i = 0; i < products; i++) {
    const weight = {
      kind: 'float32',
      values: floats(
        [size, size],
        numbers(size * size, i).map((x) => x / Math.sqrt(size)),
      ),
    } as const
    value = b.add({ kind: 'linear', input: value, weight, activation: 'tanh', output: b.buffer(size) })
  }
  b.output('sums', b.add({ kind: 'pool', how: 'sum', input: value, output: b.buffer(size, { per: 'sequence' }) }))
  return b.output('rows', value).plan()
}

function batchOf(lengths: readonly number[], size = columns): Batch {
  const starts = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])
  const tokens = starts[lengths.length]
  return {
    starts,
    pasts: new Int32Array(lengths.length),
    numbers: { row: Int32Array.from({ length: tokens }, (_, i) => (7 * i) % rows) },
    images: {},
    outputs: { rows: new Float32Array(tokens * size), sums: new Float32Array(lengths.length * size) },
  }
}

async function result(program: Program, lengths: readonly number[], signal?: AbortSignal): Promise<Batch['outputs']> {
  const batch = batchOf(lengths)
  await program.run(batch, signal)
  return batch.outputs
}

function expectClose(actual: Batch['outputs'], expected: Batch['outputs']): void {
  for (const name of ['rows', 'sums']) {
    expect(actual[name].length).toBe(expected[name].length)
    expect(Math.max(...actual[name].map((x, i) => Math.abs(x - expected[name][i])))).toBeLessThan(1e-4)
  }
}

describe('blocks of sequences', () => {
  it('take up all sequences in order', () => {
    for (const lengths of [[1], [0, 5], [300, 1, 1], [600], [20, 20, 20, 20], Array.from({ length: 90 }, (_, i) => (i * 37) % 130)]) {
      for (const threads of [1, 2, 3]) {
        const blocks = blocksOf(batchOf(lengths).starts, threads)
        expect(blocks.flatMap(({ first, end }) => lengths.slice(first, end))).toEqual(lengths)
        expect(blocks.every(({ first, end }) => end > first)).toBe(true)
      }
    }
  })
})

describe('threads', () => {
  it('keep overlapping runs of several programs apart', async () => {
    const plans = [planOf(1, 3), planOf(2, 2)]
    const programs = await Promise.all(plans.map((plan, i) => wasm.compile(plan, { threads: 1 + i })))
    const references = await Promise.all(plans.map((plan) => reference.compile(plan, { threads: 1 })))
    const runs = Array.from({ length: 40 }, (_, i) => ({
      which: i % 2,
      lengths: Array.from({ length: 1 + (i % 5) }, (_, j) => 1 + ((i * 13 + j * 29) % 70)),
    }))
    const results = await Promise.all(runs.map(({ which, lengths }) => result(programs[which], lengths)))
    for (const [i, { which, lengths }] of runs.entries()) expectClose(results[i], await result(references[which], lengths))
    await Promise.all(programs.map((program) => program.dispose()))
  })

  it('stop when the signal fires, and the next run is sound', async () => {
    const [plan, long] = [planOf(3, 2), planOf(4, 60)]
    const program = await wasm.compile(long, { threads: 2 })
    const lengths = Array.from({ length: 40 }, () => 60)
    const [before, during] = [new AbortController(), new AbortController()]
    before.abort()
    await expect(result(program, lengths, before.signal)).rejects.toMatchObject({ code: 'interrupted' })
    const run = result(program, lengths, during.signal)
    setTimeout(() => during.abort(), 5)
    await expect(run).rejects.toMatchObject({ code: 'interrupted' })
    const expected = await result(await reference.compile(long, { threads: 1 }), [3, 2])
    expectClose(await result(program, [3, 2]), expected)
    await program.dispose()
    await expect(result(program, [1])).rejects.toMatchObject({ code: 'usage' })
    expect(plan.steps.length).toBeLessThan(long.steps.length)
  })

  it('that die fail their run, and others take their place', async () => {
    const long = planOf(5, 60)
    const program = await wasm.compile(long, { threads: 2 })
    const run = result(
      program,
      Array.from({ length: 60 }, () => 60),
    )
    setTimeout(() => {
      for (const worker of [...crew.workers]) worker.end()
    }, 2)
    await expect(run).rejects.toMatchObject({ code: 'failed' })
    expectClose(await result(program, [3, 2]), await result(await reference.compile(long, { threads: 1 }), [3, 2]))
    await program.dispose()
  })

  it('leave the event loop free', async () => {
    const program = await wasm.compile(planOf(6, 40), { threads: 1 })
    let [turns, done] = [0, false]
    const run = result(
      program,
      Array.from({ length: 40 }, () => 60),
    ).then(() => {
      done = true
    })
    while (!done) {
      turns++
      await new Promise((resolve) => setImmediate(resolve))
    }
    await run
    expect(turns).toBeGreaterThan(1)
    await program.dispose()
  })
})

describe('a step keep', () => {
  it('leaves the last row of each sequence, in runs that ask for it', async () => {
    const b = new PlanBuilder()
    const input = b.rows(5, numbers(rows * 5, 1))
    const kept = b.add({ kind: 'keep', input, output: input })
    const weight = { kind: 'float32', values: floats([5, 3], numbers(15, 2)) } as const
    const plan = b.output('out', b.add({ kind: 'linear', input: kept, weight, output: b.buffer(3) })).plan()
    const lengths = [3, 1, 7, 30]
    for (const keepLast of [true, false]) {
      const outputs = await Promise.all(
        [wasm, reference].map(async (backend) => {
          const program = await backend.compile(plan, { threads: 2 })
          const out = new Float32Array(3 * (keepLast ? lengths.length : 41))
          await program.run({ ...batchOf(lengths), keepLast, outputs: { out } })
          await program.dispose()
          return out
        }),
      )
      for (const [i, x] of outputs[0].entries()) expect(x).toBeCloseTo(outputs[1][i], 5)
    }
  })
})
