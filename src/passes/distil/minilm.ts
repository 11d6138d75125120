import * as z from 'zod'
import { fromHiddenStates, fromRelations } from '../../train/objectives/index.js'
import { definePass } from '../pass.js'
import { trainingOptions } from '../training/on-calibration.js'
import { layersOption } from './drop-layers.js'
import { trainStudent } from './student.js'

/**
 * A student of fewer layers learns the relations between tokens that the last layer's queries, keys and values of the original have.
 *
 * Source: Wang et al. 2021, MiniLMv2: Multi-Head Self-Attention Relation Distillation, section 3.
 */
export const minilm = definePass({
  name: 'minilm',
  summary: 'Drops layers and trains the rest to relate tokens as the last layer of the whole model does',
  source: 'Wang et al. 2021, MiniLMv2',
  options: z.strictObject({
    layers: layersOption.default('half'),
    ...trainingOptions({ steps: 1000, learningRate: 2e-4 }),
    heads: z.number().int().positive().optional().describe('relation heads; default the attention heads'),
    output: z.number().nonnegative().default(1).describe('weight of the last hidden state, which relations alone leave free'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  run(model, { layers, heads, output, ...training }, context) {
    const terms = [
      { term: fromRelations({ heads }), weight: 1 },
      ...(output ? [{ term: fromHiddenStates({ layers: [[-1, -1]] }), weight: output }] : []),
    ]
    return trainStudent(model, layers, terms, training, context)
  },
})
