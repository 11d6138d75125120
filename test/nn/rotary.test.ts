import { describe, expect, it } from 'vitest'
import { Net } from '../../src/nn/net.js'
import { type RopeScaling, rotaryFrequencies, rotaryTables } from '../../src/nn/rotary.js'

const scaling = (values: Partial<RopeScaling>): RopeScaling => ({
  type: 'default',
  factor: 1,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalPositions: 8192,
  betaFast: 32,
  betaSlow: 1,
  attentionFactor: undefined,
  ...values,
})

/** Wave numbers in double precision: theta^(-2i/d). */
const plain = (size: number, theta: number) => Array.from({ length: size / 2 }, (_, i) => Math.exp((-2 * i * Math.log(theta)) / size))

function expectClose(got: Float32Array, expected: readonly number[]) {
  expect(got).toHaveLength(expected.length)
  expected.forEach((f, i) => void expect(Math.abs(got[i] - f) / f).toBeLessThan(1e-6))
}

describe('rotary frequencies', () => {
  it.each([
    [8, 10000],
    [64, 500000],
    [128, 1e6],
    [6, 100],
  ])('head of %i, theta %i', (size, theta) => {
    expectClose(rotaryFrequencies(size, theta, null).frequencies, plain(size, theta))
    expectClose(rotaryFrequencies(size, theta, scaling({ factor: 8 })).frequencies, plain(size, theta))
  })

  it('linear: all positions divided by the factor', () => {
    const { frequencies, attention } = rotaryFrequencies(32, 10000, scaling({ type: 'linear', factor: 4 }))
    expectClose(
      frequencies,
      plain(32, 10000).map((f) => f / 4),
    )
    expect(attention).toBe(1)
  })

  it('llama3: by the number of turns within the original length', () => {
    const [factor, low, high, positions] = [8, 1, 4, 8192]
    const { frequencies, attention } = rotaryFrequencies(
      128,
      500000,
      scaling({ type: 'llama3', factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions: positions }),
    )
    const expected = plain(128, 500000).map((f) => {
      const turns = (positions * f) / (2 * Math.PI)
      // 1 from `high` turns on, 0 up to `low`, a straight line between.
      const kept = Math.min(Math.max((turns - low) / (high - low), 0), 1)
      return kept * f + ((1 - kept) * f) / factor
    })
    expectClose(frequencies, expected)
    expect(attention).toBe(1)
    const original = plain(128, 500000)
    expect(frequencies[0]).toBeCloseTo(original[0], 6)
    expect(frequencies.at(-1)! / (original.at(-1)! / factor)).toBeCloseTo(1, 5)
  })

  it('yarn: by parts, with a warmer softmax', () => {
    const [size, theta, factor, positions, fast, slow] = [64, 10000, 16, 4096, 32, 1]
    const { frequencies, attention } = rotaryFrequencies(
      size,
      theta,
      scaling({ type: 'yarn', factor, originalPositions: positions, betaFast: fast, betaSlow: slow }),
    )
    // The pair that turns r times within the original length: theta^(2i/d) = L / (2 pi r).
    const pairWithTurns = (turns: number) => (size / 2) * (Math.log(positions / (2 * Math.PI * turns)) / Math.log(theta))
    const [first, last] = [Math.floor(pairWithTurns(fast)), Math.ceil(pairWithTurns(slow))]
    expect([first, last]).toEqual([10, 23])
    const expected = plain(size, theta).map((f, i) => {
      const stretched = Math.min(Math.max((i - first) / (last - first), 0), 1)
      return (f / factor) * stretched + f * (1 - stretched)
    })
    expectClose(frequencies, expected)
    expect(attention).toBeCloseTo(1 + Math.log(factor) / 10, 12)
    expect(rotaryFrequencies(size, theta, scaling({ type: 'yarn', factor, attentionFactor: 1.25 })).attention).toBe(1.25)
    expect(rotaryFrequencies(size, theta, scaling({ type: 'yarn', factor: 1 })).attention).toBe(1)
    expect(rotaryFrequencies(size, theta, scaling({ type: 'yarn', factor: 0.5 })).attention).toBe(1)
  })

  it('an unknown scaling is named', () => {
    expect(() => rotaryFrequencies(8, 10000, scaling({ type: 'longrope' }))).toThrow(/longrope/)
  })

  it('tables are cosines and sines of position times frequency, shared', async () => {
    const net = new Net()
    const [cos, sin] = rotaryTables(net, 50, 8, 10000, scaling({ type: 'yarn', factor: 4, originalPositions: 16 }))
    const { frequencies, attention } = rotaryFrequencies(8, 10000, scaling({ type: 'yarn', factor: 4, originalPositions: 16 }))
    expect([cos.shape, sin.shape]).toEqual([
      [50, 4],
      [50, 4],
    ])
    const [c, s] = [await cos.tensor!.read(), await sin.tensor!.read()]
    for (let p = 0; p < 50; p++)
      for (let i = 0; i < 4; i++) {
        expect(Number(c[p * 4 + i])).toBeCloseTo(attention * Math.cos(p * frequencies[i]), 5)
        expect(Number(s[p * 4 + i])).toBeCloseTo(attention * Math.sin(p * frequencies[i]), 5)
      }
    expect(rotaryTables(net, 50, 8, 10000, null)[0]).toBe(cos)
  })
})
