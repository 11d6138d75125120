/** What passes that make a smaller student share: layers go, and what stays learns from the original. */
import type * as z from 'zod'
import { anatomyOf } from '../../anatomy/index.js'
import type { CalibrationBatch } from '../../calibration/calibration.js'
import type { Model } from '../../ir/model.js'
import type { Objective } from '../../train/index.js'
import { distillation, type TermFactory } from '../../train/objectives/index.js'
import type { PassContext, PassResult } from '../pass.js'
import { type TrainingChoices, trainOnCalibration } from '../training/on-calibration.js'
import { dropLayers, keptLayers, type layersOption } from './drop-layers.js'

/** Drops layers of a model and trains the rest against the original. */
export async function trainStudent(
  model: Model,
  layers: z.output<typeof layersOption>,
  terms: readonly { readonly term: TermFactory; readonly weight: number }[],
  training: TrainingChoices,
  context: PassContext,
): Promise<PassResult> {
  const count = anatomyOf(model.graph).blocks.length
  const changed = dropLayers(model, keptLayers(layers, count))
  const inputs: Pick<Objective<CalibrationBatch>, 'batch'> = { batch: async ([batch]) => batch.feeds }
  const objective = distillation({ teacher: context.original!.graph, student: model.graph, inputs, terms })
  const details = await trainOnCalibration(model.graph, objective, training, context)
  return changed ? { changed, details } : { changed, details, refused: [{ what: 'model', why: `it has ${count} layers already` }] }
}
