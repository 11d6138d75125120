import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { describeDemo } from '../../src/cli/demo.js'
import type { DemoResult } from '../../src/commands/demo.js'
import { document, temporaryFolder } from '../cli/tinsmith.js'

const cache = temporaryFolder()
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(cache, { recursive: true })
})

describe('the demonstration', () => {
  let result: DemoResult
  beforeAll(async () => {
    vi.stubEnv('TINSMITH_CACHE', cache)
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    result = await document('demo')
  })

  it('compresses both models', () => {
    const made = result.models.map(({ model, forms }) => [model, ...forms.map(({ form }) => form)])
    expect(made).toEqual([
      ['wordnet-classifier', 'original', 'int8'],
      ['wordnet-language-model', 'original', 'int8', 'int4'],
    ])
    for (const { forms } of result.models) {
      const [original, ...smaller] = forms
      expect(original.seconds).toBeNull()
      for (const { bytes, seconds } of smaller) expect([bytes < 0.6 * original.bytes, seconds! > 0]).toEqual([true, true])
      for (const { rates } of forms) expect(Math.min(rates.ort, rates.compiled)).toBeGreaterThan(0)
    }
  })

  it('measures what the models are known to reach, before and after', () => {
    const [classifier, language] = result.models.map(({ forms }) => forms.map(({ quality }) => quality))
    const known = (model: string) => JSON.parse(fs.readFileSync(new URL(`../../assets/${model}/quality.json`, import.meta.url), 'utf8'))
    const [{ model, metric, samples }] = result.models
    expect([metric, samples]).toEqual(['accuracy', known(model).samples.count])
    expect(classifier[0]).toBeCloseTo(known(model).samples.accuracy, 0)
    expect(language[0]).toBeCloseTo(known('wordnet-language-model').samples.perplexity, 0)
    for (const accuracy of classifier) expect(accuracy).toBeGreaterThan(classifier[0] - 3)
    for (const perplexity of language) expect(perplexity).toBeLessThan(1.1 * language[0])
  })

  it('leaves nothing behind', () => {
    expect(fs.readdirSync(cache)).toEqual([])
  })

  it('says in words what it did, on 80 columns', () => {
    const text = describeDemo(result)
    for (const words of ['8-bit integers', '4-bit integers', 'right answers', 'perplexity', 'times smaller', 'not trained on'])
      expect(text).toContain(words)
    for (const { input, forms } of result.models) {
      expect(text).toContain(`"${input}"`)
      for (const { answer } of forms) expect(text).toContain(answer)
    }
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([])
  })
})
