import { expect, test } from 'vitest'
import { formatHistory, parseHistory } from '../../src/train/history.js'

const steps = [1, 2, 3].map((step) => ({
  step,
  loss: 1 / step,
  gradientNorm: step,
  learningRate: 1e-3,
  seconds: 0.1 * step,
  copiedBytes: 8,
}))
const history = { steps, evaluations: [{ step: 2, metrics: { accuracy: 50 } }] }

test('a history is read as it was written, a line for each step', () => {
  const text = formatHistory(history)
  expect(
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).step),
  ).toEqual([1, 2, 3])
  expect(parseHistory(text)).toEqual(history)
  expect(parseHistory('')).toEqual({ steps: [], evaluations: [] })
})

test('without times, the same run gives the same text', () => {
  const slower = { ...history, steps: steps.map((step) => ({ ...step, seconds: 9, copiedBytes: 0 })) }
  expect(formatHistory(slower, { repeatable: true })).toBe(formatHistory(history, { repeatable: true }))
  expect(formatHistory(history, { repeatable: true })).toContain('"metrics":{"accuracy":50}')
})
