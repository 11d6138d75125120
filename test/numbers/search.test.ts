import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  dequantize,
  fakeQuantize,
  type IntegerGrid,
  integerGrid,
  type Layout,
  minMaxParameters,
  quantize,
} from '../../src/numbers/quantizer.js'
import { searchAffine, searchSymmetric } from '../../src/numbers/search.js'

const grids = [
  integerGrid('int2'),
  integerGrid('uint4', { bits: 3 }),
  integerGrid('int4'),
  integerGrid('uint4'),
  integerGrid('int8', { bits: 7 }),
  integerGrid('int8', { symmetric: true }),
]
const layouts: Layout[] = [
  { shape: [6, 40] },
  { shape: [6, 40], axis: 0 },
  { shape: [6, 40], axis: 1 },
  { shape: [6, 40], axis: 1, blockSize: 16 },
  { shape: [40, 6], axis: 0, blockSize: 32 },
]

function squaredError(x: Float32Array, y: Float32Array, weight: (i: number) => number = () => 1): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += weight(i) * (x[i] - y[i]) ** 2
  return sum
}

const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0)
/** Normal numbers, some of them outliers, off centre. */
function sample(seed: number, count = 240): Float32Array {
  const random = new Random(seed)
  return Float32Array.from({ length: count }, () => random.normal() * (random.uniform() < 0.02 ? 8 : 1) + 0.3)
}

describe.each(layouts)('search over %o', (layout) => {
  test.each(grids)('is never worse than min-max on %o, and its error is that of fakeQuantize', (grid) => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const x = sample(seed)
        const checks = [
          [searchSymmetric(x, layout, grid), minMaxParameters(x, layout, grid)],
          [searchSymmetric(x, layout, grid, { negativeScale: true }), minMaxParameters(x, layout, grid)],
          [searchAffine(x, layout, grid), minMaxParameters(x, layout, grid, { symmetric: false })],
          [
            searchAffine(x, layout, grid, { floatZeroPoint: true }),
            minMaxParameters(x, layout, grid, { symmetric: false, floatZeroPoint: true }),
          ],
        ] as const
        for (const [found, plain] of checks) {
          const error = squaredError(x, fakeQuantize(x, found, grid, layout))
          expect(error).toBeCloseTo(sum(found.error), 6)
          expect(error).toBeLessThanOrEqual(squaredError(x, fakeQuantize(x, plain, grid, layout)) * (1 + 1e-12))
        }
      }),
      { numRuns: 8 },
    )
  })
})

test('gains where it should: 4 bits per channel of normal numbers', () => {
  const x = new Random(5).normals(4 * 768)
  const layout = { shape: [4, 768], axis: 0 }
  const grid = integerGrid('int4')
  const plain = squaredError(x, fakeQuantize(x, minMaxParameters(x, layout, grid), grid, layout))
  const found = sum(searchSymmetric(x, layout, grid).error)
  expect(found / plain).toBeLessThan(0.8)
  // The best uniform 16-level quantizer of normal numbers leaves 0.01154 (Max, 1960).
  expect(found / x.length).toBeGreaterThan(0.0095)
  expect(found / x.length).toBeLessThan(0.0125)
})

test('close to the best scale that a dense scan finds', () => {
  const grid = integerGrid('int4')
  for (let seed = 0; seed < 20; seed++) {
    const x = sample(seed, 64)
    let best = Number.POSITIVE_INFINITY
    for (let scale = 0.005; scale < 1.5; scale += 0.0005)
      best = Math.min(best, squaredError(x, fakeQuantize(x, { scale: Float32Array.of(scale), zeroPoint: Int32Array.of(0) }, grid)))
    expect(sum(searchSymmetric(x, { shape: [64] }, grid).error)).toBeLessThan(best * 1.05)
  }
})

describe('least squares', () => {
  const perturb = (value: number, by: number) => Math.fround(value * (1 + by))

  test('no nearby scale fits the same codes better', () => {
    const grid = integerGrid('int4')
    for (let seed = 0; seed < 10; seed++) {
      const x = sample(seed)
      const found = searchSymmetric(x, { shape: [240] }, grid)
      const codes = quantize(x, found, grid)
      for (const by of [-0.01, -0.003, 0.003, 0.01]) {
        const scale = Float32Array.of(perturb(found.scale[0], by))
        expect(squaredError(x, dequantize(codes, { ...found, scale }))).toBeGreaterThan(found.error[0])
      }
    }
  })

  test('nor any nearby scale and real zero point', () => {
    const grid = integerGrid('uint4')
    for (let seed = 0; seed < 10; seed++) {
      const x = sample(seed)
      const found = searchAffine(x, { shape: [240] }, grid, { floatZeroPoint: true })
      const codes = quantize(x, found, grid)
      for (const by of [-0.01, 0, 0.01])
        for (const shift of [-0.05, 0, 0.05]) {
          if (!by && !shift) continue
          const scale = Float32Array.of(perturb(found.scale[0], by))
          const zeroPoint = Float32Array.of(found.zeroPoint[0] + shift)
          expect(squaredError(x, dequantize(codes, { scale, zeroPoint }))).toBeGreaterThan(found.error[0])
        }
    }
  })
})

describe('numbers that lie on a grid are found again without error', () => {
  const onGrid = (grid: IntegerGrid, scale: number, zeroPoint: number, seed: number) => {
    const random = new Random(seed)
    // As their quantizers leave them: both ends are in use.
    const codes = Array.from({ length: 32 }, (_, i) => [grid.min, grid.max][i] ?? grid.min + random.integer(grid.max - grid.min + 1))
    return Float32Array.from(codes, (code) => Math.fround(code - zeroPoint) * Math.fround(scale))
  }

  test('symmetric 4 bits, with the extra code on either side', () => {
    const grid = integerGrid('int4')
    for (let seed = 0; seed < 30; seed++)
      for (const sign of [1, -1]) {
        const x = onGrid(grid, sign * 0.173, 0, seed)
        const found = searchSymmetric(x, { shape: [32] }, grid, { negativeScale: true })
        expect(found.error[0]).toBeLessThan(1e-11)
      }
  })

  test('scale and real minimum in blocks of 32, as in Q4_1', () => {
    const grid = integerGrid('uint4')
    for (let seed = 0; seed < 30; seed++) {
      const x = onGrid(grid, 0.0731, 5.37, seed)
      expect(searchAffine(x, { shape: [32] }, grid, { floatZeroPoint: true }).error[0]).toBeLessThan(1e-10)
    }
  })
})

describe('importance', () => {
  test('weighs the input dimension, whichever it is', () => {
    const x = sample(3)
    const values = Float32Array.from({ length: 40 }, (_, k) => (k % 10 === 0 ? 100 : 0.1))
    const grid = integerGrid('int4')
    const rows: Layout = { shape: [6, 40], axis: 0 }
    const found = searchSymmetric(x, rows, grid, { importance: { axis: 1, values } })
    const weighted = (p: Parameters<typeof fakeQuantize>[1]) => squaredError(x, fakeQuantize(x, p, grid, rows), (i) => values[i % 40])
    expect(weighted(found)).toBeCloseTo(sum(found.error), 6)
    expect(weighted(found)).toBeLessThan(weighted(searchSymmetric(x, rows, grid)))
    // The same weight, transposed.
    const transposed = new Float32Array(240)
    for (let n = 0; n < 6; n++) for (let k = 0; k < 40; k++) transposed[k * 6 + n] = x[n * 40 + k]
    const columns = searchSymmetric(transposed, { shape: [40, 6], axis: 1 }, grid, { importance: { axis: 0, values } })
    expect(columns.scale).toEqual(found.scale)
    const blocks = searchAffine(x, { shape: [6, 40], axis: 1, blockSize: 16 }, integerGrid('uint4'), { importance: { axis: -1, values } })
    const transposedBlocks = searchAffine(transposed, { shape: [40, 6], axis: 0, blockSize: 16 }, integerGrid('uint4'), {
      importance: { axis: 0, values },
    })
    for (let n = 0; n < 6; n++) for (let b = 0; b < 3; b++) expect(transposedBlocks.scale[b * 6 + n]).toBe(blocks.scale[n * 3 + b])
  })

  test('refuses weights that do not fit', () => {
    const grid = integerGrid('int4')
    expect(() => searchSymmetric(new Float32Array(4), { shape: [2, 2] }, grid, { importance: { axis: 1, values: [1] } })).toThrow(
      /1 importance weights/,
    )
    expect(() => searchSymmetric(new Float32Array(2), { shape: [2] }, grid, { importance: { axis: 0, values: [1, -1] } })).toThrow(
      /weight 1 is -1/,
    )
  })
})

test('zeros, one number, and all weights 0', () => {
  const grid = integerGrid('uint4')
  for (const x of [new Float32Array(32), new Float32Array(32).fill(-2.5), new Float32Array(32).fill(3)])
    for (const floatZeroPoint of [true, false]) {
      const found = searchAffine(x, { shape: [32] }, grid, { floatZeroPoint })
      expect(found.error[0]).toBeLessThan(1e-10)
      expect(searchSymmetric(x, { shape: [32] }, grid).error[0]).toBeLessThan(1e-10)
    }
  const found = searchAffine(sample(1, 32), { shape: [32] }, grid, { importance: { axis: 0, values: new Float32Array(32) } })
  expect(Number.isFinite(found.scale[0])).toBe(true)
  expect(() => searchSymmetric(Float32Array.of(Number.NaN), { shape: [1] }, grid)).toThrow(/no finite number/)
})
