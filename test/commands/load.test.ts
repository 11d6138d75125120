import fs from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { kernelChoice } from '#kernels'
import { SilentProgress } from '../../src/base/progress.js'
import { loadModel } from '../../src/commands/load.js'
import { lower } from '../../src/lower/index.js'
import { cosineSimilarity } from '../../src/numbers/metrics.js'
import { encodeOnnx } from '../../src/onnx/index.js'
import { temporaryFolder } from '../cli/tinsmith.js'
import { encoderOf } from '../support/blocks.js'
import { embeddedPath } from '../support/embedded.js'

const classifier = embeddedPath('wordnet-classifier')
const text = 'a small bird that sings at night'
const work = temporaryFolder()
afterAll(() => fs.rmSync(work, { recursive: true }))

describe('load', () => {
  it.runIf(kernelChoice().backend === 'x64')('chooses kernels of our own where they cover the graph', async () => {
    const [chosen, usual] = [await loadModel(classifier, { threads: 1 }), await loadModel(classifier, { engine: 'ort', threads: 1 })]
    expect([chosen.engine, usual.engine]).toEqual(['compiled x64', expect.stringMatching(/^ONNX Runtime/)])
    const [[ours], [theirs]] = [await chosen.pipeline.classifyLogits([text]), await usual.pipeline.classifyLogits([text])]
    expect(cosineSimilarity(ours, theirs)).toBeGreaterThan(0.9999)
    await Promise.all([chosen.pipeline.dispose(), usual.pipeline.dispose()])
  })

  it.runIf(kernelChoice().backend === 'x64')('names the operators that they lack, and runs on ONNX Runtime', async () => {
    const graph = encoderOf({})
    const [output] = graph.outputs
    graph.outputs[0] = graph.add('Sinh', [output]).output
    const file = path.join(work, 'model.onnx')
    fs.writeFileSync(file, await encodeOnnx(lower(graph, 'ort-node')))
    const progress = new SilentProgress()
    const { engine, pipeline } = await loadModel(file, { progress })
    expect(engine).toMatch(/^ONNX Runtime/)
    expect(progress.warnings.join(' ')).toMatch(/Sinh.*ONNX Runtime/)
    await pipeline.dispose()
  })

  it('refuses caches of codes where ONNX Runtime keeps them', async () => {
    await expect(loadModel(classifier, { engine: 'ort', cache: 'int8' })).rejects.toMatchObject({
      code: 'usage',
      hint: expect.stringMatching(/compiled/),
    })
  })

  it('refuses attention in int8 where ONNX Runtime computes it', async () => {
    await expect(loadModel(classifier, { engine: 'ort', attention: 'int8' })).rejects.toMatchObject({
      code: 'usage',
      hint: expect.stringMatching(/compiled/),
    })
  })

  it('refuses dtypes that a checkpoint does not have', async () => {
    await expect(loadModel(classifier, { dtype: 'q8' })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(/no q8 form/),
    })
  })

  it('refuses a number of threads that is none', async () => {
    await expect(loadModel(classifier, { threads: 0 })).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/threads/) })
  })
})
