import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { asTable, reviews, writeTinyEncoder } from '../support/tiny-classifier.js'
import { document, run, temporaryFolder } from './tinsmith.js'

const work = temporaryFolder()
const at = (...parts: string[]) => path.join(work, ...parts)
const words = (...more: string[]) => ['train', at('tiny'), at('out'), '--data', at('train.csv'), ...more]

beforeAll(async () => {
  vi.stubEnv('TINSMITH_CACHE', at('cache'))
  await writeTinyEncoder(at('tiny'))
  fs.writeFileSync(at('train.csv'), asTable(reviews(24)))
  fs.writeFileSync(at('dev.csv'), asTable(reviews(8, 2)))
})
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true })
})

/** A recipe with one line that may be wrong. */
function recipe(line: string): string {
  fs.writeFileSync(at('mine.yaml'), `name: mine\n${line}\n${line.startsWith('objective') ? '' : 'objective: classification\n'}`)
  return at('mine.yaml')
}

describe('tinsmith train', () => {
  it('prints one document, and nothing else, where one is asked for', async () => {
    const more = ['--recipe', 'classifier', '--evaluate', `classification=${at('dev.csv')}`, '--set', 'batchSize=8', '--set', 'steps=4']
    const found = await document(...words(...more))
    expect(found).toMatchObject({ recipe: 'classifier', samples: 24, baseline: { accuracy: 50 }, best: expect.any(Number) })
    expect(found.steps.map((step: { step: number }) => step.step)).toEqual([1, 2, 3, 4])
    const { status, stdout, stderr } = await run(...words(...more, '--force'))
    expect([status, stderr]).toEqual([0, expect.stringContaining('warning: the checkpoint lacks classifier.weight')])
    expect(stdout).toMatch(/24 samples, 4 steps/)
    expect(stdout).toMatch(/majority class 50/)
  })

  it('does not touch a folder that holds files', async () => {
    const { status, stderr } = await run(...words('--recipe', 'classifier'))
    expect([status, stderr]).toEqual([2, expect.stringMatching(/not empty/)])
  })

  it.each([
    [['--recipe', 'clasifier'], /Did you mean "classifier"\?/],
    [['--recipe', 'classifier', '--set', 'learningRat=1'], /unknown key "learningRat".*Did you mean "learningRate"\?/],
    [['--recipe', 'classifier', '--set', 'schedule.warmup=many'], /schedule\.warmup: .*number/],
    [['--recipe', 'classifier', '--set', 'learningRate'], /--set takes path=value/],
    [['--recipe', 'classifier', '--set', 'batchSize=0'], /batchSize: /],
    [['--recipe', 'classifier', '--evaluate', 'clasification=x'], /Did you mean "classification"\?/],
    [['--recipe', 'classifier', '--reprot', 'x'], /Did you mean --report\?/],
    [[], /required option '--recipe/],
  ])('%j is refused with a sentence that helps', async (more, sentence) => {
    const { status, stdout, stderr } = await run(...words('--force', ...more))
    expect(stderr).toMatch(sentence)
    expect([status, stdout]).toEqual([2, ''])
  })

  it.each([
    ['objective: clasification', /line 2: there is no objective "clasification"\. Did you mean "classification"\?/],
    ['objective: {classification: {labelSmoothing: 2}}', /line 2: objective classification: labelSmoothing: /],
    ['optimiser: lion', /line 2: unknown key "optimiser"\. Did you mean "optimizer"\?/],
    ['optimizer: adamv', /line 2: there is no optimizer "adamv"\. Did you mean "adamw"\?/],
    ['optimizer: {adamw: {beta1: 2}}', /line 2: optimizer\.adamw\.beta1: /],
    ['adapter: lorra', /line 2: there is no adapter "lorra"\. Did you mean "lora"\?/],
    ['batchSize: many', /line 2: batchSize: .*number/],
    ['learningRate: [', /line \d: /],
  ])('a recipe with the line "%s" is refused with the line', async (line, sentence) => {
    const { status, stdout, stderr } = await run(...words('--force', '--recipe', recipe(line)))
    expect(stderr).toMatch(sentence)
    expect([status, stdout]).toEqual([2, ''])
  })
})
