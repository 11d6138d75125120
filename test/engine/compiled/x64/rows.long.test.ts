import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { ActivationFunction, BinaryOperator, Buffer, View } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { activationFunctions } from '../../../../src/engine/compiled/reference/functions.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import { bytes, floats, PlanBuilder, type RunPlanOptions, relativeError, runPlan } from '../plans.js'
import { runsHere } from './machine.js'

const guarded = x64Backend({ guards: true })

/** Tokens of sequences, and a number of columns: whole vectors and tails of every kind. */
const shapes = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
  columns: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(96, 128, 130)),
})

/** Normal numbers, some of them large. */
function normals(random: Random, count: number): number[] {
  return Array.from({ length: count }, () => random.normal() * (random.integer(8) ? 1 : 10))
}

/** Runs the plan on both backends; every output must agree. */
async function check(builder: PlanBuilder, options: RunPlanOptions, tolerance = 1e-5, least?: number): Promise<void> {
  const plan = builder.plan()
  const [got, want] = await Promise.all([runPlan(guarded, plan, options), runPlan(reference, plan, options)])
  for (const name of plan.outputs.keys())
    expect(relativeError(got.outputs[name], want.outputs[name], least), name).toBeLessThanOrEqual(tolerance)
}

interface Drawn {
  readonly builder: PlanBuilder
  readonly random: Random
  readonly columns: number
  readonly lengths: readonly number[]
  /** Rows of normal numbers. */
  rows(columns?: number): View
}

/** Checks what `build` makes of drawn shapes: an output `result` beside others. */
function property(build: (drawn: Drawn) => View, runs = 40, tolerance?: number, least?: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(shapes, async ({ seed, lengths, columns }) => {
      const builder = new PlanBuilder()
      const random = new Random(seed)
      const tokens = lengths.reduce((a, b) => a + b)
      const rows = (count = columns) => builder.rows(count, normals(random, tokens * count))
      builder.output('result', build({ builder, random, columns, lengths, rows }))
      await check(builder, { lengths }, tolerance, least)
    }),
    { numRuns: runs },
  )
}

/**
 * A view in the middle of a buffer whose other columns hold numbers already: they are the output `neighbours`, so a step that writes beyond
 * its view is caught.
 */
function part({ builder, rows, random }: Drawn, columns: number): View {
  const before = random.integer(5)
  const { buffer } = rows(before + columns + 1 + random.integer(12))
  builder.output('neighbours', { buffer, column: 0, columns: buffer.columns })
  return { buffer, column: before, columns }
}

/** A whole buffer, or a part of one. */
function target(drawn: Drawn, columns = drawn.columns): View {
  return drawn.random.integer(2) ? part(drawn, columns) : drawn.builder.buffer(columns)
}

describe.skipIf(!runsHere)('kernels for rows agree with the reference', () => {
  it('embed', () =>
    property((drawn) => {
      const { builder, random, columns, lengths } = drawn
      const tokens = lengths.reduce((a, b) => a + b)
      const lookups = Array.from({ length: 1 + random.integer(6) }, (_, i) => {
        const rows = tokens + random.integer(3)
        const count = rows * columns
        if (random.integer(2))
          return { table: { rows, columns, values: floats([rows, columns], normals(random, count)) }, numbers: { input: 'row' } }
        const codes = bytes(
          [rows, columns],
          Array.from({ length: count }, () => random.integer(256) - 128),
        )
        const blocks = columns % 16 || random.integer(2) ? 1 : columns / 16
        const scale = floats(
          [rows, blocks],
          Array.from({ length: rows * blocks }, () => random.uniform()),
        )
        return { table: { rows, columns, values: codes, scale }, numbers: i % 2 ? ('index' as const) : { input: 'row' } }
      })
      return builder.add({ kind: 'embed', lookups, output: target(drawn) })
    }))

  it.each([true, false])('norm, centered: %s', (centered) =>
    property((drawn) => {
      const { builder, random, columns } = drawn
      const groups = 1 + random.integer(3)
      const weight = floats([columns], normals(random, columns))
      const bias = random.integer(2) ? floats([columns], normals(random, columns)) : undefined
      const input = drawn.rows(groups * columns)
      const output = random.integer(3) ? target(drawn, groups * columns) : input
      return builder.add({ kind: 'norm', input, centered, epsilon: [1e-5, 1e-12][random.integer(2)], weight, bias, output })
    }, 80),
  )

  const functions: ActivationFunction[] = ['gelu', 'gelu-tanh', 'quick-gelu', 'silu', 'relu', 'tanh', 'sigmoid']
  // Functions are exact to 1e-6, not to a share of what is nearly 0, as all results of a run may be; gates are below 40.
  it.each(functions)('activation, %s', (name) =>
    property(
      (drawn) => {
        const { builder, random, rows } = drawn
        const input = rows()
        const gate = random.integer(2) ? rows() : undefined
        return builder.add({ kind: 'activation', function: name, input, gate, output: random.integer(3) ? target(drawn) : input })
      },
      40,
      1e-5,
      4,
    ),
  )

  const operators: BinaryOperator[] = ['add', 'subtract', 'multiply', 'divide', 'maximum']
  it.each(operators)('combine, %s', (operator) =>
    property((drawn) => {
      const { builder, random, columns, rows } = drawn
      const rights = [() => rows(), () => rows(1), () => floats([columns], normals(random, columns)), () => floats([1], normals(random, 1))]
      const left = rows()
      const output = random.integer(3) ? target(drawn) : left
      return builder.add({ kind: 'combine', operator, left, right: rights[random.integer(4)](), output })
    }),
  )

  it('largest', () => property((drawn) => drawn.builder.add({ kind: 'largest', input: drawn.rows(), output: target(drawn, 1) })))

  it('length', () => property((drawn) => drawn.builder.add({ kind: 'length', input: drawn.rows(), output: target(drawn, 1) })))

  it.each(['first', 'last', 'sum'] as const)('pool, %s', (how) =>
    property(({ builder, rows, columns }) =>
      builder.add({ kind: 'pool', how, input: rows(), output: builder.buffer(columns, { per: 'sequence' }) }),
    ),
  )

  it('keep', () =>
    fc.assert(
      fc.asyncProperty(shapes, fc.boolean(), async ({ seed, lengths, columns }, keepLast) => {
        const builder = new PlanBuilder()
        const tokens = lengths.reduce((a, b) => a + b)
        const input = builder.rows(columns, normals(new Random(seed), tokens * columns))
        builder.add({ kind: 'keep', input, output: input })
        const doubled = builder.add({ kind: 'combine', operator: 'add', left: input, right: input, output: builder.buffer(columns) })
        const plan = builder.output('kept', input).output('doubled', doubled).plan()
        const starts = Int32Array.from([0, ...lengths])
        for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1]
        const results = [guarded, reference].map(async (backend) => {
          const size = columns * (keepLast ? lengths.length : tokens)
          const outputs = { kept: new Float32Array(size), doubled: new Float32Array(size) }
          const numbers = { row: Int32Array.from({ length: tokens }, (_, i) => i) }
          const program = await backend.compile(plan, { threads: 1 })
          await program.run({ starts, pasts: new Int32Array(lengths.length), numbers, images: {}, keepLast, outputs })
          await program.dispose()
          return outputs
        })
        expect(await results[0]).toEqual(await results[1])
      }),
      { numRuns: 30 },
    ))

  it('count', () => property(({ builder }) => builder.add({ kind: 'count', output: builder.buffer(1, { per: 'sequence' }) })))

  it('patches', () =>
    fc.assert(
      fc.asyncProperty(
        fc.record({
          seed: fc.nat(),
          sequences: fc.integer({ min: 1, max: 3 }),
          channels: fc.integer({ min: 1, max: 3 }),
          down: fc.integer({ min: 1, max: 3 }),
          across: fc.integer({ min: 1, max: 3 }),
          size: fc.integer({ min: 1, max: 20 }),
          leading: fc.integer({ min: 0, max: 2 }),
        }),
        async ({ seed, sequences, channels, down, across, size, leading }) => {
          const builder = new PlanBuilder()
          const [height, width] = [down * size, across * size]
          const elements = channels * height * width
          const input = builder.image('pixels', elements)
          const output = builder.buffer(channels * size ** 2)
          builder.output('result', builder.add({ kind: 'patches', input, channels, height, width, size, leading, output }))
          const pixels = Float32Array.from(normals(new Random(seed), sequences * elements))
          await check(builder, { lengths: new Array(sequences).fill(leading + down * across), images: { pixels } }, 0)
        },
      ),
      { numRuns: 40 },
    ))
})

const uint8 = { dtype: 'uint8' } satisfies Partial<Buffer>

/** Rows of 32 numbers on a backend, through an activation. */
async function activated(name: ActivationFunction, values: readonly number[]): Promise<Float32Array> {
  const builder = new PlanBuilder()
  const input = builder.rows(32, values)
  const output = builder.add({ kind: 'activation', function: name, input, output: builder.buffer(32) })
  const { outputs } = await runPlan(guarded, builder.output('result', output).plan(), { lengths: [values.length / 32] })
  return outputs['result']
}

describe.skipIf(!runsHere)('activations', () => {
  const names = Object.keys(activationFunctions) as ActivationFunction[]

  it.each(names)('%s is near the function wherever that is', async (name) => {
    const grid = Array.from({ length: 2 ** 15 }, (_, i) => Math.fround((i - 2 ** 14) / 1000))
    const got = await activated(name, grid)
    const wrong = grid.filter((x, i) => Math.abs(got[i] - activationFunctions[name](x)) > 1e-6 * Math.max(1, Math.abs(x)))
    expect(wrong).toEqual([])
  })

  it.each(names)('%s is exact in relation to small numbers, which are rows of their own', async (name) => {
    const small = Array.from({ length: 64 }, (_, i) => 1e-6 * (i - 31.5))
    const want = small.map(activationFunctions[name])
    expect(relativeError(await activated(name, small), want)).toBeLessThanOrEqual(1e-5)
  })

  it.each(names)('%s keeps NaN to itself and stays finite', async (name) => {
    const far = Array.from({ length: 32 }, (_, i) => [Number.NaN, 1e30, -1e30, 100, -100, 0, 1, -1][i % 8])
    const got = await activated(name, far)
    const want = far.map((x) => Math.fround(activationFunctions[name](x)))
    const wrong = far.filter((x, i) =>
      Number.isNaN(x) ? !Number.isNaN(got[i]) : !(Math.abs(got[i] - want[i]) <= 1e-6 * Math.max(1, Math.abs(x))),
    )
    expect(wrong).toEqual([])
  })
})

describe.skipIf(!runsHere)('quantization agrees with the reference, code for code', () => {
  it.each([127, 255] as const)('static, up to %i', (highest) =>
    property(
      ({ builder, random, columns, rows }) => {
        const factors = random.integer(2) ? floats([columns], normals(random, columns)) : undefined
        const quantization = {
          kind: 'static',
          scale: Math.fround(0.01 + random.uniform() / 10),
          zeroPoint: random.integer(highest + 1),
        } as const
        const output = builder.buffer(columns, uint8)
        return builder.codesOf(builder.add({ kind: 'quantize', input: rows(), factors, quantization, highest, output }))
      },
      30,
      0,
    ),
  )

  it.each([127, 255] as const)('of each row, up to %i', (highest) =>
    property(
      (drawn) => {
        const { builder, random, columns, rows } = drawn
        const factors = random.integer(2) ? floats([columns], normals(random, columns)) : undefined
        const parameters = target(drawn, 2)
        builder.output('parameters', parameters)
        const output = builder.buffer(columns, uint8)
        return builder.codesOf(
          builder.add({ kind: 'quantize', input: rows(), factors, quantization: { kind: 'rows', parameters }, highest, output }),
        )
      },
      30,
      0,
    ),
  )

  it('into a part of a buffer', () =>
    property(
      ({ builder, columns, rows }) => {
        const quantization = { kind: 'static', scale: 0.05, zeroPoint: 100 } as const
        const codes = builder.add({
          kind: 'quantize',
          input: rows(columns + 9),
          quantization,
          highest: 255,
          output: builder.buffer(columns + 9, uint8),
        })
        const output = { buffer: codes.buffer, column: 4, columns }
        builder.add({ kind: 'quantize', input: rows(), quantization, highest: 255, output })
        return builder.codesOf(codes)
      },
      40,
      0,
    ))
})

describe.skipIf(!runsHere)('linears agree with the reference', () => {
  /** The step's other parts, drawn. */
  const rest = (drawn: Drawn) => {
    const { random, columns, rows } = drawn
    const isInPlace = random.integer(3) === 0
    const output = isInPlace ? rows() : target(drawn)
    return {
      bias: random.integer(2) ? floats([columns], normals(random, columns)) : undefined,
      activation: ([undefined, undefined, 'relu', 'gelu'] as const)[random.integer(4)],
      residual: isInPlace ? output : random.integer(2) ? rows() : undefined,
      output,
    }
  }
  const inputsOf = (random: Random) => 1 + random.integer(50)
  /** What results are large beside: all may lie where GELU is zero but for rounding errors. */
  const geluEnds = 1

  it('float32', () =>
    property(
      (drawn) => {
        const { builder, random, columns, rows } = drawn
        const inputs = inputsOf(random)
        const values = floats([inputs, columns], normals(random, inputs * columns))
        return builder.add({ kind: 'linear', input: rows(inputs), weight: { kind: 'float32', values }, ...rest(drawn) })
      },
      60,
      undefined,
      geluEnds,
    ))

  it.each(['static', 'rows'] as const)('int8, %s', (kind) =>
    property(
      (drawn) => {
        const { builder, random, columns, rows } = drawn
        const inputs = inputsOf(random)
        const largest = [31, 63, 127][random.integer(3)]
        const highest = ([127, 255] as const)[random.integer(2)]
        const codes = bytes(
          [inputs, columns],
          Array.from({ length: inputs * columns }, () => random.integer(2 * largest + 1) - largest),
        )
        const scale = floats(
          [columns],
          Array.from({ length: columns }, () => 0.01 + random.uniform()),
        )
        const quantization =
          kind === 'static'
            ? ({ kind, scale: 0.25, zeroPoint: random.integer(highest + 1) } as const)
            : ({ kind, parameters: builder.buffer(2) } as const)
        const input = builder.add({ kind: 'quantize', input: rows(inputs), quantization, highest, output: builder.buffer(inputs, uint8) })
        return builder.add({ kind: 'linear', input, weight: { kind: 'int8', codes, scale, input: quantization }, ...rest(drawn) })
      },
      150,
      undefined,
      geluEnds,
    ),
  )

  it.each([undefined, 'relu', 'gelu', 'gelu-tanh', 'silu'] as const)('and give codes, to the next one: %s', (activation) =>
    fc.assert(
      fc.asyncProperty(shapes, async ({ seed, lengths, columns }) => {
        const [builder, random] = [new PlanBuilder(), new Random(seed)]
        const inputs = inputsOf(random)
        const tokens = lengths.reduce((a, b) => a + b)
        const values = floats([inputs, columns], normals(random, inputs * columns))
        const codes = builder.add({
          kind: 'linear',
          input: builder.rows(inputs, normals(random, tokens * inputs)),
          weight: { kind: 'float32', values },
          activation,
          residual: random.integer(3) ? undefined : builder.rows(columns, normals(random, tokens * columns)),
          quantizer: {
            factors: random.integer(2) ? floats([columns], normals(random, columns)) : undefined,
            quantization: { kind: 'static', scale: [0.5, 0.001][random.integer(2)], zeroPoint: random.integer(256) },
            highest: ([127, 255] as const)[random.integer(2)],
          },
          output: builder.buffer(columns, uint8),
        })
        const plan = builder.output('codes', builder.codesOf(codes)).plan()
        const [got, want] = await Promise.all([runPlan(guarded, plan, { lengths }), runPlan(reference, plan, { lengths })])
        const differences = got.outputs['codes'].map((code, i) => Math.abs(code - want.outputs['codes'][i]))
        expect(Math.max(...differences)).toBeLessThanOrEqual(1)
        expect(differences.reduce((a, b) => a + b)).toBeLessThanOrEqual(1 + 0.05 * differences.length)
      }),
      { numRuns: 40 },
    ),
  )

  it.each([1e-3, 1, 1e8])('and give codes of products of codes, where a code of a weight stands for %f', (step) =>
    fc.assert(
      fc.asyncProperty(shapes, async ({ seed, lengths, columns }) => {
        const [builder, random] = [new PlanBuilder(), new Random(seed)]
        const inputs = inputsOf(random)
        const tokens = lengths.reduce((a, b) => a + b)
        const quantization = { kind: 'static', scale: 0.25, zeroPoint: 100 } as const
        const weights = Array.from({ length: inputs * columns }, () => random.integer(255) - 127)
        const rows = builder.rows(inputs, normals(random, tokens * inputs))
        const output = builder.buffer(inputs, uint8)
        const codes = builder.add({
          kind: 'linear',
          input: builder.add({ kind: 'quantize', input: rows, quantization, highest: 255, output }),
          weight: {
            kind: 'int8',
            codes: bytes([inputs, columns], weights),
            scale: floats([columns], weights.slice(0, columns).fill(step)),
            input: quantization,
          },
          quantizer: { quantization: { kind: 'static', scale: 0.5, zeroPoint: random.integer(256) }, highest: 255 },
          output: builder.buffer(columns, uint8),
        })
        const plan = builder.output('codes', builder.codesOf(codes)).plan()
        const [got, want] = await Promise.all([runPlan(guarded, plan, { lengths }), runPlan(reference, plan, { lengths })])
        expect(Array.from(got.outputs['codes'])).toEqual(Array.from(want.outputs['codes']))
      }),
      { numRuns: 20 },
    ),
  )
})
