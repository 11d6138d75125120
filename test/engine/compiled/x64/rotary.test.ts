import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import { floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { runsHere } from './machine.js'

const cases = fc.record({
  seed: fc.nat(),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
  heads: fc.integer({ min: 1, max: 4 }),
  half: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(16, 32)),
  rest: fc.constantFrom(0, 1, 8, 13),
  interleaved: fc.boolean(),
  inPlace: fc.boolean(),
  byIndex: fc.boolean(),
})

describe.skipIf(!runsHere)('rotary position embedding', () => {
  it('agrees with the reference for both pairings, in place or not, and leaves all other columns alone', () =>
    fc.assert(
      fc.asyncProperty(cases, async ({ seed, lengths, heads, half, rest, interleaved, inPlace, byIndex }) => {
        const random = new Random(seed)
        const normals = (length: number) => Array.from({ length }, () => random.normal())
        const tokens = lengths.reduce((a, b) => a + b)
        const headSize = 2 * half + rest
        const columns = heads * headSize
        const builder = new PlanBuilder()
        const surrounded = () => ({ ...builder.rows(columns + 3, normals(tokens * (columns + 3))), column: 2, columns })
        const input = surrounded()
        const output = inPlace ? input : surrounded()
        const [cos, sin] = [0, 1].map(() => floats([tokens + 1, half], normals((tokens + 1) * half)))
        const numbers = byIndex ? 'index' : { input: 'row' }
        builder.add({ kind: 'rotary', input, headSize, rotary: 2 * half, interleaved, cos, sin, numbers, output })
        const { buffer } = output
        const plan = builder.output('all', { buffer, column: 0, columns: buffer.columns }).plan()
        const [got, want] = await Promise.all(
          [x64Backend({ guards: true }), reference].map((backend) => runPlan(backend, plan, { lengths })),
        )
        expect(relativeError(got.outputs['all'], want.outputs['all'])).toBeLessThan(1e-6)
      }),
      { numRuns: 60 },
    ))
})
