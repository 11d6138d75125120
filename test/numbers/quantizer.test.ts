import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  affineFromRange,
  affineFromRangeFloat,
  type CodeDType,
  dequantize,
  fakeQuantize,
  groupAt,
  groupCount,
  groupRanges,
  integerGrid,
  type Layout,
  minMaxParameters,
  quantize,
  quantizeBias,
  scaleShape,
  symmetricFromMax,
  walk,
  wholeTensor,
} from '../../src/numbers/quantizer.js'
import { roundHalfEven } from '../../src/numbers/rounding.js'

const grids = (['int2', 'uint2', 'int4', 'uint4', 'int8', 'uint8', 'int16', 'uint16'] as CodeDType[]).map((dtype) => integerGrid(dtype))
// Scales of subnormal numbers have few bits left, so those are left out.
const finite = (limit = 1e6) => fc.float({ noNaN: true, min: -limit, max: limit }).map((x) => (Math.abs(x) < 1e-30 ? 0 : x))
const layouts = fc
  .record({
    shape: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
    axis: fc.option(fc.nat(3), { nil: undefined }),
    blockSize: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
  })
  .map(({ shape, axis, blockSize }): Layout => (axis === undefined ? { shape } : { shape, axis: axis % shape.length, blockSize }))

/** The group of an element by its coordinates: the plain meaning of axis and block_size. */
function groupOf(index: number, { shape, axis, blockSize }: Layout): number {
  if (axis === undefined) return 0
  const coordinates: number[] = []
  for (let rest = index, d = shape.length - 1; d >= 0; d--) {
    coordinates[d] = rest % shape[d]
    rest = Math.floor(rest / shape[d])
  }
  if (!blockSize) return coordinates[axis]
  return shape.reduce(
    (sum, dim, d) => (d === axis ? sum * Math.ceil(dim / blockSize) + Math.floor(coordinates[d] / blockSize) : sum * dim + coordinates[d]),
    0,
  )
}

describe('grids', () => {
  test('whole, reduced and symmetric', () => {
    expect(integerGrid('int8')).toEqual({ dtype: 'int8', min: -128, max: 127 })
    expect(integerGrid('int8', { bits: 7 })).toEqual({ dtype: 'int8', min: -64, max: 63 })
    expect(integerGrid('int8', { symmetric: true })).toEqual({ dtype: 'int8', min: -127, max: 127 })
    expect(integerGrid('uint4', { bits: 3 })).toEqual({ dtype: 'uint4', min: 0, max: 7 })
    expect(() => integerGrid('int4', { bits: 5 })).toThrow(/5 bits does not fit in int4/)
  })
})

describe('scale and zero point', () => {
  test('closed forms', () => {
    expect(affineFromRange(-1, 1.55, integerGrid('uint8'))).toEqual({ scale: Math.fround(0.01), zeroPoint: 100 })
    expect(affineFromRange(1, 2, integerGrid('uint8'))).toEqual({ scale: Math.fround(2 / 255), zeroPoint: 0 })
    expect(affineFromRange(-2, -1, integerGrid('int8'))).toEqual({ scale: Math.fround(2 / 255), zeroPoint: 127 })
    expect(affineFromRange(0, 0, integerGrid('uint8'))).toEqual({ scale: 1, zeroPoint: 0 })
    expect(symmetricFromMax(12.7, integerGrid('int8'))).toEqual({ scale: Math.fround(0.1), zeroPoint: 0 })
    expect(symmetricFromMax(7, integerGrid('uint4'))).toEqual({ scale: 1, zeroPoint: 8 })
    expect(symmetricFromMax(0, integerGrid('int8'))).toEqual({ scale: 1, zeroPoint: 0 })
    expect(affineFromRangeFloat(2, 3.5, integerGrid('uint4')).scale).toBe(Math.fround(0.1))
  })

  test('refuses ranges that are not finite', () => {
    expect(() => affineFromRange(0, Number.POSITIVE_INFINITY, integerGrid('int8'))).toThrow(/not finite/)
    expect(() => affineFromRange(-3.4e38, 3.4e38, integerGrid('int8'))).toThrow(/not finite/)
    expect(() => affineFromRange(Number.NaN, 1, integerGrid('int8'))).toThrow(/not finite/)
    expect(() => symmetricFromMax(Number.NaN, integerGrid('int8'))).toThrow(/not finite/)
  })

  test('zero has a code of its own, and the ends keep within half a step', () => {
    fc.assert(
      fc.property(finite(), finite(), fc.constantFrom(...grids), (a, b, grid) => {
        const [min, max] = [Math.min(a, b), Math.max(a, b)]
        const parameters = affineFromRange(min, max, grid)
        expect(parameters.zeroPoint).toBeGreaterThanOrEqual(grid.min)
        expect(parameters.zeroPoint).toBeLessThanOrEqual(grid.max)
        const [zero, low, high] = fakeQuantize(Float32Array.of(0, min, max), wholeTensor(parameters), grid)
        expect(zero).toBe(0)
        const slack = parameters.scale * 0.5 + Math.max(-min, max) * 1e-6
        expect(Math.abs(low - min)).toBeLessThanOrEqual(slack)
        expect(Math.abs(high - max)).toBeLessThanOrEqual(slack)
      }),
    )
  })

  test('a real zero point reaches both ends', () => {
    fc.assert(
      fc.property(finite(100), finite(100), fc.constantFrom(...grids), (a, b, grid) => {
        const x = Float32Array.of(Math.min(a, b), Math.max(a, b))
        const { scale, zeroPoint } = affineFromRangeFloat(x[0], x[1], grid)
        if (Math.abs(zeroPoint) > 2 ** 12) return
        const back = fakeQuantize(x, { scale: Float32Array.of(scale), zeroPoint: Float32Array.of(zeroPoint) }, grid)
        for (const i of [0, 1]) expect(Math.abs(back[i] - x[i])).toBeLessThanOrEqual(scale * 2 ** 12 * 1e-6 + 1e-5 * Math.abs(x[i]))
      }),
    )
  })
})

describe('layouts', () => {
  test('walk visits every element once, with its group', () => {
    fc.assert(
      fc.property(layouts, (layout) => {
        let next = 0
        walk(layout, (start, end, group, step) => {
          expect(start).toBe(next)
          for (let i = start; i < end; i++, group += step) expect(group).toBe(groupOf(i, layout))
          next = end
        })
        expect(next).toBe(layout.shape.reduce((a, b) => a * b, 1))
      }),
    )
  })

  test('groupAt finds the elements of a group, in order', () => {
    fc.assert(
      fc.property(layouts, (layout) => {
        const size = layout.shape.reduce((a, b) => a * b, 1)
        const groups = groupCount(layout)
        expect(scaleShape(layout).reduce((a, b) => a * b, 1)).toBe(groups)
        for (let group = 0; group < groups; group++) {
          const { start, count, stride, length } = groupAt(layout, group)
          const found: number[] = []
          for (let run = 0; run < count; run++) for (let i = 0; i < length; i++) found.push(start + run * stride + i)
          expect(found).toEqual(Array.from({ length: size }, (_, i) => i).filter((i) => groupOf(i, layout) === group))
        }
      }),
    )
  })

  test('ranges by group, NaN refused', () => {
    const { min, max } = groupRanges(Float32Array.of(1, -2, 3, 4), { shape: [2, 2], axis: -2 })
    expect([...min, ...max]).toEqual([-2, 3, 1, 4])
    expect(() => groupRanges(Float32Array.of(1, Number.NaN), { shape: [2] })).toThrow(/element 1 is no finite number/)
    expect(() => groupRanges(Float32Array.of(1, Number.NEGATIVE_INFINITY), { shape: [2] })).toThrow(/element 1/)
    expect(() => groupRanges(Float32Array.of(1), { shape: [2] })).toThrow(/do not fill/)
    expect(() => groupCount({ shape: [2], axis: 1 })).toThrow(/axis 1 does not exist/)
  })
})

describe('quantize', () => {
  test('is clamp(roundHalfEven(x / scale) + zeroPoint), element by element', () => {
    fc.assert(
      fc.property(layouts, fc.constantFrom(...grids), fc.boolean(), fc.nat(), (layout, grid, symmetric, seed) => {
        const size = layout.shape.reduce((a, b) => a * b, 1)
        const x = new Random(seed).normals(size)
        // Half of the range, so that some are clipped.
        const whole = minMaxParameters(x, layout, grid, { symmetric })
        const parameters = { ...whole, scale: whole.scale.map((s) => s / 2) }
        const codes = quantize(x, parameters, grid, layout)
        const back = dequantize(codes, parameters, layout)
        for (let i = 0; i < size; i++) {
          const group = groupOf(i, layout)
          const q = roundHalfEven(Math.fround(x[i] / parameters.scale[group])) + parameters.zeroPoint[group]
          expect(codes[i]).toBe(Math.min(Math.max(q, grid.min), grid.max) + 0)
          expect(back[i]).toBe(Math.fround((codes[i] - parameters.zeroPoint[group]) * parameters.scale[group]))
        }
        expect(fakeQuantize(x, parameters, grid, layout)).toEqual(back)
      }),
    )
  })

  test('ties go to even before the zero point is added', () => {
    const x = Float32Array.of(0.5, 1.5, 2.5, -0.5, -1.5)
    expect([...quantize(x, wholeTensor({ scale: 1, zeroPoint: 3 }), integerGrid('uint8'))]).toEqual([3, 5, 5, 3, 1])
    expect([...quantize(x, wholeTensor({ scale: 1, zeroPoint: 0 }), integerGrid('int8'))]).toEqual([0, 2, 2, 0, -2])
  })

  test('a real zero point is added before rounding', () => {
    const parameters = { scale: Float32Array.of(2), zeroPoint: Float32Array.of(0.25) }
    expect([...quantize(Float32Array.of(0, 1, 2, 100, -9), parameters, integerGrid('uint4'))]).toEqual([0, 1, 1, 15, 0])
    expect([...dequantize(Uint8Array.of(0, 1), parameters)]).toEqual([-0.5, 1.5])
  })

  test('the error is at most half a step inside the range', () => {
    fc.assert(
      fc.property(
        layouts,
        fc.constantFrom(...grids),
        fc.boolean(),
        fc.boolean(),
        fc.nat(),
        (layout, grid, symmetric, floatZeroPoint, seed) => {
          const size = layout.shape.reduce((a, b) => a * b, 1)
          const x = new Random(seed).normals(size)
          const parameters = minMaxParameters(x, layout, grid, { symmetric, floatZeroPoint })
          const back = fakeQuantize(x, parameters, grid, layout)
          for (let i = 0; i < size; i++) {
            const scale = parameters.scale[groupOf(i, layout)]
            // Both ends of a range whose zero point was rounded may lie half a step beyond the grid, besides rounding errors.
            expect(Math.abs(back[i] - x[i])).toBeLessThanOrEqual(scale * 0.5 * (1 + 1e-4) + 1e-5)
          }
        },
      ),
    )
  })

  test('numbers on the grid survive', () => {
    for (const grid of grids.filter(({ dtype }) => !dtype.includes('16'))) {
      const zeroPoint = grid.min + 1
      const parameters = wholeTensor({ scale: Math.fround(0.037), zeroPoint })
      const codes = Int32Array.from({ length: grid.max - grid.min + 1 }, (_, i) => grid.min + i)
      const x = Float32Array.from(codes, (code) => (code - zeroPoint) * Math.fround(0.037))
      expect([...quantize(x, parameters, grid)]).toEqual([...codes])
    }
  })

  test('refuses parameters that do not fit', () => {
    const one = wholeTensor({ scale: 1, zeroPoint: 0 })
    expect(() => quantize(new Float32Array(4), one, integerGrid('int8'), { shape: [2, 2], axis: 0 })).toThrow(/2 groups need as many/)
  })
})

test('quantizeBias', () => {
  expect([...quantizeBias(Float32Array.of(1, -3), 0.5, Float32Array.of(0.25, 0.5))]).toEqual([8, -12])
  expect([...quantizeBias(Float32Array.of(1e30, -1e30), 0.5, Float32Array.of(0.25))]).toEqual([2 ** 31 - 1, -(2 ** 31)])
  expect(() => quantizeBias(new Float32Array(3), 1, new Float32Array(2))).toThrow(/2 weight scales/)
})
