import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { int } from '../../src/ir/attribute.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { numbers } from './call.js'
import { listOf, reference } from './reference.js'

const matrices = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }))
  .chain(([rows, columns]) =>
    fc
      .array(fc.integer({ min: -50, max: 50 }), { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => ({ rows, columns, values })),
  )

function vector(...values: number[]): NDArray {
  return ndarray('int64', [values.length], values)
}

describe('sums', () => {
  test('columns first or rows first, the total is one', () => {
    fc.assert(
      fc.property(matrices, ({ rows, columns, values }) => {
        const array = numbers('int32', [rows, columns], values)
        const [total] = reference('ReduceSum', [array], { keepdims: int(0) })
        expect(total.shape).toEqual([])
        const [byRow] = reference('ReduceSum', [array, vector(-1)])
        expect(byRow.shape).toEqual([rows, 1])
        expect(reference('ReduceSum', [byRow, vector(0)], { keepdims: int(0) })[0].data).toEqual(total.data)
        expect(listOf(total)).toEqual([values.reduce((a, b) => a + b, 0)])
      }),
    )
  })

  test('L1, L2, squares, means and logarithms by their definitions', () => {
    fc.assert(
      fc.property(matrices, ({ rows, columns, values }) => {
        const array = numbers('float64', [rows, columns], values)
        const all = (operator: string, input = array) => listOf(reference(operator, [input], { keepdims: int(0) })[0])[0]
        expect(all('ReduceL2') ** 2).toBeCloseTo(all('ReduceSumSquare'), 6)
        expect(all('ReduceL1')).toBe(all('ReduceSum', reference('Abs', [array])[0]))
        expect(all('ReduceMean') * values.length).toBeCloseTo(all('ReduceSum'), 8)
        expect(all('ReduceLogSumExp')).toBeCloseTo(Math.log(values.reduce((sum, x) => sum + Math.exp(x - 50), 0)) + 50, 8)
      }),
    )
  })

  test('products of int8 wrap around', () => {
    expect(listOf(reference('ReduceProd', [numbers('int8', [3], [100, 2, 1])])[0])).toEqual([-56])
  })
})

describe('nothing to reduce', () => {
  test('empty axes mean all, unless told otherwise', () => {
    const array = numbers('float32', [2, 2], [1, 2, 3, 4])
    expect(listOf(reference('ReduceMax', [array, vector()])[0])).toEqual([4])
    expect(reference('ReduceMax', [array, vector()], { noop_with_empty_axes: int(1) })[0]).toEqual(array)
  })

  test('empty arrays give the neutral element', () => {
    const empty = (dtype: 'float32' | 'int8' | 'bool') => ({ dtype, shape: [0], data: numbers(dtype, [0], []).data })
    expect(listOf(reference('ReduceMax', [empty('float32')])[0])).toEqual([-Infinity])
    expect(listOf(reference('ReduceMin', [empty('int8')])[0])).toEqual([127])
    expect(listOf(reference('ReduceMax', [empty('bool')])[0])).toEqual([0])
    expect(listOf(reference('ReduceProd', [empty('float32')])[0])).toEqual([1])
  })
})

describe('positions', () => {
  test('ArgMax points at the maximum; the first or the last of equal ones', () => {
    fc.assert(
      fc.property(matrices, ({ rows, columns, values }) => {
        const array = numbers('int32', [rows, columns], values)
        const [at] = reference('ArgMax', [array], { axis: int(1) })
        expect(reference('GatherElements', [array, at], { axis: int(1) })[0]).toEqual(reference('ReduceMax', [array, vector(1)])[0])
      }),
    )
    const ties = numbers('int32', [4], [1, 3, 3, 2])
    expect(listOf(reference('ArgMax', [ties])[0])).toEqual([1])
    expect(listOf(reference('ArgMax', [ties], { select_last_index: int(1) })[0])).toEqual([2])
  })

  test('NaN wins in ReduceMax', () => {
    expect(listOf(reference('ReduceMax', [numbers('float32', [3], [1, Number.NaN, 3])])[0])).toEqual([Number.NaN])
  })
})
