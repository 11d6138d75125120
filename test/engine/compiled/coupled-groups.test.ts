import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { coupleGroups, groupListBytes } from '../../../src/engine/compiled/coupled-groups.js'

/** Weights [groups][columns][4 inputs], each group with codes of its own size. */
const matrices = fc
  .record({ columns: fc.integer({ min: 1, max: 16 }), sizes: fc.array(fc.nat(127), { minLength: 1, maxLength: 90 }) })
  .chain(({ columns, sizes }) =>
    fc.tuple(...sizes.map((most) => fc.array(fc.integer({ min: -most, max: most }), { minLength: 4 * columns, maxLength: 4 * columns }))),
  )

/** The number of couples, the order of groups, and the weights, as a panel has them. */
function coupled(weights: readonly (readonly number[])[], highest: number) {
  const listBytes = groupListBytes(weights.length)
  const panel = Uint8Array.of(...new Uint8Array(listBytes), ...weights.flat())
  coupleGroups(panel, weights.length, highest)
  const list = new DataView(panel.buffer)
  const groups = weights.map((_, i) => list.getUint16(4 + 2 * i, true) / 4)
  return { couples: list.getUint32(0, true), groups, weights: [...new Int8Array(panel.buffer, listBytes)] }
}

describe('groups of inputs', () => {
  it('are each taken once, and the pairs of couples fit in 16 bits with all codes', () =>
    fc.assert(
      fc.property(matrices, fc.constantFrom<127 | 255>(127, 255), (matrix, highest) => {
        const { couples, groups, weights } = coupled(matrix, highest)
        expect([...groups].sort((a, b) => a - b)).toEqual([...matrix.keys()])
        expect(weights).toEqual(groups.flatMap((group) => matrix[group]))
        for (let i = 0; i < couples; i++)
          for (let pair = 0; pair < matrix[0].length; pair += 2) {
            const products = [groups[2 * i], groups[2 * i + 1]].flatMap((group) =>
              [0, 1].map((input) => highest * matrix[group][pair + input]),
            )
            const sum = (sign: 1 | -1) => products.filter((product) => sign * product > 0).reduce((a, b) => a + b, 0)
            expect(sum(1)).toBeLessThanOrEqual(2 ** 15 - 1)
            expect(sum(-1)).toBeGreaterThanOrEqual(-(2 ** 15))
          }
      }),
    ))

  it('are alone where their products are too large, and coupled where one is small', () => {
    const large = [64, 64, 64, 64]
    const zeros = [0, 0, 0, 0]
    expect(coupled([large, large, large, large], 255).couples).toBe(0)
    expect(coupled([large, large, zeros, zeros], 255).couples).toBe(2)
    expect(coupled([large, large, large, large], 127).couples).toBe(2)
    expect(coupled([large, large, large, zeros, zeros], 255)).toMatchObject({ couples: 2, groups: [2, 3, 1, 4, 0] })
  })
})
