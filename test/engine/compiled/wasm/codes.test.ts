import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Plan } from '../../../../src/engine/compiled/plan/plan.js'
import type { Quantization } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { ArrayTensor } from '../../../../src/ir/tensor.js'
import { bytes, floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i + 0.001 * i * i))
/** Without the sign of zero. */
const unsigned = (x: number) => x + 0
const lengths = [3, 1, 6]
const rows = 10

async function both(plan: Plan) {
  return [(await runPlan(reference, plan, { lengths })).outputs, (await runPlan(wasm, plan, { lengths, threads: 2 })).outputs]
}

/** Numbers that saturate at both ends, halves, and what is none. */
const extremes = fc.constantFrom(
  0,
  0.5,
  -0.5,
  1.5,
  2.5,
  1e9,
  -1e9,
  3e38,
  254.5,
  255.5,
  126.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
)
const anyFloat = fc.oneof({ weight: 4, arbitrary: fc.float({ min: -300, max: 300, noNaN: true }) }, { weight: 1, arbitrary: extremes })
const columnsAndRows = fc
  .integer({ min: 1, max: 70 })
  .chain((columns) => fc.tuple(fc.constant(columns), fc.array(anyFloat, { minLength: rows * columns, maxLength: rows * columns })))

describe('quantize, code for code', () => {
  it('with a scale of the plan', () =>
    fc.assert(
      fc.asyncProperty(
        columnsAndRows,
        fc.constantFrom<127 | 255>(127, 255),
        fc.constantFrom(0, 3, 128),
        fc.boolean(),
        async ([columns, values], highest, zeroPoint, scaled) => {
          const b = new PlanBuilder()
          const quantization: Quantization = { kind: 'static', scale: 0.1, zeroPoint: Math.min(zeroPoint, highest) }
          const factors = scaled ? floats([columns], numbers(columns, 1)) : undefined
          const codes = b.add({
            kind: 'quantize',
            input: b.rows(columns, values),
            factors,
            quantization,
            highest,
            output: b.buffer(columns, { dtype: 'uint8' }),
          })
          const [expected, actual] = await both(b.output('codes', b.codesOf(codes)).plan())
          expect(actual.codes).toEqual(expected.codes)
        },
      ),
      { numRuns: 40 },
    ))

  it('with a scale of each row', () =>
    fc.assert(
      fc.asyncProperty(columnsAndRows, fc.constantFrom<127 | 255>(127, 255), fc.boolean(), async ([columns, values], highest, scaled) => {
        const b = new PlanBuilder()
        const parameters = b.buffer(2)
        const factors = scaled ? floats([columns], numbers(columns, 1)) : undefined
        const input = b.rows(columns, values)
        const codes = b.add({
          kind: 'quantize',
          input,
          factors,
          quantization: { kind: 'rows', parameters },
          highest,
          output: b.buffer(columns, { dtype: 'uint8' }),
        })
        const [expected, actual] = await both(b.output('codes', b.codesOf(codes)).output('parameters', parameters).plan())
        expect(actual.codes).toEqual(expected.codes)
        expect(actual.parameters.map(unsigned)).toEqual(expected.parameters.map(unsigned))
      }),
      { numRuns: 40 },
    ))
})

describe('linear of codes', () => {
  const codesOf = (highest: number) => fc.oneof(fc.constantFrom(0, highest), fc.integer({ min: 0, max: highest }))
  const weights = fc.oneof(fc.constantFrom(-128, 127), fc.integer({ min: -128, max: 127 }))
  const cases = fc
    .record({
      inputs: fc.integer({ min: 1, max: 90 }),
      outputs: fc.integer({ min: 1, max: 60 }),
      highest: fc.constantFrom<127 | 255>(127, 255),
    })
    .chain(({ inputs, outputs, highest }) =>
      fc.record({
        inputs: fc.constant(inputs),
        outputs: fc.constant(outputs),
        highest: fc.constant(highest),
        codes: fc.array(codesOf(highest), { minLength: rows * inputs, maxLength: rows * inputs }),
        weight: fc.array(weights, { minLength: inputs * outputs, maxLength: inputs * outputs }),
      }),
    )

  it('sums bit for bit', () =>
    fc.assert(
      fc.asyncProperty(cases, fc.constantFrom(0, 64), async ({ inputs, outputs, highest, codes, weight }, zeroPoint) => {
        const b = new PlanBuilder()
        const exact = { kind: 'static', scale: 1, zeroPoint: 0 } as const
        const input = b.add({
          kind: 'quantize',
          input: b.rows(inputs, codes),
          quantization: exact,
          highest,
          output: b.buffer(inputs, { dtype: 'uint8' }),
        })
        const scale = floats([outputs], new Array<number>(outputs).fill(1))
        const output = b.add({
          kind: 'linear',
          input,
          weight: { kind: 'int8', codes: bytes([inputs, outputs], weight), scale, input: { kind: 'static', scale: 1, zeroPoint } },
          output: b.buffer(outputs),
        })
        const [expected, actual] = await both(b.output('sums', output).plan())
        expect(actual.sums).toEqual(expected.sums)
      }),
      { numRuns: 60 },
    ))

  it('with scales of rows, bias, activation and residual', () =>
    fc.assert(
      fc.asyncProperty(
        cases,
        fc.constantFrom(undefined, 'relu', 'gelu'),
        fc.boolean(),
        async ({ inputs, outputs, highest, weight }, activation, residual) => {
          const b = new PlanBuilder()
          const parameters = b.buffer(2)
          const quantization = { kind: 'rows', parameters } as const
          const floatsIn = b.rows(inputs, numbers(rows * inputs, 5))
          const input = b.add({ kind: 'quantize', input: floatsIn, quantization, highest, output: b.buffer(inputs, { dtype: 'uint8' }) })
          const output = b.add({
            kind: 'linear',
            input,
            weight: {
              kind: 'int8',
              codes: bytes([inputs, outputs], weight),
              scale: floats([outputs], numbers(outputs, 2)),
              input: quantization,
            },
            bias: floats([outputs], numbers(outputs, 3)),
            activation: activation as 'relu' | 'gelu' | undefined,
            residual: residual ? b.rows(outputs, numbers(rows * outputs, 4)) : undefined,
            output: b.buffer(outputs),
          })
          const [expected, actual] = await both(b.output('out', output).plan())
          expect(relativeError(actual.out, expected.out)).toBeLessThanOrEqual(1e-5)
        },
      ),
      { numRuns: 40 },
    ))
})

describe('codes that products write', () => {
  const cases = fc.record({
    inputs: fc.integer({ min: 1, max: 40 }),
    outputs: fc.integer({ min: 1, max: 50 }),
    highest: fc.constantFrom<127 | 255>(127, 255),
    seed: fc.integer({ min: 0, max: 1000 }),
  })
  const integers = (count: number, seed: number, most: number) => numbers(count, seed).map((x) => Math.round(most * x))

  it('are those of their sums', () =>
    fc.assert(
      fc.asyncProperty(cases, fc.boolean(), async ({ inputs, outputs, highest, seed }, scaled) => {
        const b = new PlanBuilder()
        const exact = { kind: 'static', scale: 1, zeroPoint: 0 } as const
        const given = b.rows(inputs, integers(rows * inputs, seed, 255).map(Math.abs))
        const input = b.add({
          kind: 'quantize',
          input: given,
          quantization: exact,
          highest: 255,
          output: b.buffer(inputs, { dtype: 'uint8' }),
        })
        const codes = bytes([inputs, outputs], integers(inputs * outputs, seed + 1, 64))
        const scale = floats([outputs], new Array<number>(outputs).fill(1))
        const factors = scaled
          ? floats(
              [outputs],
              Float32Array.from({ length: outputs }, (_, i) => 2 ** ((i % 5) - 3)),
            )
          : undefined
        const output = b.add({
          kind: 'linear',
          input,
          weight: { kind: 'int8', codes, scale, input: exact },
          residual: b.rows(outputs, integers(rows * outputs, seed + 2, 500)),
          quantizer: { factors, quantization: { kind: 'static', scale: 2 ** 7, zeroPoint: 77 }, highest },
          output: b.buffer(outputs, { dtype: 'uint8' }),
        })
        const [expected, actual] = await both(b.output('codes', b.codesOf(output)).plan())
        expect(actual.codes).toEqual(expected.codes)
      }),
      { numRuns: 40 },
    ))

  it.each(['gelu', 'gelu-tanh', 'silu'] as const)('after %s are at most one from those expected', (activation) =>
    fc.assert(
      fc.asyncProperty(cases, fc.constantFrom('float32', 'int8', 'blocks'), async ({ inputs, outputs, highest, seed }, form) => {
        const b = new PlanBuilder()
        const size = form === 'blocks' ? 32 : inputs
        const values = numbers(size * outputs, seed + 1)
        const given = b.rows(size, numbers(rows * size, seed))
        const quantization = { kind: 'static', scale: 0.01, zeroPoint: 100 } as const
        const codes = () => b.add({ kind: 'quantize', input: given, quantization, highest, output: b.buffer(size, { dtype: 'uint8' }) })
        const ones = (shape: readonly number[]) => floats(shape, new Array<number>(outputs).fill(0.01))
        const weights = {
          float32: () => ({ kind: 'float32', values: floats([size, outputs], values) }) as const,
          int8: () =>
            ({
              kind: 'int8',
              codes: bytes(
                [size, outputs],
                values.map((x) => 127 * x),
              ),
              scale: ones([outputs]),
              input: quantization,
            }) as const,
          blocks: () => {
            const parts = { scale: ones([outputs, 1]), minimum: floats([outputs, 1], numbers(outputs, seed + 2)) }
            const unsigned = new ArrayTensor(
              'uint4',
              [outputs, 32],
              Uint8Array.from(values, (x) => 8 + 7 * x),
            )
            return { kind: 'blocks', bits: 4, block: 32, codes: unsigned, ...parts } as const
          },
        }
        const output = b.add({
          kind: 'linear',
          input: form === 'int8' ? codes() : given,
          weight: weights[form](),
          activation,
          quantizer: { quantization: { kind: 'static', scale: 0.03, zeroPoint: 6 }, highest },
          output: b.buffer(outputs, { dtype: 'uint8' }),
        })
        const [expected, actual] = await both(b.output('codes', b.codesOf(output)).plan())
        const most = form === 'blocks' ? 3 : 1
        expect(Math.max(...actual.codes.map((code, i) => Math.abs(code - expected.codes[i])))).toBeLessThanOrEqual(most)
      }),
      { numRuns: 20 },
    ),
  )

  it('are those of a norm that writes them too', () =>
    fc.assert(
      fc.asyncProperty(cases, fc.constantFrom('static', 'rows'), async ({ inputs, highest, seed }, kind) => {
        const b = new PlanBuilder()
        const parameters = b.buffer(2)
        const quantization: Quantization = kind === 'rows' ? { kind, parameters } : { kind: 'static', scale: 0.02, zeroPoint: 50 }
        const weight = floats([inputs], numbers(inputs, seed + 1))
        const written = b.buffer(inputs, { dtype: 'uint8' })
        const input = b.rows(inputs, numbers(rows * inputs, seed))
        const codes = { quantizer: { quantization, highest }, output: written }
        const output = b.add({ kind: 'norm', input, centered: true, epsilon: 1e-5, weight, output: b.buffer(inputs), codes })
        const [expected, actual] = await both(b.output('floats', output).output('codes', b.codesOf(written)).plan())
        expect(relativeError(actual.floats, expected.floats)).toBeLessThanOrEqual(1e-5)
        expect(Math.max(...actual.codes.map((code, i) => Math.abs(code - expected.codes[i])))).toBeLessThanOrEqual(1)
      }),
      { numRuns: 30 },
    ))
})
