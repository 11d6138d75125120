import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openFolder } from '#platform'
import { MemorySource } from '../../src/base/bytes.js'
import { openGraph } from '../../src/engine/open.js'
import { readSafetensors } from '../../src/formats/index.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { maxAbsoluteDifference } from '../../src/numbers/metrics.js'
import { createPipeline, type Pipeline } from '../../src/pipelines/index.js'
import { importModel } from '../../src/raise/import.js'
import { agreement, languageModel, sts } from '../../src/tasks/index.js'
import { modelPath, sharedPath } from '../support/shared.js'

const sourceOf = (file: string) => new MemorySource(fs.readFileSync(file), file)
const tensorsOf = async (directory: string) => (await readSafetensors(sourceOf(path.join(directory, 'reference.safetensors')))).tensors

async function pipelineOf(directory: string): Promise<Pipeline> {
  const { model } = await importModel(directory)
  return createPipeline(await openFolder(directory), await openGraph(model.graph, { threads: 2 }))
}

const miniLM = modelPath('all-MiniLM-L6-v2')
describe.skipIf(!miniLM)('MiniLM', () => {
  let pipeline: Pipeline
  beforeAll(async () => {
    pipeline = await pipelineOf(miniLM!)
  })

  it('gives the reference vectors, in any batch', async () => {
    const texts = JSON.parse(fs.readFileSync(path.join(miniLM!, 'reference.json'), 'utf8')) as string[]
    const reference = numbersOf(await (await tensorsOf(miniLM!)).get('out.sentence_embedding')!.array())
    for (const batchSize of [1, 4, 32]) {
      const vectors = Float32Array.from((await pipeline.embed(texts, { batchSize })).flatMap((vector) => [...vector]))
      expect(maxAbsoluteDifference(reference, vectors)).toBeLessThan(1e-5)
    }
  })

  const dev = sharedPath('data', 'stsb', 'dev.csv')
  it.skipIf(!dev)('reaches its known quality on STS-B, and agrees with itself', async () => {
    const { samples } = await sts.samples(sourceOf(dev!))
    const { metrics } = await sts.evaluate(pipeline, samples)
    expect(metrics['spearman']).toBeCloseTo(86.72, 1)
    const same = await agreement.evaluate(pipeline, pipeline, samples.slice(0, 50))
    expect(same.metrics['cosine']).toBeCloseTo(1, 6)
  })
})

const stories = sharedPath('models', 'stories260K')
describe.skipIf(!stories)('stories260K', () => {
  it('continues the prompt as the reference does, piece by piece', async () => {
    const pipeline = await pipelineOf(stories!)
    const { prompt, greedy_200: expected } = JSON.parse(fs.readFileSync(path.join(stories!, 'reference.json'), 'utf8')) as Record<
      string,
      string
    >
    let text = prompt
    for await (const piece of pipeline.stream(prompt, { maxNewTokens: 200 })) text += piece
    expect(text).toBe(expected)
    expect(await pipeline.generate(prompt, { maxNewTokens: 30, temperature: 0.8, topP: 0.9, seed: 3 })).toBe(
      await pipeline.generate(prompt, { maxNewTokens: 30, temperature: 0.8, topP: 0.9, seed: 3 }),
    )
    const { samples } = await languageModel.samples(new MemorySource(new TextEncoder().encode(expected)))
    const { metrics } = await languageModel.evaluate(pipeline, samples, { window: 128 })
    expect(metrics['perplexity']).toBeLessThan(8)
    expect(metrics['bitsPerByte']).toBeCloseTo((metrics['loss'] / Math.LN2) * 0.43, 0)
    const { metrics: same } = await agreement.evaluate(pipeline, pipeline, samples, { window: 128 })
    expect(same).toMatchObject({ top1: 100 })
  })
})
