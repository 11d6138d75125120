import * as z from 'zod'
import { definePass } from '../pass.js'
import { closeQuantizers, openQuantizers, scalesAt } from './fake-quantization.js'
import { matchedValues, matchOriginal, openOriginal } from './match.js'
import { trainingOptions, trainOnCalibration } from './on-calibration.js'

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
    ...trainingOptions({ steps: 300, learningRate: 1e-5 }),
    scaleRate: z.number().nonnegative().default(0.1).describe('factor on the learning rate of scales; 0 keeps them'),
    blocks: z.boolean().default(true).describe('match the output of every block, not of the model alone'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  async run(model, { scaleRate, blocks, ...training }, context) {
    const [graph, original] = [model.graph, context.original!.graph]
    const student = graph.clone()
    const weights = openQuantizers(student)
    if (!weights.length) return { changed: 0, refused: [{ what: 'model', why: 'it has no quantized weights' }] }
    const matched = matchedValues(student, original, blocks)
    const teacher = await openOriginal(original, matched, context)
    try {
      const details = await trainOnCalibration(student, matchOriginal(teacher, matched), training, context, scalesAt(scaleRate, weights))
      await closeQuantizers(graph, student, weights)
      return { changed: weights.length, details }
    } finally {
      await teacher.dispose()
    }
  },
})
