import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { int, string } from '../../src/ir/attribute.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { castArray } from '../../src/ops/constant.js'
import { numbers } from './call.js'
import { listOf, reference } from './reference.js'

function vector(...values: number[]): NDArray {
  return ndarray('int64', [values.length], values)
}

const permutations = fc.integer({ min: 1, max: 8 }).chain((count) => fc.shuffledSubarray([...Array(count).keys()], { minLength: count }))

describe('gather and scatter', () => {
  test('ScatterElements puts back what GatherElements took', () => {
    fc.assert(
      fc.property(permutations, (order) => {
        const array = numbers('float32', [order.length], order)
        const indices = vector(...order)
        const [taken] = reference('GatherElements', [array, indices])
        expect(
          reference('ScatterElements', [
            numbers(
              'float32',
              [order.length],
              order.map(() => 0),
            ),
            indices,
            taken,
          ])[0],
        ).toEqual(array)
      }),
    )
  })

  test('Gather along an axis is GatherND of the transpose', () => {
    const array = numbers('int32', [2, 3], [1, 2, 3, 4, 5, 6])
    const [columns] = reference('Gather', [array, vector(2, -3)], { axis: int(1) })
    expect(columns.shape).toEqual([2, 2])
    expect(listOf(columns)).toEqual([3, 1, 6, 4])
    const [turned] = reference('Transpose', [array])
    const [rows] = reference('GatherND', [turned, ndarray('int64', [2, 1], [2, 0])])
    expect(reference('Transpose', [rows])[0]).toEqual(columns)
  })

  test('GatherND within batches', () => {
    const array = numbers('int32', [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7])
    const [taken] = reference('GatherND', [array, ndarray('int64', [2, 1], [1, 0])], { batch_dims: int(1) })
    expect(taken.shape).toEqual([2, 2])
    expect(listOf(taken)).toEqual([2, 3, 4, 5])
  })

  test.each([
    ['add', 5 + 2 + 3],
    ['mul', 5 * 2 * 3],
    ['min', 2],
    ['max', 5],
    ['none', 3],
  ])('ScatterND with reduction %s', (reduction, expected) => {
    const updates = numbers('float32', [2], [2, 3])
    const indices = ndarray('int64', [2, 1], [0, 0])
    const [result] = reference('ScatterND', [numbers('float32', [2], [5, 9]), indices, updates], { reduction: string(reduction) })
    expect(listOf(result)).toEqual([expected, 9])
  })

  test('an index out of range is refused', () => {
    expect(() => reference('Gather', [numbers('int32', [2], [1, 2]), vector(2)])).toThrow(/index 2 is outside/)
  })

  test('TensorScatter writes behind each sample’s past', () => {
    const cache = numbers('float32', [2, 4, 1], [1, 0, 0, 0, 2, 2, 2, 0])
    const update = numbers('float32', [2, 2, 1], [7, 8, 7, 8])
    const circular = { mode: string('circular') }
    expect(listOf(reference('TensorScatter', [cache, update, vector(1, 3)], circular)[0])).toEqual([1, 7, 8, 0, 8, 2, 2, 7])
    expect(() => reference('TensorScatter', [cache, update, vector(1, 3)])).toThrow(/cache of length 4/)
  })

  test('OneHot and ArgMax undo each other', () => {
    const indices = vector(2, 0, -1)
    const [hot] = reference('OneHot', [indices, vector(4), numbers('float32', [2], [0, 1])])
    expect(listOf(reference('ArgMax', [hot], { axis: int(-1), keepdims: int(0) })[0])).toEqual([2, 0, 3])
  })

  test('Compress takes what NonZero finds', () => {
    const array = numbers('int32', [4], [5, 0, 6, 0])
    const flags = castArray(array, 'bool')
    const [found] = reference('NonZero', [array])
    expect(reference('Compress', [array, flags])[0].data).toEqual(reference('Gather', [array, vector(...listOf(found))])[0].data)
  })
})

describe('order', () => {
  test('TopK of everything sorts, and its indices say how', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 10 }), (values) => {
        const array = numbers('int32', [values.length], values)
        const [sorted, at] = reference('TopK', [array, vector(values.length)], {}, 2)
        expect(listOf(sorted)).toEqual([...values].sort((a, b) => b - a))
        expect(reference('Gather', [array, at])[0]).toEqual(sorted)
        const [least] = reference('TopK', [array, vector(1)], { largest: int(0) }, 2)
        expect(listOf(least)).toEqual(listOf(reference('ReduceMin', [array])[0]))
      }),
    )
  })

  test('Unique: gathering by the inverse gives the input again, and counts add up', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 10 }), fc.boolean(), (values, sorted) => {
        const array = numbers('int32', [values.length], values)
        const [unique, first, inverse, counts] = reference('Unique', [array], { sorted: int(Number(sorted)) }, 4)
        expect(reference('Gather', [unique, inverse])[0]).toEqual(array)
        expect(reference('Gather', [array, first])[0]).toEqual(unique)
        expect(listOf(counts).reduce((a, b) => a + b, 0)).toBe(values.length)
        expect(new Set(listOf(unique)).size).toBe(unique.shape[0])
      }),
    )
  })

  test('running sums end at the sum, from either side', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 8 }), (values) => {
        const array = numbers('int64', [values.length], values)
        const axis = ndarray('int32', [], [0])
        const forwards = listOf(reference('CumSum', [array, axis])[0])
        const backwards = listOf(reference('CumSum', [array, axis], { reverse: int(1), exclusive: int(1) })[0])
        forwards.forEach((sum, i) => void expect(sum + backwards[i]).toBe(forwards[forwards.length - 1]))
      }),
    )
  })

  test('the triangles beside a diagonal make up the matrix', () => {
    fc.assert(
      fc.property(fc.integer({ min: -4, max: 4 }), (k) => {
        const array = numbers(
          'int32',
          [3, 4],
          Array.from({ length: 12 }, (_, i) => i + 1),
        )
        const [upper] = reference('Trilu', [array, ndarray('int64', [], [k])])
        const [lower] = reference('Trilu', [array, ndarray('int64', [], [k - 1])], { upper: int(0) })
        expect(reference('Add', [upper, lower])[0]).toEqual(array)
      }),
    )
  })

  test('the determinant of a product is the product of the determinants', () => {
    const [a, b] = [numbers('float64', [2, 2], [0, 2, 3, 4]), numbers('float64', [2, 2], [1, 5, -2, 7])]
    const det = (x: NDArray) => listOf(reference('Det', [x])[0])[0]
    expect(det(a)).toBe(-6)
    expect(det(reference('MatMul', [a, b])[0])).toBeCloseTo(det(a) * det(b), 10)
  })
})

describe('conversions', () => {
  test('floats are truncated, integers wrap around, floats of any size are true unless zero', () => {
    expect(listOf(castArray(numbers('float32', [3], [1.9, -1.9, -0.5]), 'int32'))).toEqual([1, -1, 0])
    expect(listOf(castArray(numbers('int32', [2], [200, -129]), 'int8'))).toEqual([-56, 127])
    expect(listOf(castArray(numbers('float32', [3], [0.25, -0, Number.NaN]), 'bool'))).toEqual([1, 0, 1])
    expect(listOf(castArray(numbers('float32', [2], [9, -9]), 'int4'))).toEqual([-7, 7])
  })

  test('float16 rounds half to even and overflows to infinity', () => {
    expect(listOf(castArray(numbers('float32', [3], [2049, 2051, 1e6]), 'float16'))).toEqual([2048, 2052, Infinity])
  })

  test('text and back', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true }), { maxLength: 5 }), (values) => {
        const array = numbers('float32', [values.length], values)
        expect(listOf(castArray(castArray(array, 'string'), 'float32')).map((x) => x + 0)).toEqual(values.map((x) => x + 0))
      }),
    )
    expect(castArray(numbers('float32', [2], [0.1, -Infinity]), 'string').data).toEqual(['0.1', '-INF'])
  })

  test('infinities of float8e5m2 survive where saturation is switched off', () => {
    const [cast] = reference('Cast', [numbers('float32', [2], [1e9, -Infinity])], { to: int(19), saturate: int(0) })
    expect(listOf(cast)).toEqual([Infinity, -Infinity])
    expect(listOf(reference('Cast', [numbers('float32', [1], [1e9])], { to: int(19) })[0])).toEqual([57344])
  })

  test('BitCast keeps the bits', () => {
    expect(listOf(reference('BitCast', [numbers('float32', [1], [1])], { to: int(6) })[0])).toEqual([0x3f800000])
  })
})

describe('ranges', () => {
  test('Range counts as the standard says', () => {
    const range = (start: number, limit: number, delta: number) =>
      listOf(reference('Range', [numbers('float32', [], [start]), numbers('float32', [], [limit]), numbers('float32', [], [delta])])[0])
    expect(range(3, 9, 3)).toEqual([3, 6])
    expect(range(10, 4, -2)).toEqual([10, 8, 6])
    expect(range(0, -1, 1)).toEqual([])
  })

  test('EyeLike is what Trilu leaves of ones', () => {
    const [eye] = reference('EyeLike', [numbers('float32', [3, 4], Array(12).fill(0))], { k: int(1) })
    const [upper] = reference('Trilu', [numbers('float32', [3, 4], Array(12).fill(1)), ndarray('int64', [], [1])])
    const [both] = reference('Trilu', [upper, ndarray('int64', [], [1])], { upper: int(0) })
    expect(eye).toEqual(both)
  })
})
