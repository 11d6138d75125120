import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { View } from '../../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import { ArrayTensor } from '../../../../src/ir/tensor.js'
import { roundToMinifloat } from '../../../../src/numbers/minifloat.js'
import { exactInputs, floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { runsHere } from './machine.js'

const cases = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 2 }),
  blocks: fc.integer({ min: 1, max: 3 }),
  block: fc.constantFrom(16, 32, 64, 128),
  outputs: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 96)),
  bits: fc.constantFrom<4 | 8>(4, 8),
  symmetric: fc.boolean(),
  halves: fc.boolean(),
  bias: fc.boolean(),
  activation: fc.constantFrom(undefined, 'silu', 'gelu', 'relu'),
  residual: fc.constantFrom('none', 'other', 'same'),
})

describe.skipIf(!runsHere)('linear with weights in blocks', () => {
  it('agrees with the reference on inputs that blocks of bytes hold exactly', () =>
    fc.assert(
      fc.asyncProperty(cases, async ({ seed, lengths, blocks, block, outputs, bits, symmetric, halves, bias, activation, residual }) => {
        const random = new Random(seed)
        const tokens = lengths.reduce((a, b) => a + b)
        const inputs = blocks * Math.max(block, 32)
        const normals = (length: number) => Array.from({ length }, () => random.normal())
        const factors = (length: number) => {
          const values = Float32Array.from(normals(length))
          return halves ? roundToMinifloat('float16', values) : values
        }
        const scale = factors((inputs / block) * outputs)
        const minimum = symmetric ? scale.map((value) => -(2 ** (bits - 1)) * value) : factors(scale.length)
        const codes = Uint8Array.from({ length: inputs * outputs }, () => random.integer(2 ** bits))
        const shape = [outputs, inputs / block]
        const weight = {
          kind: 'blocks',
          bits,
          block,
          codes: new ArrayTensor(bits === 4 ? 'uint4' : 'uint8', [outputs, inputs], codes),
          scale: floats(shape, scale),
          minimum: floats(shape, minimum),
        } as const

        const builder = new PlanBuilder()
        const input = builder.rows(inputs, exactInputs(random, tokens * inputs))
        const surrounded = (): View => ({ ...builder.rows(outputs + 5, normals(tokens * (outputs + 5))), column: 2, columns: outputs })
        const output = surrounded()
        builder.add({
          kind: 'linear',
          input,
          weight,
          bias: bias ? floats([outputs], normals(outputs)) : undefined,
          activation,
          residual: { none: undefined, other: surrounded(), same: output }[residual],
          output,
        })
        const { buffer } = output
        const plan = builder.output('all', { buffer, column: 0, columns: buffer.columns }).plan()
        const [got, want] = await Promise.all(
          [x64Backend({ guards: true }), reference].map((backend) => runPlan(backend, plan, { lengths })),
        )
        expect(relativeError(got.outputs['all'], want.outputs['all'])).toBeLessThan(1e-5)
      }),
      { numRuns: 100 },
    ))

  it('is as near the reference as bytes are on other inputs', async () => {
    const random = new Random(7)
    const [inputs, outputs, tokens] = [256, 48, 16]
    const normals = (length: number) => Float32Array.from({ length }, () => random.normal())
    const codes = Uint8Array.from({ length: inputs * outputs }, () => random.integer(16))
    const shape = [outputs, inputs / 32]
    const scale = normals((inputs / 32) * outputs)
    const builder = new PlanBuilder()
    const output = builder.add({
      kind: 'linear',
      input: builder.rows(inputs, normals(tokens * inputs)),
      weight: {
        kind: 'blocks',
        bits: 4,
        block: 32,
        codes: new ArrayTensor('uint4', [outputs, inputs], codes),
        scale: floats(shape, scale),
        minimum: floats(
          shape,
          scale.map((value) => -7.5 * value),
        ),
      },
      output: builder.buffer(outputs),
    })
    const plan = builder.output('result', output).plan()
    const [got, want] = await Promise.all(
      [x64Backend({ guards: true }), reference].map((backend) => runPlan(backend, plan, { lengths: [tokens] })),
    )
    const square = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0)
    const error = square(got.outputs['result'].map((value, i) => value - want.outputs['result'][i])) / square(want.outputs['result'])
    // Rounding to steps of max / 127, of about 2.1 for 32 normal numbers, has a variance of step^2 / 12.
    expect(Math.sqrt(error)).toBeLessThan(1.2 * (2.1 / 127 / Math.sqrt(12)))
  })
})
