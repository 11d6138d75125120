import fs from 'node:fs'
import path from 'node:path'
import { env, pipeline as theirPipeline } from '@huggingface/transformers'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { compress, convert, evaluate, load, run } from '../../src/index.js'
import { cosineSimilarity, maxAbsoluteDifference } from '../../src/numbers/metrics.js'
import { temporaryFolder } from '../cli/tinsmith.js'
import { embeddedPath } from '../support/embedded.js'

const classifier = embeddedPath('wordnet-classifier')
const work = temporaryFolder()
const [out, encoder, vectors] = ['int8', 'encoder', 'vectors'].map((name) => path.join(work, name))
const task = `classification=${path.join(work, 'samples.csv')}`
const lines = 120
const texts = ['a small bird that sings at night', 'move slowly along the ground', 'a sudden feeling of fear', 'a person who repairs shoes']
const labels = ['noun.animal', 'verb.motion', 'noun.feeling', 'noun.person']

beforeAll(() => {
  vi.stubEnv('TINSMITH_CACHE', path.join(work, 'cache'))
  ;[env.allowRemoteModels, env.localModelPath] = [false, `${work}/`]
  const samples = fs.readFileSync(path.join(classifier, 'samples.csv'), 'utf8').split('\n')
  fs.writeFileSync(path.join(work, 'samples.csv'), `${samples.slice(0, lines + 1).join('\n')}\n`)
})
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true })
})

describe('the commands and a small BERT that classifies', () => {
  it('compress calibrates, measures before and after, and keeps the quality', async () => {
    const options = { recipe: 'int8', calibrate: path.join(classifier, 'calibration.txt'), evaluate: task }
    const { before, after, samples, baseline, warnings } = await compress(classifier, out, options)
    expect([samples, warnings]).toEqual([lines, []])
    expect(before.metrics['accuracy']).toBeGreaterThan(baseline!['accuracy'] + 40)
    expect(after.metrics['accuracy']).toBeGreaterThan(before.metrics['accuracy'] - 4)
    expect(after.bytes).toBeLessThan(0.3 * before.bytes)
    const measured = await evaluate(out, task, { against: classifier })
    expect(measured.metrics['accuracy']).toBe(after.metrics['accuracy'])
    expect(measured.against!.agreement['top1']).toBeGreaterThan(90)
  })

  it('run says what a text is about, before and after', async () => {
    for (const model of [classifier, out]) {
      const { kind, results } = await run(model, texts)
      expect([kind, ...results.map((result) => result.labels![0].label)]).toEqual(['classify', ...labels])
    }
  })

  it('transformers.js reads what was written and gives the same scores', async () => {
    const [theirs, ours] = [await theirPipeline('text-classification', 'int8', { dtype: 'q8' }), await load(out, { engine: 'ort' })]
    for (const text of texts) {
      const [[found], [{ label, score }]] = [await ours.classify([text]), (await theirs(text)) as { label: string; score: number }[]]
      expect(found[0].label).toBe(label)
      expect(found[0].score).toBeCloseTo(score, 3)
    }
    await ours.dispose()
    await theirs.dispose()
  })
})

describe('the commands and its encoder', () => {
  beforeAll(async () => {
    fs.cpSync(classifier, encoder, { recursive: true })
    const config = JSON.parse(fs.readFileSync(path.join(classifier, 'config.json'), 'utf8'))
    fs.writeFileSync(path.join(encoder, 'config.json'), JSON.stringify({ ...config, architectures: ['BertModel'] }))
    await convert(encoder, vectors)
  })

  it('embed the same alone and in batches, and as transformers.js does', async () => {
    const model = await load(vectors)
    const alone = await model.embed(texts, { batchSize: 1 })
    const batched = await model.embed(texts, { batchSize: texts.length })
    const theirs = await theirPipeline('feature-extraction', 'vectors', { dtype: 'fp32' })
    for (const [i, text] of texts.entries()) {
      const reference = (await theirs(text, { pooling: 'mean', normalize: true })).data as Float32Array
      expect(maxAbsoluteDifference(alone[i], reference)).toBeLessThan(1e-5)
      expect(maxAbsoluteDifference(batched[i], reference)).toBeLessThan(1e-5)
    }
    await theirs.dispose()
    await model.dispose()
  })

  it('bring what is alike together', async () => {
    const model = await load(vectors)
    const [bird, owl, fear] = await model.embed([
      'a small bird that sings at night',
      'a large bird that hunts at night',
      'a sudden feeling of fear',
    ])
    expect(cosineSimilarity(bird, owl)).toBeGreaterThan(cosineSimilarity(bird, fear) + 0.1)
    await model.dispose()
  })
})
