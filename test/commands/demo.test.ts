import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { describeDemo } from '../../src/cli/demo.js'
import { type DemoResult, demo } from '../../src/commands/demo.js'

const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-demo-'))
beforeAll(() => void vi.stubEnv('TINSMITH_CACHE', cache))
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(cache, { recursive: true })
})

describe('the demonstration', () => {
  let result: DemoResult
  beforeAll(async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    result = await demo()
  })

  it('compresses both models into 8 and 4 bits', () => {
    expect(result.models.map(({ model }) => model)).toEqual(['wordnet-classifier', 'wordnet-language-model'])
    for (const { forms } of result.models) {
      expect(forms.map(({ form }) => form)).toEqual(['original', 'int8', 'int4'])
      const [original, int8, int4] = forms
      for (const { bytes } of [int8, int4]) expect(bytes).toBeLessThan(0.6 * original.bytes)
      for (const { rate } of forms) expect(rate).toBeGreaterThan(0)
      expect([original.seconds === null, int8.seconds! > 0, int4.seconds! > 0]).toEqual([true, true, true])
    }
  })

  it('keeps the quality, and would show it if it did not', () => {
    const [classifier, language] = result.models.map(({ forms }) => forms.map(({ quality }) => quality))
    for (const accuracy of classifier.slice(1)) expect(accuracy).toBeGreaterThan(classifier[0] - 4)
    for (const perplexity of language.slice(1)) expect(perplexity).toBeLessThan(1.2 * language[0])
    expect(classifier[0]).toBeGreaterThan(100 / 45)
  })

  it('leaves nothing behind', () => {
    expect(fs.readdirSync(path.join(cache, 'demo'))).toEqual([])
  })

  it('says in words what it did', () => {
    const text = describeDemo(result)
    for (const words of ['8-bit integers', '4-bit integers', 'right answers', 'perplexity', 'times smaller', 'not trained on'])
      expect(text).toContain(words)
    for (const { forms } of result.models) for (const { answer } of forms) expect(text).toContain(answer)
    expect(text.split('\n').every((line) => line.length <= 140)).toBe(true)
  })
})
