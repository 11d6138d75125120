import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { AutoTokenizer, env } from '@huggingface/transformers'
import { describe, expect, it } from 'vitest'
import { cardOf } from '../scripts/assets/card.mjs'
import { openFolder } from '../src/base/platform.node.js'
import { compress, evaluate, load, run } from '../src/commands/index.js'
import { openTokenizer } from '../src/pipelines/index.js'
import { importModel } from '../src/raise/import.js'
import { embeddedPath, isEmbedded } from './support/embedded.js'
import { canDecode } from './support/pictures.js'

const most = 3_000_000
/** What each model must reach on its samples at least, whatever its card says. */
const floors = {
  'wordnet-classifier': ({ accuracy }: Metrics) => accuracy > 70,
  'wordnet-language-model': ({ perplexity }: Metrics) => perplexity < 28,
  'mnist-vit': ({ accuracy }: Metrics) => accuracy >= 97,
}
type Name = keyof typeof floors
const names = Object.keys(floors) as Name[]
const readsDigits = isEmbedded('mnist-vit') && canDecode
const present = names.filter((name) => name !== 'mnist-vit' || readsDigits)

type Metrics = Readonly<Record<string, number>>

interface Quality {
  readonly task: string
  readonly metric: string
  readonly dev: Metrics
  readonly test: Metrics
  readonly samples: Metrics & { readonly file: string }
  readonly baselines: Readonly<Record<string, Metrics>>
  readonly parameters: number
  readonly bytes: number
}

const read = (name: Name, file: string) => fs.readFileSync(embeddedPath(name, file), 'utf8')
const qualityOf = (name: Name): Quality => JSON.parse(read(name, 'quality.json'))

it('there is a floor for every model', () => {
  expect(names).toEqual(expect.arrayContaining(fs.readdirSync(embeddedPath(''))))
})

describe.each(present)('%s', (name) => {
  const folder = embeddedPath(name)
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
    expect(metrics).toSatisfy(floors[name])
  })
})

describe('the embedded models', () => {
  it('beat what does without them', () => {
    const [classifier, language] = [qualityOf('wordnet-classifier'), qualityOf('wordnet-language-model')]
    for (const { accuracy } of Object.values(classifier.baselines)) expect(classifier.test['accuracy']).toBeGreaterThan(accuracy + 1)
    for (const { perplexity } of Object.values(language.baselines)) expect(language.test['perplexity']).toBeLessThan(perplexity)
  })

  it.skipIf(!readsDigits)('tell digits apart', () => {
    const { test, dev, baselines } = qualityOf('mnist-vit')
    for (const { accuracy } of [test, dev]) expect(accuracy).toBeGreaterThan(baselines['majority']['accuracy'] + 80)
  })

  it.each([
    ['wordnet-classifier', 'samples.csv'],
    ['wordnet-language-model', 'samples.txt'],
  ] as const)('%s cuts texts into the tokens that transformers.js cuts them into', async (name, file) => {
    env.allowRemoteModels = false
    env.localModelPath = embeddedPath('')
    const theirs = await AutoTokenizer.from_pretrained(name)
    const ours = await openTokenizer(await openFolder(embeddedPath(name)))
    const hostile = ['', 'Crème brûlée, 50 % off!', "don't\tstop\n\nnow", '日本語 and emoji 🙂', '(used with `of\') "quoted"']
    for (const text of [...read(name, file).split('\n').slice(1, 60), ...hostile])
      expect(ours.ids(text, { specialTokens: true }), text).toEqual(theirs.encode(text))
  })

  it('write a gloss and stop', async () => {
    const pipeline = await load(embeddedPath('wordnet-language-model'))
    try {
      const text = await pipeline.generate('a small bird', { maxNewTokens: 100 })
      expect(text.trim()).not.toBe('')
      expect(text).not.toContain('\n')
    } finally {
      await pipeline.dispose()
    }
  })

  it.skipIf(!readsDigits)('read digits from files, also in 8-bit integers', async () => {
    const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-digits-'))
    try {
      const [folder, out] = [embeddedPath('mnist-vit'), path.join(work, 'int8')]
      const samples = path.join(folder, 'samples')
      const options = { recipe: 'int8', calibrate: samples, evaluate: `image-classification=${samples}`, fresh: true }
      const { before, after } = await compress(folder, out, options)
      expect(after.bytes).toBeLessThan(0.4 * before.bytes)
      expect(after.metrics['accuracy']).toBeGreaterThanOrEqual(before.metrics['accuracy'] - 2)
      const digits = fs.readdirSync(samples)
      const files = digits.map((digit) => path.join(samples, digit, fs.readdirSync(path.join(samples, digit))[0]))
      const { results } = await run(out, files)
      const right = results.filter(({ labels }, i) => labels![0].label === digits[i])
      expect(digits).toHaveLength(10)
      expect(right.length).toBeGreaterThanOrEqual(9)
    } finally {
      fs.rmSync(work, { recursive: true })
    }
  })
})
