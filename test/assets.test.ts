import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { AutoTokenizer, env } from '@huggingface/transformers'
import { describe, expect, it } from 'vitest'
import { cardOf } from '../scripts/assets/card.mjs'
import { openFolder } from '../src/base/platform.node.js'
import { evaluate, load } from '../src/commands/index.js'
import { openTokenizer } from '../src/pipelines/index.js'
import { importModel } from '../src/raise/import.js'

const root = fileURLToPath(new URL('../assets', import.meta.url))
const most = 3_000_000

interface Quality {
  readonly task: string
  readonly metric: string
  readonly test: Readonly<Record<string, number>>
  readonly samples: Readonly<Record<string, number>> & { readonly file: string }
  readonly baselines: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly parameters: number
  readonly bytes: number
}

const read = (name: string, file: string) => fs.readFileSync(path.join(root, name, file), 'utf8')
const qualityOf = (name: string): Quality => JSON.parse(read(name, 'quality.json'))

describe.each(fs.readdirSync(root))('%s', (name) => {
  const folder = path.join(root, name)
  const quality = qualityOf(name)

  it('is small and says what it is', () => {
    expect(fs.statSync(path.join(folder, 'model.safetensors')).size).toBe(quality.bytes)
    expect(quality.bytes).toBeLessThanOrEqual(most)
    expect(read(name, 'README.md')).toBe(cardOf(name, quality))
  })

  it('is read whole', async () => {
    const { model, warnings } = await importModel(folder)
    expect(warnings).toEqual([])
    const weights = [...model.graph.constants.values()].filter(({ tensor }) => tensor?.dtype === 'float16' || tensor?.dtype === 'float32')
    expect(weights.reduce((sum, { tensor }) => sum + tensor!.size, 0)).toBeGreaterThanOrEqual(quality.parameters)
  })

  it('reaches on its samples what its card says', async () => {
    const { file } = quality.samples
    const { metrics } = await evaluate(folder, `${quality.task}=${path.join(folder, file)}`)
    const claimed = quality.samples[quality.metric]
    expect(Math.abs(metrics[quality.metric] - claimed) / claimed).toBeLessThan(0.01)
  })
})

describe('the embedded models', () => {
  it('beat what does without them', () => {
    const [classifier, language] = ['wordnet-classifier', 'wordnet-language-model'].map(qualityOf)
    for (const { accuracy } of Object.values(classifier.baselines)) expect(classifier.test['accuracy']).toBeGreaterThan(accuracy + 1)
    for (const { perplexity } of Object.values(language.baselines)) expect(language.test['perplexity']).toBeLessThan(perplexity)
  })

  it.each([
    ['wordnet-classifier', 'samples.csv'],
    ['wordnet-language-model', 'samples.txt'],
  ])('%s cuts texts into the tokens that transformers.js cuts them into', async (name, file) => {
    env.allowRemoteModels = false
    env.localModelPath = `${root}/`
    const theirs = await AutoTokenizer.from_pretrained(name)
    const ours = await openTokenizer(await openFolder(path.join(root, name)))
    const hostile = ['', 'Crème brûlée, 50 % off!', "don't\tstop\n\nnow", '日本語 and emoji 🙂', '(used with `of\') "quoted"']
    for (const text of [...read(name, file).split('\n').slice(1, 60), ...hostile])
      expect(ours.ids(text, { specialTokens: true }), text).toEqual(theirs.encode(text))
  })

  it('write a gloss and stop', async () => {
    const pipeline = await load(path.join(root, 'wordnet-language-model'))
    try {
      const text = await pipeline.generate('a small bird', { maxNewTokens: 100 })
      expect(text.trim()).not.toBe('')
      expect(text).not.toContain('\n')
    } finally {
      await pipeline.dispose()
    }
  })
})
