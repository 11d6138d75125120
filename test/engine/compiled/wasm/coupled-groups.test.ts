import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { coupleGroups } from '../../../../src/engine/compiled/wasm/kernels/coupled-groups.js'

const matrices = fc
  .record({ inputs: fc.integer({ min: 1, max: 60 }), outputs: fc.integer({ min: 1, max: 16 }), most: fc.integer({ min: 0, max: 127 }) })
  .chain(({ inputs, outputs, most }) =>
    fc.record({
      inputs: fc.constant(inputs),
      outputs: fc.constant(outputs),
      codes: fc.array(fc.integer({ min: -most, max: most }), { minLength: inputs * outputs, maxLength: inputs * outputs }),
    }),
  )

const couple = ({ inputs, outputs, codes }: { inputs: number; outputs: number; codes: readonly number[] }, highest: number) =>
  coupleGroups({ codes: Int8Array.from(codes), inputs, outputs, first: 0, end: outputs }, highest)

describe('groups of inputs', () => {
  it('are each taken once, and the pairs of couples fit in 16 bits with all codes', () =>
    fc.assert(
      fc.property(matrices, fc.constantFrom<127 | 255>(127, 255), (matrix, highest) => {
        const { inputs, outputs, codes } = matrix
        const { couples, groups } = couple(matrix, highest)
        expect([...groups].sort((a, b) => a - b)).toEqual(Array.from({ length: Math.ceil(inputs / 4) }, (_, i) => i))
        for (let i = 0; i < couples; i++)
          for (let column = 0; column < outputs; column++)
            for (const pair of [0, 2]) {
              const places = [groups[2 * i], groups[2 * i + 1]].flatMap((group) => [4 * group + pair, 4 * group + pair + 1])
              const products = places.map((input) => highest * (codes[input * outputs + column] ?? 0))
              const sum = (sign: 1 | -1) => products.filter((product) => sign * product > 0).reduce((a, b) => a + b, 0)
              expect(sum(1)).toBeLessThanOrEqual(2 ** 15 - 1)
              expect(sum(-1)).toBeGreaterThanOrEqual(-(2 ** 15))
            }
      }),
    ))

  it('are alone where their products are too large, and coupled where one is small', () => {
    const large = { inputs: 16, outputs: 1, codes: new Array<number>(16).fill(64) }
    expect(couple(large, 255).couples).toBe(0)
    const halves = { ...large, codes: large.codes.map((code, i) => (i < 8 ? code : 0)) }
    expect(couple(halves, 255).couples).toBe(2)
    expect(couple(large, 127).couples).toBe(2)
  })
})
