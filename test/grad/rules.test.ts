import { describe, expect, test } from 'vitest'
import { nothingFlows } from '../../src/ops/gradients/rule.js'
import { operators } from '../../src/ops/index.js'
import { attentionCases, microsoftCases } from './cases/attention.js'
import { elementwiseCases } from './cases/elementwise.js'
import { layerCases } from './cases/layers.js'
import { closedForms } from './cases/quantization.js'
import { shapeCases } from './cases/shape.js'
import { deviation } from './differences.js'

const cases = { ...elementwiseCases, ...shapeCases, ...layerCases, ...attentionCases, ...microsoftCases }

describe('gradient rules agree with central differences', () => {
  test.each(Object.entries(cases))('%s', async (_, spec) => {
    expect(await deviation(spec)).toBeLessThan(spec.tolerance ?? 1e-7)
  })
  const twice = Object.entries(cases).filter(([, spec]) => !spec.first)
  test.each(twice)('second derivative: %s', async (_, spec) => {
    expect(await deviation(spec, 2)).toBeLessThan(spec.tolerance ?? 1e-6)
  })
})

test('every operator that passes gradients on has a case', () => {
  const tested = new Set([...Object.keys(cases), ...Object.keys(closedForms)].map((name) => name.split(' ')[0]))
  const passing = operators.filter(({ gradient }) => gradient !== nothingFlows && !('impossible' in gradient))
  const names = passing.map(({ domain, name }) => (domain ? `${domain}.${name}` : name))
  expect(names.filter((name) => !tested.has(name))).toEqual([])
})
