import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../../src/engine/compiled/wasm/backend.js'
import { ArrayTensor } from '../../../../src/ir/tensor.js'
import { exactInputs, floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { useBuiltWorker } from './worker.js'

useBuiltWorker()

const cases = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
  blocks: fc.integer({ min: 1, max: 3 }),
  block: fc.constantFrom(16, 32, 64),
  outputs: fc.integer({ min: 1, max: 40 }),
  bits: fc.constantFrom<4 | 8>(4, 8),
  symmetric: fc.boolean(),
  bias: fc.boolean(),
  activation: fc.constantFrom(undefined, 'silu', 'relu'),
  residual: fc.constantFrom('none', 'other', 'same'),
})

describe('linear with weights in blocks', () => {
  it('agrees with the reference on inputs that blocks of bytes hold exactly', () =>
    fc.assert(
      fc.asyncProperty(cases, async ({ seed, lengths, blocks, block, outputs, bits, symmetric, bias, activation, residual }) => {
        const random = new Random(seed)
        const tokens = lengths.reduce((a, b) => a + b)
        const inputs = blocks * Math.max(block, 32)
        const normals = (length: number) => Array.from({ length }, () => random.normal())
        const scale = Float32Array.from(normals((inputs / block) * outputs))
        const minimum = symmetric ? scale.map((value) => -(2 ** (bits - 1)) * value) : Float32Array.from(normals(scale.length))
        const codes = Uint8Array.from({ length: inputs * outputs }, () => random.integer(2 ** bits))
        const shape = [outputs, inputs / block]
        const b = new PlanBuilder()
        const input = b.rows(inputs, exactInputs(random, tokens * inputs))
        const surrounded = () => ({ ...b.rows(outputs + 5, normals(tokens * (outputs + 5))), column: 2, columns: outputs })
        const output = surrounded()
        b.add({
          kind: 'linear',
          input,
          weight: {
            ...{ kind: 'blocks', bits, block, scale: floats(shape, scale), minimum: floats(shape, minimum) },
            codes: new ArrayTensor(bits === 4 ? 'uint4' : 'uint8', [outputs, inputs], codes),
          },
          bias: bias ? floats([outputs], normals(outputs)) : undefined,
          activation: activation as 'silu' | 'relu' | undefined,
          residual: { none: undefined, other: surrounded(), same: output }[residual],
          output,
        })
        const { buffer } = output
        const plan = b.output('all', { buffer, column: 0, columns: buffer.columns }).plan()
        const [expected, actual] = [await runPlan(reference, plan, { lengths }), await runPlan(wasm, plan, { lengths, threads: 2 })]
        expect(relativeError(actual.outputs.all, expected.outputs.all)).toBeLessThanOrEqual(1e-5)
      }),
      { numRuns: 60 },
    ))
})
