import { describe, expect, it } from 'vitest'
import type { Batch, Program } from '../../../../src/engine/compiled/backend.js'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import type { View } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { blocksOf } from '../../../../src/engine/compiled/wasm/program.js'
import { crew } from '../../../../src/engine/compiled/wasm/workers.js'
import { ArrayTensor } from '../../../../src/ir/tensor.js'
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

/** Attention between products: work enough for a team of threads on one sequence. */
function attentionPlan(layers: number): Plan {
  const b = new PlanBuilder()
  const size = 96
  const product = (input: View, outputs: number, seed: number, residual?: View) => {
    const values = floats(
      [input.columns, outputs],
      numbers(input.columns * outputs, seed).map((x) => x / Math.sqrt(input.columns)),
    )
    return b.add({ kind: 'linear', input, weight: { kind: 'float32', values }, residual, output: b.buffer(outputs) })
  }
  let value = b.rows(size, numbers(rows * size, 1))
  for (let layer = 0; layer < layers; layer++) {
    const [query, key, values] = [1, 2, 3].map((seed) => product(value, size, 10 * layer + seed))
    const heads = { heads: 6, keyValueHeads: 3, scale: 0.2, causal: layer % 2 > 0 }
    const [keys, shared] = [key, values].map((view) => ({ ...view, columns: size / 2 }))
    const mixed = b.add({ kind: 'attention', query, key: keys, value: shared, ...heads, output: b.buffer(size) })
    const sum = product(mixed, size, 10 * layer + 4, value)
    value = b.add({
      kind: 'norm',
      input: sum,
      centered: true,
      epsilon: 1e-5,
      weight: floats([size], numbers(size, 5)),
      output: b.buffer(size),
    })
  }
  b.output('sums', b.add({ kind: 'pool', how: 'sum', input: value, output: b.buffer(size, { per: 'sequence' }) }))
  return b.output('rows', value).plan()
}

describe('a team of threads on one block', () => {
  it('computes what one thread computes, at every length', async () => {
    const plan = attentionPlan(3)
    const [alone, team] = await Promise.all([1, 2].map((threads) => wasm.compile(plan, { threads })))
    for (const lengths of [[13], [14], [15], [29], [61], [9, 5], [64, 3]]) {
      const [one, two] = [batchOf(lengths, 96), batchOf(lengths, 96)]
      await Promise.all([alone.run(one), team.run(two)])
      expect(two.outputs).toEqual(one.outputs)
    }
    await Promise.all([alone.dispose(), team.dispose()])
  })

  it('splits products by columns where there are few rows', async () => {
    const b = new PlanBuilder()
    const [size, wide] = [1024, 1501]
    const codes = new ArrayTensor(
      'uint4',
      [wide, size],
      new Uint8Array(size * wide).map((_, i) => (7 * i + (i >> 7)) % 16),
    )
    const factors = (seed: number) => floats([wide, size / 32], numbers((size * wide) / 32, seed))
    const weight = { kind: 'blocks', bits: 4, block: 32, codes, scale: factors(1), minimum: factors(2) } as const
    const first = b.add({ kind: 'linear', input: b.rows(size, numbers(rows * size, 3)), weight, output: b.buffer(wide) })
    const values = floats([wide, 77], numbers(wide * 77, 4))
    const residual = b.rows(77, numbers(rows * 77, 5))
    const plain = { kind: 'linear', input: first, weight: { kind: 'float32', values }, residual, activation: 'silu' } as const
    const plan = b.output('rows', b.add({ ...plain, output: b.buffer(77) })).plan()
    const programs = await Promise.all([1, 2, 3].map((threads) => wasm.compile(plan, { threads })))
    for (const length of [2, 3]) {
      const batches = programs.map(() => ({ ...batchOf([length]), outputs: { rows: new Float32Array(length * 77) } }))
      await Promise.all(programs.map((program, i) => program.run(batches[i])))
      for (const { outputs } of batches) expect(outputs).toEqual(batches[0].outputs)
    }
    await Promise.all(programs.map((program) => program.dispose()))
  })

  it('is shared by many runs at once, some of which are cancelled', async () => {
    const plan = attentionPlan(2)
    const programs = await Promise.all([2, 2].map((threads) => wasm.compile(plan, { threads })))
    const expected = batchOf([40], 96)
    await programs[0].run(expected)
    const runs = Array.from({ length: 30 }, async (_, i) => {
      const [batch, controller] = [batchOf([40], 96), new AbortController()]
      if (i % 3 === 0) setTimeout(() => controller.abort(), i / 3)
      return programs[i % 2].run(batch, controller.signal).then(
        () => batch,
        () => undefined,
      )
    })
    const finished = (await Promise.all(runs)).filter((batch) => batch !== undefined)
    expect(finished.length).toBeGreaterThanOrEqual(20)
    for (const { outputs } of finished) expect(outputs).toEqual(expected.outputs)
    await Promise.all(programs.map((program) => program.dispose()))
  })

  it('is not waited for while a thread is busy elsewhere', async () => {
    const plan = attentionPlan(2)
    const program = await wasm.compile(plan, { threads: 2 })
    const [expected, actual] = [batchOf([40], 96), batchOf([40], 96)]
    await program.run(expected)
    const ends: (() => void)[] = []
    const busy = crew.workers.slice(1).map(() => crew.lend(() => new Promise<void>((resolve) => ends.push(resolve))))
    await program.run(actual)
    expect(actual.outputs).toEqual(expected.outputs)
    for (const end of ends) end()
    await Promise.all(busy)
    await program.dispose()
  })

  it('fails as a whole where one of it dies', async () => {
    const program = await wasm.compile(attentionPlan(60), { threads: Math.max(2, crew.workers.length) })
    const run = program.run(batchOf([60], 96))
    setTimeout(() => crew.workers[0].end(), 2)
    await expect(run).rejects.toMatchObject({ code: 'failed' })
    await program.run(batchOf([60], 96))
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
