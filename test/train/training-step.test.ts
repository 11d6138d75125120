import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { Net } from '../../src/nn/net.js'
import { resolveGroups } from '../../src/train/groups.js'
import { sgd } from '../../src/train/optimizers/sgd.js'
import { isWeight } from '../../src/train/parameters.js'
import { TrainingStep } from '../../src/train/training-step.js'
import { type Point, points, regression, smallNet } from './runs.js'

async function stepOf(clipNorm?: number) {
  const graph = smallNet()
  const groups = resolveGroups([...graph.constants.values()].filter(isWeight), [], 0)
  return TrainingStep.create(graph, { groups, optimizer: sgd(), loss: (copy) => regression.loss(new Net(copy)), clipNorm })
}

const feed = (samples: readonly Point[]) => regression.batch(samples, new Random(1))

/** Parameters before and after one step of gradient descent. */
async function change(batches: readonly (readonly Point[])[], clipNorm?: number, rate = 1) {
  const step = await stepOf(clipNorm)
  const before = step.store.values.slice()
  const result = await step.run(await Promise.all(batches.map(feed)), 1, rate, new Random(1))
  const after = step.store.values.slice()
  await step.dispose()
  return { ...result, moved: Array.from(after, (x, i) => x - before[i]) }
}

const length = (values: readonly number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))

describe('a training step', () => {
  test('batches that are accumulated count as one batch of all their samples', async () => {
    const whole = await change([points.slice(0, 12)])
    const parts = await change([points.slice(0, 4), points.slice(4, 8), points.slice(8, 12)])
    expect(parts.loss).toBeCloseTo(whole.loss, 6)
    expect(parts.gradientNorm).toBeCloseTo(whole.gradientNorm, 5)
    const largest = Math.max(...whole.moved.map(Math.abs))
    whole.moved.forEach((x, i) => void expect(Math.abs(parts.moved[i] - x) / largest).toBeLessThan(1e-6))
  })

  test('the norm is that of all gradients together, and clipping scales all of them down to the limit', async () => {
    const free = await change([points])
    expect(length(free.moved)).toBeCloseTo(free.gradientNorm, 4)
    const limit = free.gradientNorm / 3
    const clipped = await change([points], limit)
    expect(clipped.gradientNorm).toBeCloseTo(free.gradientNorm, 5)
    expect(length(clipped.moved)).toBeCloseTo(limit, 4)
    clipped.moved.forEach((x, i) => void expect(x).toBeCloseTo(free.moved[i] / 3, 4))
  })

  test('a norm below the limit stays as it is', async () => {
    const free = await change([points])
    expect((await change([points], free.gradientNorm * 2)).moved).toEqual(free.moved)
  })

  test('numbers that are not finite are an error that names the tensor, and nothing is updated', async () => {
    const step = await stepOf()
    const before = step.store.values.slice()
    const bad = { ...points[0], y: Number.NaN }
    await expect(step.run([await feed([bad])], 1, 1, new Random(1))).rejects.toThrowError(
      expect.objectContaining({ code: 'failed', message: expect.stringMatching(/loss is NaN, and the gradient of first\.weight/) }),
    )
    expect(step.store.values).toEqual(before)
    await step.dispose()
  })

  test('the inputs that a batch must feed are those of the model and the labels', async () => {
    const step = await stepOf()
    expect([...step.inputs].sort()).toEqual(['target', 'x'])
    await step.dispose()
  })
})
