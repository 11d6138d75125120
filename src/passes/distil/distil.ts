import * as z from 'zod'
import { fromHiddenStates, fromLogits } from '../../train/objectives/index.js'
import { definePass } from '../pass.js'
import { trainingOptions } from '../training/on-calibration.js'
import { layersOption } from './drop-layers.js'
import { trainStudent } from './student.js'

/**
 * A student of fewer layers, begun from those that stay, learns the hidden states of mapped layers, and the logits where the model has some.
 *
 * Sources: Sanh et al. 2019, DistilBERT (begin from layers of the teacher); Jiao et al. 2020, TinyBERT, eq. 8 (hidden states); Hinton et al.
 * 2015 (logits).
 */
export const distil = definePass({
  name: 'distil',
  summary: 'Drops layers and trains the rest to give what the whole model gives on the calibration data',
  source: 'Sanh et al. 2019, DistilBERT; Jiao et al. 2020, TinyBERT',
  options: z.strictObject({
    layers: layersOption.default('half'),
    ...trainingOptions({ steps: 1000, learningRate: 2e-4 }),
    temperature: z.number().positive().default(2).describe('of the logits of both models'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  run(model, { layers, temperature, ...training }, context) {
    const hasLogits = model.graph.outputs.some((output) => output.name === 'logits')
    const terms = [{ term: fromHiddenStates(), weight: 1 }, ...(hasLogits ? [{ term: fromLogits({ temperature }), weight: 1 }] : [])]
    return trainStudent(model, layers, terms, training, context)
  },
})
