import * as z from 'zod'
import { lora as loraAdapter, onlyGroups } from '../../train/adapters/index.js'
import { definePass } from '../pass.js'
import { matchedValues, matchOriginal, openOriginal } from './match.js'
import { trainingOptions, trainOnCalibration } from './on-calibration.js'

/**
 * Repairs a changed model by low-rank additions to its linears: they are trained until the model computes what its original computes
 * on the calibration data, and merged into the weights.
 *
 * Source: Hu et al. 2021, LoRA, section 4.1; as a repair after compression: Sharify et al. 2024 and others.
 */
export const lora = definePass({
  name: 'lora',
  summary: 'Trains low-rank additions to match the original on the calibration data, and merges them',
  source: 'Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models',
  options: z.strictObject({
    ...trainingOptions({ steps: 200, learningRate: 1e-3 }),
    rank: z.number().int().positive().default(8),
    alpha: z.number().positive().optional().describe('scale of the additions; default twice the rank'),
    blocks: z.boolean().default(true).describe('match the output of every block, not of the model alone'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  async run(model, { rank, alpha, blocks, ...training }, context) {
    const [graph, original] = [model.graph, context.original!.graph]
    const matched = matchedValues(graph, original, blocks)
    const adapter = loraAdapter({ rank, alpha: alpha ?? 2 * rank })
    const parameters = adapter.insert(graph, context.random)
    if (!parameters.length) return { changed: 0, refused: [{ what: 'model', why: 'it has no linears in floats' }] }
    const teacher = await openOriginal(original, matched, context)
    try {
      const details = await trainOnCalibration(graph, matchOriginal(teacher, matched), training, context, {
        groups: onlyGroups(parameters),
      })
      return { changed: adapter.merge(graph), details }
    } finally {
      await teacher.dispose()
    }
  },
})
