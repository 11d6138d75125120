import * as z from 'zod'
import { adamW, schedule, train } from '../../train/index.js'
import { definePass } from '../pass.js'
import { closeQuantizers, openQuantizers } from './fake-quantization.js'
import { matchedValues, matchOriginal, openOriginal } from './match.js'

/**
 * Quantization-aware training: weights, scales, biases and gains of a quantized model are trained through the quantizers until the
 * model computes what its original computes on the calibration data. What is trained is what ships: codes at the end are those that the
 * training graph used.
 *
 * Sources: Jacob et al. 2018 (fake quantization); Esser et al. 2020, Learned Step Size Quantization (gradients of scales).
 */
export const qat = definePass({
  name: 'qat',
  summary: 'Trains a quantized model, its scales included, to match the original on the calibration data',
  source: 'Esser et al. 2020, Learned Step Size Quantization',
  options: z.strictObject({
    steps: z.number().int().positive().default(300).describe('updates'),
    learningRate: z.number().positive().default(1e-5),
    scaleRate: z.number().nonnegative().default(0.1).describe('factor on the learning rate of scales; 0 keeps them'),
    blocks: z.boolean().default(true).describe('match the output of every block, not of the model alone'),
    accumulate: z.number().int().positive().default(4).describe('calibration batches of an update'),
    samples: z.number().int().positive().default(2048).describe('calibration texts to take'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  async run(model, { steps, learningRate, scaleRate, blocks, accumulate }, context) {
    const [graph, original] = [model.graph, context.original!.graph]
    const student = graph.clone()
    const weights = openQuantizers(student)
    if (!weights.length) return { changed: 0, refused: [{ what: 'model', why: 'it has no quantized weights' }] }
    const matched = matchedValues(student, original, blocks)
    const teacher = await openOriginal(original, matched, context)
    const scales = weights.map(({ scale }) => scale)
    try {
      const { steps: records } = await train(
        student,
        matchOriginal(teacher, matched),
        context.calibration!.batches,
        {
          steps,
          batchSize: 1,
          accumulate: Math.min(accumulate, context.calibration!.batches.length),
          learningRate,
          schedule: schedule('cosine'),
          optimizer: adamW({ beta2: 0.99 }),
          extra: scaleRate ? scales : [],
          groups: scales.map((match) => ({ match, rate: scaleRate, weightDecay: 0 })),
          seed: context.random.bits(),
        },
        { progress: context.progress, signal: context.signal },
      )
      await closeQuantizers(graph, student, weights)
      const figure = (index: number) => Number((records.at(index)?.loss ?? 0).toPrecision(4))
      return { changed: weights.length, details: [{ weights: weights.length, firstLoss: figure(0), lastLoss: figure(-1) }] }
    } finally {
      await teacher.dispose()
    }
  },
})
