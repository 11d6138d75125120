import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/base/random.js'
import type { ActivationFunction } from '../../../src/engine/compiled/plan/steps.js'
import { reference } from '../../../src/engine/compiled/reference/backend.js'
import { ArrayTensor } from '../../../src/ir/tensor.js'
import { backends } from './backends.js'
import { bytes, exactInputs, floats, PlanBuilder, relativeError, runPlan } from './plans.js'

const forms = ['float32', 'static', 'rows', '4 bits', '8 bits', 'short blocks'] as const

const cases = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
  blocks: fc.integer({ min: 1, max: 3 }),
  outputs: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.constantFrom(64, 96)),
  bias: fc.boolean(),
  surrounded: fc.boolean(),
  activation: fc.constantFrom<ActivationFunction>('silu', 'gelu-tanh', 'relu'),
  threads: fc.constantFrom(1, 2),
})
type Drawn = typeof cases extends fc.Arbitrary<infer T> ? T : never
type Case = Omit<Drawn, 'activation'> & { readonly activation: ActivationFunction | undefined }

/** One gated linear; where its rows are surrounded, so is what is shown. */
function gatedPlan({ seed, lengths, blocks, outputs, bias, surrounded, activation }: Case, form: (typeof forms)[number]) {
  const random = new Random(seed)
  const tokens = lengths.reduce((a, b) => a + b)
  const [inputs, columns] = [32 * blocks, 2 * outputs]
  const normals = (length: number) => Array.from({ length }, () => random.normal())
  const builder = new PlanBuilder()
  const rows = builder.rows(inputs, exactInputs(random, tokens * inputs))
  const integers = (low: number, count: number) => Array.from({ length: inputs * columns }, () => low + random.integer(count))
  const product = () => {
    if (form === 'float32')
      return { input: rows, weight: { kind: form, values: floats([inputs, columns], normals(inputs * columns)) } } as const
    if (form === 'static' || form === 'rows') {
      const input =
        form === 'static'
          ? ({ kind: form, scale: 0.01, zeroPoint: 120 } as const)
          : ({ kind: form, parameters: builder.buffer(2) } as const)
      const output = builder.buffer(inputs, { dtype: 'uint8' })
      const codes = builder.add({ kind: 'quantize', input: rows, quantization: input, highest: 255, output })
      const weights = { codes: bytes([inputs, columns], integers(-128, 256)), scale: floats([columns], normals(columns)) }
      return { input: codes, weight: { kind: 'int8', ...weights, input } } as const
    }
    const [bits, block] = [form === '8 bits' ? 8 : 4, form === 'short blocks' ? 16 : 32] as const
    const shape = [columns, inputs / block]
    const [scale, minimum] = [1, 2].map(() => floats(shape, normals(shape[1] * columns)))
    const codes = new ArrayTensor(bits === 4 ? 'uint4' : 'uint8', [columns, inputs], Uint8Array.from(integers(0, 2 ** bits)))
    return { input: rows, weight: { kind: 'blocks', bits, block, codes, scale, minimum } } as const
  }
  const width = outputs + 5
  const output = surrounded ? { ...builder.rows(width, normals(tokens * width)), column: 2, columns: outputs } : builder.buffer(outputs)
  const term = bias ? floats([columns], normals(columns)) : undefined
  builder.add({ kind: 'linear', ...product(), bias: term, activation, gated: true, output })
  const { buffer } = output
  return builder.output('all', { buffer, column: 0, columns: buffer.columns }).plan()
}

describe.each(backends.filter((backend) => backend !== reference))('a gated linear, $name', (backend) => {
  it.each(forms)('agrees with the reference: %s', (form) =>
    fc.assert(
      fc.asyncProperty(cases, async (drawn) => {
        const plan = gatedPlan(drawn, form)
        const [got, want] = [await runPlan(backend, plan, drawn), await runPlan(reference, plan, drawn)]
        // Functions are exact to a share of what they are functions of, not of what is nearly 0, as all results of a run may be.
        const bare = await runPlan(reference, gatedPlan({ ...drawn, activation: undefined }, form), drawn)
        const size = bare.outputs['all'].reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        expect(relativeError(got.outputs['all'], want.outputs['all'], size)).toBeLessThan(1e-5)
      }),
      { numRuns: 30 },
    ),
  )
})
