import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { residualStream } from '../../src/anatomy/stream.js'
import { Random } from '../../src/base/random.js'
import type { Model } from '../../src/ir/model.js'
import { printGraph } from '../../src/ir/print.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { tidy } from '../../src/ir/tidy.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { dropLayers, evenLayers } from '../../src/passes/distil/drop-layers.js'
import { passes } from '../../src/passes/index.js'
import { ActivationStore } from '../../src/passes/training/activations.js'
import { closeQuantizers, openQuantizers } from '../../src/passes/training/fake-quantization.js'
import { modelOf, tinyBert, tinyLlama } from '../support/checkpoints.js'
import { codes, distanceOf, passContext, randomCalibration } from '../support/graphs.js'
import { apply } from '../support/passes.js'

const bert = (): Model => modelOf(tinyBert(new Random(3), { hidden: 32, inner: 48, layers: 3 }))
const llama = (): Model => modelOf(tinyLlama(new Random(4), { hidden: 32, inner: 48, layers: 3 }))
const fourBits = { bits: 4, blockSize: 16 }

async function trained(model: Model, original: Model, name: string, options: Record<string, unknown>) {
  const pass = passes.find((candidate) => candidate.name === name)!
  const calibration = await randomCalibration(model.graph, 40)
  return pass.run(model, pass.options.parse(options), { ...passContext(calibration), original })
}

/** The mean squared difference of the first output on the calibration data. */
async function meanError(model: Model, original: Model): Promise<number> {
  const { batches } = await randomCalibration(model.graph, 40)
  const { name } = model.graph.outputs[0]
  const errors = []
  for (const { feeds } of batches) {
    const [a, b] = [await evaluateGraph(model.graph, feeds), await evaluateGraph(original.graph, feeds)].map((found) =>
      numbersOf(found[name]),
    )
    errors.push(Array.from(a, (x, i) => (x - b[i]) ** 2).reduce((sum, x) => sum + x, 0) / a.length)
  }
  return errors.reduce((sum, x) => sum + x, 0) / errors.length
}

describe.each([
  ['bert', bert],
  ['llama', llama],
])('quantizers of %s opened for training', (_, make) => {
  it.each([
    ['4 bits', 'weight-only', fourBits],
    ['8 bits', 'weight-only', { bits: 8, blockSize: 16 }],
    ['static', 'static-int8', {}],
  ])('compute what the codes compute, and give the same codes back: %s', async (_name, pass, options) => {
    const model = make()
    await apply(model, pass, options)
    const before = await codes(model.graph)
    const opened = model.graph.clone()
    const weights = openQuantizers(opened)
    expect(weights.length).toBeGreaterThan(5)
    expect(await distanceOf(opened, model.graph)).toBeLessThan(1e-6)
    await closeQuantizers(model.graph, opened, weights)
    expect(await codes(model.graph)).toEqual(before)
  })
})

describe('training against the original', () => {
  it.each([
    ['qat', bert, { steps: 20, learningRate: 1e-3, accumulate: 2 }],
    ['qat', llama, { steps: 20, learningRate: 1e-3, accumulate: 2 }],
  ])('%s brings a quantized model closer', async (name, make, options) => {
    const [original, model] = [make(), make()]
    await apply(model, 'weight-only', fourBits)
    const untrained = await meanError(model, original)
    const result = await trained(model, original, name, options)
    const [figures] = result.details!
    expect(result.changed).toBeGreaterThan(5)
    expect(Number(figures['lastLoss'])).toBeLessThan(0.7 * Number(figures['firstLoss']))
    expect(await meanError(model, original)).toBeLessThan(0.8 * untrained)
  })

  it('reconstruct lowers the error of every block, with activations on disk as in memory', async () => {
    const results = []
    for (const memory of [64, 1e-6]) {
      const [original, model] = [bert(), bert()]
      await apply(model, 'weight-only', fourBits)
      const { details } = await trained(model, original, 'reconstruct', { steps: 12, learningRate: 1e-3, accumulate: 2, memory })
      for (const { before, after } of details!) expect(Number(after)).toBeLessThan(Number(before))
      results.push({ details, codes: await codes(model.graph) })
    }
    expect(results[1]).toEqual(results[0])
  })

  it('lora repairs a damaged weight and leaves no trace of itself', async () => {
    const [original, model] = [bert(), bert()]
    const name = 'encoder.layer.1.intermediate.dense.weight'
    const constant = model.graph.constants.get(name)!
    const values = (await constant.tensor!.read()) as Float32Array
    const noise = new Random(9).normals(values.length, 0.1)
    model.graph.setTensor(
      constant,
      new ArrayTensor(
        'float32',
        constant.tensor!.shape,
        values.map((x, i) => x + noise[i]),
      ),
    )
    const damaged = await distanceOf(model.graph, original.graph)
    await trained(model, original, 'lora', { steps: 30, learningRate: 5e-3, rank: 4, accumulate: 2 })
    expect(await distanceOf(model.graph, original.graph)).toBeLessThan(0.7 * damaged)
    tidy(model.graph)
    expect(printGraph(model.graph).replace(/\{.*?\}/g, '')).toBe(printGraph(original.graph).replace(/\{.*?\}/g, ''))
  })

  it.each([
    ['distil', { layers: [0, 2] }],
    ['minilm', { layers: [0, 2] }],
  ])('%s gives a model of fewer layers that learns', async (name, options) => {
    const [original, model] = [bert(), bert()]
    const result = await trained(model, original, name, { ...options, steps: 20, learningRate: 2e-3, accumulate: 2 })
    expect(result.changed).toBe(1)
    expect(anatomyOf(model.graph).blocks.map((block) => block.name)).toEqual(['encoder.layer.0', 'encoder.layer.1'])
    const [figures] = result.details!
    expect(Number(figures['lastLoss'])).toBeLessThan(0.9 * Number(figures['firstLoss']))
  })
})

describe('dropping layers', () => {
  it('spreads what stays evenly and keeps the last', () => {
    expect(evenLayers(12, 3)).toEqual([3, 7, 11])
    expect(evenLayers(6, 6)).toEqual([0, 1, 2, 3, 4, 5])
    expect(() => evenLayers(2, 3)).toThrow(/3 of 2/)
  })

  it.each([
    ['bert', bert],
    ['llama', llama],
  ])('%s of the first layers is the checkpoint of that many layers', async (_, make) => {
    const model = make()
    const names = residualStream(model.graph).length
    expect(names).toBe(4)
    expect(dropLayers(model, [0, 1])).toBe(1)
    const checkpoint =
      make === bert
        ? tinyBert(new Random(3), { hidden: 32, inner: 48, layers: 3 })
        : tinyLlama(new Random(4), { hidden: 32, inner: 48, layers: 3 })
    const shorter = modelOf({ ...checkpoint, config: { ...checkpoint.config, num_hidden_layers: 2 } })
    tidy(shorter.graph)
    expect(model.config?.['num_hidden_layers']).toBe(2)
    expect(printGraph(model.graph)).toBe(printGraph(shorter.graph))
    expect(await distanceOf(model.graph, shorter.graph)).toBe(0)
  })

  it('leaves the order that a file is read back in, whichever layers go', () => {
    for (const kept of [[2], [1, 2], [0, 2]]) {
      const model = bert()
      dropLayers(model, kept)
      const { graph } = model
      const text = printGraph(graph)
      tidy(graph)
      expect(text).toBe(printGraph(graph))
    }
  })

  it('refuses layers that are not there', () => {
    expect(() => dropLayers(bert(), [0, 3])).toThrow(/not rising indexes below 3/)
    expect(() => dropLayers(bert(), [1, 0])).toThrow(/not rising/)
  })
})

it('keeps activations beyond the budget in a file', async () => {
  const store = new ActivationStore(16)
  const arrays = [1, 2, 3].map((n) => ({ dtype: 'float32' as const, shape: [n], data: Float32Array.from({ length: n }, (_, i) => n + i) }))
  for (const [i, array] of arrays.entries()) await store.set(i, array)
  expect(store.bytesOnDisk).toBe(12)
  for (const [i, array] of arrays.entries()) expect(await store.get(i)).toEqual(array)
  await store.dispose()
})
