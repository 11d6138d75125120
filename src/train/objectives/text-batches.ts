import type { TextSample } from '../../data/index.js'
import type { Objective } from '../objective.js'
import { TextInputs, type TextModel, type TokenWindow } from './text-inputs.js'

/** Batches of texts without labels, for distillation. */
export function textBatches(model: TextModel): Pick<Objective<TextSample | TokenWindow>, 'batch'> {
  const inputs = new TextInputs(model)
  return { batch: async (samples) => inputs.feeds(samples.map((sample) => inputs.together(sample))) }
}
