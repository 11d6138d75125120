import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { Batch } from '../../../../src/engine/compiled/backend.js'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import { type CacheDtype, type View, whole } from '../../../../src/engine/compiled/plan/steps.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import type { X64ProgramOptions } from '../../../../src/engine/compiled/x64/program.node.js'
import { ArrayTensor } from '../../../../src/ir/tensor.js'
import { bytes, floats, PlanBuilder, type RunPlanOptions, runPlan } from '../plans.js'
import { runsHere } from './machine.js'

/** A small transformer of random weights. */
interface Shape {
  readonly seed: number
  readonly layers: number
  readonly headSize: number
  readonly keyValueHeads: number
  readonly group: number
  readonly weights: 'float32' | 'int8' | 'blocks'
  readonly hidden: number
  readonly cache: CacheDtype | undefined
}

const positions = 200

class Transformer {
  readonly #builder = new PlanBuilder()
  readonly #random: Random

  constructor(readonly shape: Shape) {
    this.#random = new Random(shape.seed)
  }

  plan(): Plan {
    const { layers, headSize, keyValueHeads, group, cache, hidden } = this.shape
    const scales = cache === 'int8' && { scales: keyValueHeads }
    const builder = this.#builder
    const columns = keyValueHeads * group * headSize
    const x = builder.rows(columns, this.#normals(positions * columns))
    for (let layer = 0; layer < layers; layer++) {
      const input = this.#norm(x)
      const query = this.#linear(input, columns)
      const key = this.#linear(input, keyValueHeads * headSize)
      const value = this.#linear(input, keyValueHeads * headSize)
      const attended = builder.add({
        kind: 'attention',
        query,
        key,
        value,
        heads: keyValueHeads * group,
        keyValueHeads,
        scale: 1 / Math.sqrt(headSize),
        causal: cache !== undefined || layer % 2 === 0,
        cache: cache && builder.cache({ keyColumns: key.columns, valueColumns: value.columns, ...scales }),
        cacheDtype: cache,
        output: builder.buffer(columns),
      })
      this.#linear(attended, columns, { residual: x, output: x })
      const up = this.#linear(this.#norm(x), hidden, { activation: 'gelu' })
      const gate = builder.add({ kind: 'activation', function: 'silu', input: up, gate: up, output: builder.buffer(hidden) })
      this.#linear(gate, columns, { residual: x, output: x })
    }
    const sum = builder.add({ kind: 'pool', how: 'sum', input: x, output: builder.buffer(columns, { per: 'sequence' }) })
    return builder.output('rows', x).output('sum', sum).plan()
  }

  #normals(count: number): number[] {
    return Array.from({ length: count }, () => this.#random.normal())
  }

  #norm(input: View): View {
    const { columns } = input
    const weight = floats([columns], this.#normals(columns))
    return this.#builder.add({ kind: 'norm', input, centered: true, epsilon: 1e-5, weight, output: this.#builder.buffer(columns) })
  }

  #linear(
    input: View,
    outputs: number,
    more: { readonly activation?: 'gelu'; readonly residual?: View; readonly output?: View } = {},
  ): View {
    const builder = this.#builder
    const inputs = input.columns
    const output = more.output ?? builder.buffer(outputs)
    const bias = floats([outputs], this.#normals(outputs))
    const scaled = (count: number) => this.#normals(count).map((value) => value / Math.sqrt(inputs))
    if (this.shape.weights === 'float32') {
      const values = floats([inputs, outputs], scaled(inputs * outputs))
      return builder.add({ kind: 'linear', input, weight: { kind: 'float32', values }, bias, ...more, output })
    }
    const code = (limit: number) => this.#random.integer(limit)
    if (this.shape.weights === 'int8') {
      const parameters = whole({ name: 'parameters', per: 'token', columns: 2, dtype: 'float32' })
      const quantization = { kind: 'rows', parameters } as const
      const codes = builder.add({ kind: 'quantize', input, quantization, highest: 127, output: builder.buffer(inputs, { dtype: 'uint8' }) })
      const weight = {
        kind: 'int8',
        codes: bytes(
          [inputs, outputs],
          Array.from({ length: inputs * outputs }, () => code(255) - 127),
        ),
        scale: floats(
          [outputs],
          scaled(outputs).map((value) => Math.abs(value) / 100),
        ),
        input: quantization,
      } as const
      return builder.add({ kind: 'linear', input: codes, weight, bias, ...more, output })
    }
    const shape = [outputs, inputs / 32]
    const scale = floats(
      shape,
      scaled((inputs / 32) * outputs).map((value) => value / 8),
    )
    const codes = new ArrayTensor(
      'uint4',
      [outputs, inputs],
      Uint8Array.from({ length: inputs * outputs }, () => code(16)),
    )
    const minimum = floats(
      shape,
      [...scale.data].map((value) => -8 * Number(value)),
    )
    return builder.add({
      kind: 'linear',
      input,
      weight: { kind: 'blocks', bits: 4, block: 32, codes, scale, minimum },
      bias,
      ...more,
      output,
    })
  }
}

const shapes = fc.record({
  seed: fc.nat(),
  layers: fc.integer({ min: 1, max: 2 }),
  headSize: fc.constant(32),
  keyValueHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 3 }),
  weights: fc.constantFrom('float32' as const, 'int8' as const, 'blocks' as const),
  hidden: fc.constantFrom(32, 96, 160),
  cache: fc.constantFrom(undefined, 'float32' as const, 'int8' as const),
})

/** All threads together work on everything. */
const team: Partial<X64ProgramOptions> = { teamOperations: 0, patience: 2 ** 26 }

async function expectSame(shape: Shape, run: RunPlanOptions, options: Partial<X64ProgramOptions>, threads: number): Promise<void> {
  const plan = new Transformer(shape).plan()
  const alone = await runPlan(x64Backend({ guards: true, teamOperations: Number.POSITIVE_INFINITY }), plan, { ...run, threads })
  const together = await runPlan(x64Backend({ guards: true, ...options }), plan, { ...run, threads })
  expect(together).toEqual(alone)
}

describe.skipIf(!runsHere)('a team of threads', () => {
  it('gives what one thread gives, bit for bit', () =>
    fc.assert(
      fc.asyncProperty(
        shapes,
        fc.oneof(fc.constant([1]), fc.tuple(fc.integer({ min: 1, max: 150 })), fc.constantFrom([40, 1], [1, 90], [1, 1, 70])),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 2, max: 4 }),
        (shape, lengths, past, threads) => {
          const pasts = lengths.map((_, i) => (shape.cache ? past * (i + 1) : 0))
          return expectSame(shape, { lengths, pasts }, team, threads)
        },
      ),
      { numRuns: 40 },
    ))

  it('gives the same where the others never come in time', () =>
    fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 1, max: 100 }), (shape, length) =>
        expectSame(shape, { lengths: [length] }, { ...team, patience: 0 }, 3),
      ),
      { numRuns: 10 },
    ))

  it('ends when it is cancelled, and runs on, whatever others do', async () => {
    const shape: Shape = { seed: 1, layers: 2, headSize: 32, keyValueHeads: 2, group: 2, weights: 'int8', hidden: 160, cache: undefined }
    const plan = new Transformer(shape).plan()
    const lengths = [1, 5, 60, 190]
    const expected = await Promise.all(lengths.map((length) => runPlan(x64Backend(), plan, { lengths: [length] })))
    const programs = await Promise.all(
      [team, { ...team, patience: 20_000 }].map((options, i) => x64Backend(options).compile(plan, { threads: 2 + i })),
    )
    const counts = { done: 0, cancelled: 0 }
    const caller = async (number: number) => {
      const random = new Random(number)
      for (let request = 0; request < 10; request++) {
        const which = random.integer(lengths.length)
        const batch = batchOf(plan, lengths[which])
        const controller = new AbortController()
        const isCancelled = random.integer(3) === 0
        if (isCancelled) setTimeout(() => controller.abort(), random.integer(4))
        try {
          await programs[random.integer(2)].run(batch, controller.signal)
          expect(batch.outputs).toEqual(expected[which].outputs)
          counts.done++
        } catch (error) {
          if (!isCancelled) throw error
          expect(error).toMatchObject({ code: 'interrupted' })
          counts.cancelled++
        }
      }
    }
    await Promise.all(Array.from({ length: 20 }, (_, i) => caller(i)))
    expect(counts.done + counts.cancelled).toBe(200)
    expect(counts.done).toBeGreaterThan(100)
    for (const program of programs) await program.dispose()
  })
})

/** One sequence of the first rows. */
function batchOf(plan: Plan, length: number): Batch {
  const outputs = [...plan.outputs].map(([name, { buffer, columns }]): [string, Float32Array] => [
    name,
    new Float32Array(columns * (buffer.per === 'token' ? length : 1)),
  ])
  return {
    starts: Int32Array.of(0, length),
    pasts: Int32Array.of(0),
    numbers: { row: Int32Array.from({ length }, (_, i) => i) },
    images: {},
    outputs: Object.fromEntries(outputs),
  }
}
