import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { ndarray } from '../../src/numbers/dtype.js'
import { agreement, imageClassification, parseTask } from '../../src/tasks/index.js'
import { FakeSession, pipelineOf, port } from '../pipelines/fakes.js'
import { grey } from '../support/pictures.js'

describe('image-classification', () => {
  /** Class 1 of images lighter than a threshold, else 0. */
  const classifier = (threshold: number) =>
    pipelineOf(
      new FakeSession(
        [port('pixel_values', ['b', 1, 1, 1], 'float32')],
        [port('logits', ['b', 2], 'float32')],
        ({ pixel_values: { data, shape } }) => ({
          logits: ndarray('float32', [shape[0], 2], Array.from(data as Float32Array, (x) => [0, x - threshold]).flat()),
        }),
      ),
      { config: { id2label: { 0: 'dark', 1: 'light' } } },
    )
  const samples = [10, 20, 200, 120].map((level, i) => ({ image: grey(level), label: ['dark', 0, 'Light', 1][i] }))

  it('counts how often the label is right, beside the majority class', async () => {
    const { metrics, baselines, samples: count } = await imageClassification.evaluate(classifier(0), samples)
    expect([metrics['accuracy'], baselines['accuracy'], count]).toEqual([75, 50, 4])
    expect((await agreement.evaluate(classifier(0), classifier(-0.2), samples)).metrics['top1']).toBe(75)
  })

  it('is known by its name and names labels that the model lacks', async () => {
    expect(parseTask('image-classification=digits').task).toBe(imageClassification)
    const strange = [{ image: grey(1), label: 'blue' }]
    await expect(imageClassification.evaluate(classifier(0), strange)).rejects.toThrow(/label "blue"/)
    await expect(imageClassification.samples(new MemorySource(new Uint8Array(), 'x.csv'))).rejects.toMatchObject({ code: 'usage' })
  })
})
