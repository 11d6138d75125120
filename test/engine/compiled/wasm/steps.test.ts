import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import type { ActivationFunction, BinaryOperator } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { bytes, floats, PlanBuilder, type RunPlanOptions, relativeError, runPlan } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

/** Numbers between -1 and 1 that a seed decides. */
const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i + 0.001 * i * i))
const tensor = (seed: number, ...shape: number[]) =>
  floats(
    shape,
    numbers(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
  )
const lengthsOf = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 })
const total = (lengths: readonly number[]) => lengths.reduce((a, b) => a + b, 0)
const functions: readonly ActivationFunction[] = ['gelu', 'gelu-tanh', 'quick-gelu', 'silu', 'relu', 'tanh', 'sigmoid']

async function agree(plan: Plan, options: RunPlanOptions, tolerance = 1e-5): Promise<void> {
  const [expected, actual] = [await runPlan(reference, plan, options), await runPlan(wasm, plan, { threads: 2, ...options })]
  for (const name of plan.outputs.keys())
    expect(relativeError(actual.outputs[name], expected.outputs[name]), name).toBeLessThanOrEqual(tolerance)
  expected.caches.forEach((layers, i) => {
    layers.forEach((layer, j) => {
      expect(actual.caches[i][j].keys).toEqual(layer.keys)
      expect(actual.caches[i][j].values).toEqual(layer.values)
    })
  })
}

const check = (property: fc.IAsyncProperty<unknown[]>, numRuns = 25) => fc.assert(property as fc.IAsyncProperty<unknown>, { numRuns })

describe('steps over rows', () => {
  it('linear in float32', () =>
    check(
      fc.asyncProperty(
        ...([
          fc.integer({ min: 1, max: 70 }),
          fc.integer({ min: 1, max: 80 }),
          lengthsOf,
          fc.constantFrom(undefined, ...functions),
          fc.boolean(),
          fc.boolean(),
        ] as const),
        async (inputs, outputs, lengths, activation, bias, residual) => {
          const b = new PlanBuilder()
          const input = b.rows(inputs, numbers(total(lengths) * inputs, 1))
          const linear = b.add({
            kind: 'linear',
            input,
            weight: { kind: 'float32', values: tensor(2, inputs, outputs) },
            bias: bias ? tensor(3, outputs) : undefined,
            activation,
            residual: residual ? b.rows(outputs, numbers(total(lengths) * outputs, 4)) : undefined,
            output: b.buffer(outputs),
          })
          await agree(b.output('out', linear).plan(), { lengths })
        },
      ),
    ))

  it.each(functions)('%s', (name) =>
    check(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        lengthsOf,
        fc.boolean(),
        fc.constantFrom(0.01, 1, 8, 60),
        async (columns, lengths, gated, size) => {
          const b = new PlanBuilder()
          const input = b.rows(
            columns,
            numbers(total(lengths) * columns, 1).map((x) => size * x),
          )
          const gate = gated ? b.rows(columns, numbers(total(lengths) * columns, 4)) : undefined
          const output = b.add({ kind: 'activation', function: name, input, gate, output: b.buffer(columns) })
          await agree(b.output('out', output).plan(), { lengths })
        },
      ),
      10,
    ),
  )

  it('norm', () =>
    check(
      fc.asyncProperty(
        ...([fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 70 }), lengthsOf, fc.boolean(), fc.boolean()] as const),
        async (groups, size, lengths, centered, bias) => {
          const b = new PlanBuilder()
          const input = b.rows(groups * size, numbers(total(lengths) * groups * size, 1))
          const weight = tensor(2, size)
          const terms = bias ? tensor(3, size) : undefined
          const output = b.add({ kind: 'norm', input, centered, epsilon: 1e-3, weight, bias: terms, output: b.buffer(groups * size) })
          await agree(b.output('out', output).plan(), { lengths })
        },
      ),
    ))

  it('combine, with rows, one column and constants', () =>
    check(
      fc.asyncProperty(
        ...([
          fc.constantFrom<BinaryOperator>('add', 'subtract', 'multiply', 'divide', 'maximum'),
          fc.integer({ min: 1, max: 40 }),
          lengthsOf,
          fc.integer({ min: 0, max: 3 }),
        ] as const),
        async (operator, columns, lengths, kind) => {
          const b = new PlanBuilder()
          const count = total(lengths)
          const left = b.rows(columns, numbers(count * columns, 1))
          const wide = kind % 2 ? columns : 1
          const away = (seed: number, size: number) => numbers(size, seed).map((x) => x + 2)
          const right = kind < 2 ? b.rows(wide, away(2, count * wide)) : floats([wide], away(3, wide))
          const output = b.add({ kind: 'combine', operator, left, right, output: b.buffer(columns) })
          await agree(b.output('out', output).plan(), { lengths })
        },
      ),
    ))

  it('embed with several tables, codes among them', () =>
    check(
      fc.asyncProperty(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(32, 64)), lengthsOf, async (columns, lengths) => {
        const b = new PlanBuilder()
        const rows = Math.max(9, total(lengths))
        const codes = bytes(
          [rows, columns],
          numbers(rows * columns, 1).map((x) => 128 * x),
        )
        const blocks = columns % 16 ? 1 : columns / 16
        const lookups = [
          { table: { rows, columns, values: tensor(2, rows, columns) }, numbers: { input: 'row' } },
          { table: { rows, columns, values: codes, scale: tensor(3, rows, blocks) }, numbers: 'index' },
        ] as const
        await agree(b.output('out', b.add({ kind: 'embed', lookups, output: b.buffer(columns) })).plan(), { lengths })
      }),
    ))

  it('rotary', () =>
    check(
      fc.asyncProperty(
        ...([
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 1, max: 12 }),
          fc.integer({ min: 0, max: 7 }),
          lengthsOf,
          fc.boolean(),
          fc.boolean(),
        ] as const),
        async (heads, half, rest, lengths, interleaved, inPlace) => {
          const b = new PlanBuilder()
          const headSize = 2 * half + rest
          const input = b.rows(heads * headSize, numbers(total(lengths) * heads * headSize, 1))
          const tables = { cos: tensor(2, 9, half), sin: tensor(3, 9, half) }
          const output = inPlace ? input : b.buffer(heads * headSize)
          const turned = b.add({ kind: 'rotary', input, headSize, rotary: 2 * half, interleaved, ...tables, numbers: 'index', output })
          await agree(b.output('out', turned).plan(), { lengths })
        },
      ),
    ))
})

describe('steps over sequences', () => {
  it('pool, count and length', () =>
    check(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), lengthsOf, async (columns, lengths) => {
        const b = new PlanBuilder()
        const input = b.rows(columns, numbers(total(lengths) * columns, 1))
        for (const how of ['first', 'last', 'sum'] as const)
          b.output(how, b.add({ kind: 'pool', how, input, output: b.buffer(columns, { per: 'sequence' }) }))
        b.output('count', b.add({ kind: 'count', output: b.buffer(1, { per: 'sequence' }) }))
        b.output('length', b.add({ kind: 'length', input, output: b.buffer(1) }))
        b.output('largest', b.add({ kind: 'largest', input, output: b.buffer(1) }))
        await agree(b.plan(), { lengths })
      }),
    ))

  it('patches', () =>
    check(
      fc.asyncProperty(
        ...([
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 1, max: 6 }),
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 1, max: 3 }),
          fc.integer({ min: 0, max: 2 }),
        ] as const),
        async (channels, size, down, across, leading) => {
          const b = new PlanBuilder()
          const [height, width] = [down * size, across * size]
          const image = b.image('pixels', channels * height * width)
          const patches = b.add({
            kind: 'patches',
            input: image,
            channels,
            height,
            width,
            size,
            leading,
            output: b.buffer(channels * size * size),
          })
          const lengths = [0, 1, 2].map(() => down * across + leading)
          await agree(b.output('out', patches).plan(), { lengths, images: { pixels: numbers(3 * channels * height * width, 1) } })
        },
      ),
    ))

  it('attention, with every option', () =>
    check(
      fc.asyncProperty(
        fc.record({
          keyValueHeads: fc.integer({ min: 1, max: 3 }),
          group: fc.integer({ min: 1, max: 3 }),
          size: fc.integer({ min: 1, max: 20 }),
          valueSize: fc.integer({ min: 1, max: 50 }),
          causal: fc.boolean(),
          window: fc.constantFrom(undefined, 1, 3, 100),
          softCap: fc.constantFrom(undefined, 0.5, 20),
          cached: fc.boolean(),
          coded: fc.boolean(),
          lengths: fc.array(fc.constantFrom(1, 2, 5, 24, 31, 70, 150), { minLength: 1, maxLength: 3 }),
          past: fc.constantFrom(0, 1, 7, 100, 290),
        }),
        async ({ keyValueHeads, group, size, valueSize, causal, window, softCap, cached, coded, lengths, past }) => {
          const b = new PlanBuilder()
          const heads = keyValueHeads * group
          const count = total(lengths)
          const [keyColumns, valueColumns] = [keyValueHeads * size, keyValueHeads * valueSize]
          const query = b.rows(heads * size, numbers(count * heads * size, 1))
          const key = b.rows(keyColumns, numbers(count * keyColumns, 2))
          const value = b.rows(valueColumns, numbers(count * valueColumns, 3))
          const cache = cached ? b.cache({ keyColumns, valueColumns, ...(coded && { scales: keyValueHeads }) }) : undefined
          const cacheDtype = coded ? 'int8' : 'float32'
          const output = b.buffer(heads * valueSize)
          const options = { causal, window: causal ? window : undefined, softCap, cache, cacheDtype, scale: 0.7 } as const
          b.output('out', b.add({ kind: 'attention', query, key, value, heads, keyValueHeads, ...options, output }))
          await agree(b.plan(), { lengths, pasts: lengths.map((_, i) => (cached ? past + i : 0)) })
        },
      ),
      40,
    ))
})
