import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { emptyHistogram, type Histogram, merge, observe, rescale, totalOf } from '../../src/numbers/histogram.js'
import { affineFromRange, fakeQuantize, integerGrid, symmetricFromMax, wholeTensor } from '../../src/numbers/quantizer.js'
import { rangeEntropy, rangeError, rangeMinMax, rangeMse, rangePercentile } from '../../src/numbers/ranges.js'

const numbers = fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1, maxLength: 50 })
const gather = (batches: readonly Float32Array[], bins = 64) => batches.reduce(observe, emptyHistogram(bins))

/** Every number must be counted in the bin it lies in. */
function checkCounts(histogram: Histogram, values: readonly number[]): void {
  const counts = new Float64Array(histogram.counts.length)
  for (const v of values) counts[Math.floor(v / histogram.width) - Math.round(histogram.start / histogram.width)]++
  expect(histogram.counts).toEqual(counts)
  expect(totalOf(histogram)).toBe(values.length)
  expect(Number.isInteger(Math.log2(histogram.width))).toBe(true)
}

describe('streaming', () => {
  test('counts stay exact while the range grows, in any order of batches', () => {
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 1, maxLength: 6 }), (batches) => {
        const all = batches.flatMap((batch) => [...batch])
        const histogram = gather(batches)
        checkCounts(histogram, all)
        expect(rangeMinMax(histogram).min).toBeCloseTo(Math.min(...all), 50)
        expect(rangeMinMax(histogram).max).toBeCloseTo(Math.max(...all), 50)
      }),
    )
  })

  test('merging is exact', () => {
    fc.assert(
      fc.property(fc.array(numbers, { maxLength: 3 }), fc.array(numbers, { maxLength: 3 }), (a, b) => {
        const merged = merge(gather(a), gather(b))
        if (a.length + b.length)
          checkCounts(
            merged,
            [...a, ...b].flatMap((batch) => [...batch]),
          )
        else expect(merged.width).toBe(0)
      }),
    )
    expect(() => merge(emptyHistogram(8), emptyHistogram(16))).toThrow(/8 and 16 bins/)
  })

  test('at least a third of the bins are in use', () => {
    for (let seed = 0; seed < 50; seed++) {
      const random = new Random(seed)
      const offset = random.normal()
      const { min, max, width } = gather([Float32Array.from({ length: 1000 }, () => offset + random.normal())])
      expect((max - min) / width).toBeGreaterThan(64 / 3)
    }
  })

  test('numbers all alike, then others', () => {
    const histogram = gather([new Float32Array(10).fill(3), Float32Array.of(-2, 5)])
    checkCounts(histogram, [...new Array<number>(10).fill(3), -2, 5])
    checkCounts(gather([new Float32Array(4)]), [0, 0, 0, 0])
  })

  test('rescale makes room and counts nothing', () => {
    const histogram = rescale(gather([Float32Array.of(1, 2)]), { min: -10, max: 10 })
    expect(totalOf(histogram)).toBe(2)
    expect(rangeMinMax(histogram)).toEqual({ min: -10, max: 10 })
  })

  test('refuses what is not finite, and empty histograms have no range', () => {
    expect(() => gather([Float32Array.of(1, Number.NaN)])).toThrow(/observed number 1 is not finite/)
    expect(() => gather([Float32Array.of(Number.NEGATIVE_INFINITY)])).toThrow(/not finite/)
    for (const range of [rangeMinMax, (h: Histogram) => rangePercentile(h, 99), (h: Histogram) => rangeMse(h, integerGrid('int8'))])
      expect(() => range(emptyHistogram())).toThrow(/has seen no numbers/)
  })
})

describe('ranges', () => {
  const normals = new Random(1).normals(100_000)
  const withOutlier = Float32Array.from(normals)
  withOutlier[7] = 60
  const positive = normals.map(Math.abs)

  test('percentile: the quantiles of a uniform and a normal distribution', () => {
    const uniform = gather([Float32Array.from({ length: 10_001 }, (_, i) => i / 10_000)], 4096)
    const { min, max } = rangePercentile(uniform, 90)
    expect(min).toBeCloseTo(0.05, 3)
    expect(max).toBeCloseTo(0.95, 3)
    expect(rangePercentile(uniform, 100)).toEqual({ min: 0, max: 1 })
    expect(rangePercentile(gather([normals], 4096), 95).max).toBeCloseTo(1.96, 1)
    expect(() => rangePercentile(uniform, 0)).toThrow(/percentage/)
  })

  test('mse: never worse than the whole range, and far better with an outlier at few bits', () => {
    for (const dtype of ['uint4', 'int4', 'uint8', 'int8'] as const)
      for (const symmetric of [false, true])
        for (const values of [normals, withOutlier, positive]) {
          const grid = integerGrid(dtype)
          const histogram = gather([values], 4096)
          const found = rangeError(histogram, rangeMse(histogram, grid, { symmetric }), grid, { symmetric })
          expect(found).toBeLessThanOrEqual(rangeError(histogram, rangeMinMax(histogram), grid, { symmetric }))
          if (values === withOutlier && dtype.endsWith('4'))
            expect(found).toBeLessThan(0.3 * rangeError(histogram, rangeMinMax(histogram), grid, { symmetric }))
        }
  })

  test("mse: the histogram's error is near that of the numbers", () => {
    const grid = integerGrid('uint8')
    const histogram = gather([normals], 4096)
    const { min, max } = rangeMse(histogram, grid)
    const back = fakeQuantize(normals, wholeTensor(affineFromRange(min, max, grid)), grid)
    const error = normals.reduce((sum, x, i) => sum + (x - back[i]) ** 2, 0) / normals.length
    expect(error / rangeError(histogram, { min, max }, grid)).toBeGreaterThan(0.97)
    expect(error / rangeError(histogram, { min, max }, grid)).toBeLessThan(1.03)
  })

  test('mse: 4 bits of normal numbers clip near 2.7 standard deviations', () => {
    const { max } = rangeMse(gather([normals], 4096), integerGrid('int4', { symmetric: true }), { symmetric: true })
    expect(symmetricFromMax(max, integerGrid('int4', { symmetric: true })).scale * 7).toBeGreaterThan(2.3)
    expect(max).toBeLessThan(2.8)
  })

  test('ranges of one side stay there', () => {
    const histogram = gather([positive], 4096)
    expect(rangeMse(histogram, integerGrid('uint8')).min).toBe(0)
    expect(rangeEntropy(histogram, integerGrid('uint8')).min).toBe(0)
  })

  test('entropy: cuts a long thin tail, keeps a uniform distribution', () => {
    const cut = rangeEntropy(gather([withOutlier], 4096), integerGrid('int8'), { symmetric: true })
    expect(cut.max).toBeLessThan(30)
    expect(cut.min).toBe(-cut.max)
    const uniform = gather([Float32Array.from({ length: 100_000 }, (_, i) => i / 50_000 - 1)], 4096)
    expect(rangeEntropy(uniform, integerGrid('uint8')).max).toBeGreaterThan(0.95)
  })
})
