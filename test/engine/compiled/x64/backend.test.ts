import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { Batch, Program } from '../../../../src/engine/compiled/backend.js'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import { CallQueue } from '../../../../src/engine/compiled/x64/call-queue.js'
import { sequenceBlocks } from '../../../../src/engine/compiled/x64/sequence-blocks.js'
import { floats, PlanBuilder } from '../plans.js'
import { runsHere } from './machine.js'

const vocabulary = 50
const columns = 24

/** Rows of a table, normalized, multiplied and summed up: `rows` of each token and `sum` of each sequence. */
function smallPlan(seed: number): Plan {
  const random = new Random(seed)
  const normals = (count: number) => Array.from({ length: count }, () => random.normal())
  const builder = new PlanBuilder()
  const input = builder.rows(columns, normals(vocabulary * columns))
  const weight = floats([columns], normals(columns))
  const normalized = builder.add({ kind: 'norm', input, centered: true, epsilon: 1e-5, weight, output: builder.buffer(columns) })
  const values = floats([columns, columns], normals(columns ** 2))
  const rows = builder.add({
    kind: 'linear',
    input: normalized,
    weight: { kind: 'float32', values },
    activation: 'gelu',
    output: builder.buffer(columns),
  })
  const sum = builder.add({ kind: 'pool', how: 'sum', input: rows, output: builder.buffer(columns, { per: 'sequence' }) })
  return builder.output('rows', rows).output('sum', sum).plan()
}

/** A batch of sequences of these numbers. */
function batchOf(sequences: readonly (readonly number[])[]): Batch & { readonly outputs: { rows: Float32Array; sum: Float32Array } } {
  const starts = new Int32Array(sequences.length + 1)
  for (const [i, { length }] of sequences.entries()) starts[i + 1] = starts[i] + length
  return {
    starts,
    pasts: new Int32Array(sequences.length),
    numbers: { row: Int32Array.from(sequences.flat()) },
    images: {},
    outputs: { rows: new Float32Array(starts[sequences.length] * columns), sum: new Float32Array(sequences.length * columns) },
  }
}

/** What the reference gives for each number alone. */
async function expectedRows(plan: Plan): Promise<Float32Array> {
  const batch = batchOf([Array.from({ length: vocabulary }, (_, i) => i)])
  await (await reference.compile(plan, { threads: 1 })).run(batch)
  return batch.outputs.rows
}

function expectResults(sequences: readonly (readonly number[])[], { outputs }: ReturnType<typeof batchOf>, rows: Float32Array): void {
  let at = 0
  for (const [i, sequence] of sequences.entries()) {
    const sum = new Float64Array(columns)
    for (const number of sequence) {
      for (let c = 0; c < columns; c++) {
        const want = rows[number * columns + c]
        if (Math.abs(outputs.rows[at] - want) > 1e-4) throw new Error(`Row ${number} has ${outputs.rows[at]} instead of ${want}`)
        sum[c] += want
        at++
      }
    }
    for (let c = 0; c < columns; c++) {
      const difference = Math.abs(outputs.sum[i * columns + c] - sum[c])
      if (difference > 1e-4 * sequence.length) throw new Error(`The sum of sequence ${i} differs by ${difference}`)
    }
  }
}

function draw(random: Random): number[][] {
  return Array.from({ length: 1 + random.integer(6) }, () =>
    Array.from({ length: 1 + random.integer(random.integer(10) ? 12 : 300) }, () => random.integer(vocabulary)),
  )
}

const program = (plan: Plan, threads = 2, guards = true): Promise<Program> =>
  x64Backend({ blockTokens: 64, guards }).compile(plan, { threads })

describe.skipIf(!runsHere)('runs of machine code', () => {
  it('neither lose nor mix up requests of many callers, some of which are cancelled', async () => {
    const plans = [smallPlan(1), smallPlan(2)]
    const rows = await Promise.all(plans.map(expectedRows))
    const programs = await Promise.all(plans.map((plan, i) => program(plan, 1 + i, i === 0)))
    const counts = { done: 0, cancelled: 0 }
    const caller = async (number: number) => {
      const random = new Random(number)
      for (let request = 0; request < 250; request++) {
        const which = random.integer(2)
        const sequences = draw(random)
        const batch = batchOf(sequences)
        const controller = new AbortController()
        const cancelled = random.integer(5) === 0
        if (cancelled) setTimeout(() => controller.abort(), random.integer(3))
        try {
          await programs[which].run(batch, controller.signal)
          expectResults(sequences, batch, rows[which])
          counts.done++
        } catch (error) {
          if (!cancelled) throw error
          expect(error).toMatchObject({ code: 'interrupted' })
          counts.cancelled++
        }
      }
    }
    await Promise.all(Array.from({ length: 40 }, (_, i) => caller(i)))
    expect(counts.done + counts.cancelled).toBe(10_000)
    expect(counts.done).toBeGreaterThan(7500)
    for (const each of programs) await each.dispose()
  })

  it('end soon after their signal fires, and the program runs on', async () => {
    const plan = smallPlan(3)
    const compiled = await program(plan)
    const many = Array.from({ length: 2000 }, () => new Array<number>(200).fill(7))
    const controller = new AbortController()
    const run = compiled.run(batchOf(many), controller.signal)
    setTimeout(() => controller.abort(), 1)
    await expect(run).rejects.toMatchObject({ code: 'interrupted' })
    await expect(compiled.run(batchOf([[1]]), AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' })
    const batch = batchOf([[1, 2, 3]])
    await compiled.run(batch)
    expectResults([[1, 2, 3]], batch, await expectedRows(plan))
    await compiled.dispose()
  })

  it('are waited for when the program is disposed of', async () => {
    const plan = smallPlan(4)
    const compiled = await program(plan)
    const sequences = draw(new Random(4))
    const batch = batchOf(sequences)
    const run = compiled.run(batch)
    await compiled.dispose()
    await run
    expectResults(sequences, batch, await expectedRows(plan))
    await compiled.dispose()
    await expect(compiled.run(batch)).rejects.toThrow('disposed')
  })

  it('give the same and the time of each step where it is asked for', async () => {
    const plan = smallPlan(7)
    const compiled = await x64Backend({ blockTokens: 4 }).compile(plan, { threads: 2, profile: true })
    const sequences = [
      [1, 2, 3],
      [4, 5],
    ]
    const batch = batchOf(sequences)
    await compiled.run(batch)
    expectResults(sequences, batch, await expectedRows(plan))
    const times = compiled.profile!()!
    expect(times.map(({ node }) => node).sort()).toEqual(plan.steps.map(({ name }) => name).sort())
    for (const { calls, milliseconds } of times) {
      expect(calls).toBe(2)
      expect(milliseconds).toBeGreaterThan(0)
    }
    const untimed = await program(plan)
    expect(untimed.profile!()).toBeUndefined()
    await Promise.all([compiled.dispose(), untimed.dispose()])
  })

  it('may have nothing to do', async () => {
    const compiled = await program(new PlanBuilder().plan())
    await compiled.run({ ...batchOf([[0, 1], [2]]), outputs: {} })
    await compiled.run({ ...batchOf([]), outputs: {} })
    expect(compiled.kernels).toEqual([])
    await compiled.dispose()
  })

  it('fail alone when memory does not suffice', async () => {
    const builder = new PlanBuilder()
    const { buffer } = builder.buffer(2 ** 40, { per: 'sequence' })
    const huge = await program(builder.output('count', builder.add({ kind: 'count', output: { buffer, column: 0, columns: 1 } })).plan())
    const plan = smallPlan(5)
    const small = await program(plan)
    const batch = batchOf([[3, 4]])
    const count = huge.run({ ...batchOf([[1], [2]]), outputs: { count: new Float32Array(2) } })
    await Promise.all([expect(count).rejects.toMatchObject({ code: 'out-of-memory' }), small.run(batch)])
    expectResults([[3, 4]], batch, await expectedRows(plan))
    expect(() => small.allocateCache(2 ** 50)).not.toThrow()
    await Promise.all([huge.dispose(), small.dispose()])
  })

  it('refuse batches that do not fit the plan', async () => {
    const compiled = await program(smallPlan(6))
    const batch = batchOf([[1, 2]])
    const wrong: Batch[] = [
      batchOf([[1], []]),
      { ...batch, numbers: {} },
      { ...batch, numbers: { row: Int32Array.of(1) } },
      { ...batch, pasts: new Int32Array(0) },
      { ...batch, outputs: { rows: new Float32Array(1) } },
      { ...batch, outputs: { columns: new Float32Array(2) } },
    ]
    for (const each of wrong) await expect(compiled.run(each)).rejects.toMatchObject({ code: 'bad-input' })
    await compiled.dispose()
  })
})

describe.skipIf(!runsHere)('caches in mapped memory', () => {
  it('hold keys and values of each layer', async () => {
    const builder = new PlanBuilder()
    for (const keyColumns of [3, 5]) builder.cache({ keyColumns, valueColumns: 2 })
    const compiled = await program(builder.plan())
    const cache = compiled.allocateCache(4)
    const parts = [
      [0, 'keys', 3],
      [0, 'values', 2],
      [1, 'keys', 5],
      [1, 'values', 2],
    ] as const
    for (const [i, [layer, part, width]] of parts.entries()) cache.write(layer, part, new Float32Array(4 * width).fill(i + 1))
    for (const [i, [layer, part, width]] of parts.entries())
      expect([...cache.read(layer, part, 4)]).toEqual(new Array(4 * width).fill(i + 1))
    expect(() => cache.write(0, 'keys', new Float32Array(15))).toThrow('room')
    expect(() => compiled.allocateCache(2 ** 50)).toThrow('memory')
    const batch = { ...batchOf([[1, 2, 3]]), outputs: {} }
    await expect(compiled.run(batch)).rejects.toMatchObject({ code: 'bad-input' })
    await expect(compiled.run({ ...batch, caches: [compiled.allocateCache(2)] })).rejects.toMatchObject({ code: 'bad-input' })
    await compiled.run({ ...batch, caches: [cache] })
    cache.dispose()
    cache.dispose()
    expect(() => cache.read(0, 'keys', 1)).toThrow('disposed')
    await expect(compiled.run({ ...batch, caches: [cache] })).rejects.toMatchObject({ code: 'bad-input' })
    await compiled.dispose()
  })
})

describe('blocks of sequences', () => {
  it('hold every sequence once, in order, and no more tokens than asked for', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 })
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 4 }), (counts, tokens, threads) => {
        const starts = Int32Array.from([0, ...counts])
        for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1]
        const blocks = sequenceBlocks(starts, tokens, threads)
        const order = blocks.flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i))
        expect(order).toEqual([...counts.keys()])
        for (const { first, end } of blocks) {
          expect(end).toBeGreaterThan(first)
          if (end - first > 1) expect(starts[end] - starts[first]).toBeLessThanOrEqual(tokens)
        }
      }),
    )
  })

  it('are as many as there are threads where there are sequences enough', () => {
    expect(sequenceBlocks(Int32Array.of(0, 16, 32, 48, 64), 256, 2)).toEqual([
      { first: 0, end: 2 },
      { first: 2, end: 4 },
    ])
    expect(sequenceBlocks(Int32Array.of(0, 16), 256, 2)).toEqual([{ first: 0, end: 1 }])
  })
})

describe('queue of calls', () => {
  it('lets as many run as each limit says, in the order in which they came', async () => {
    const queue = new CallQueue()
    const order: number[] = []
    let [running, most] = [0, 0]
    const call = async (number: number) => {
      const end = await queue.begin(3)
      order.push(number)
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, number % 3))
      running--
      end()
    }
    await Promise.all(Array.from({ length: 30 }, (_, i) => call(i)))
    expect(order).toEqual([...order.keys()])
    expect(most).toBe(3)
    const end = await queue.begin(1)
    let began = false
    const waiting = queue.begin(1).then((next) => {
      began = true
      next()
    })
    await new Promise((resolve) => setTimeout(resolve, 1))
    expect(began).toBe(false)
    end()
    await waiting
  })
})
