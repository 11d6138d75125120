import type * as z from 'zod'
import { residualStream } from '../anatomy/stream.js'
import { badInput, didYouMean } from '../base/errors.js'
import { BatchOrder, type ScheduleName, schedule, type TrainOptions } from '../train/index.js'
import { optimizerFrom, optimizerNames, optimizerOptions } from '../train/optimizers/index.js'
import type { Named, TrainingRecipe } from './training.js'

/** What a recipe says about the course of a training. */
export interface Course {
  readonly options: TrainOptions
  /** Updates that see every sample once. */
  readonly stepsPerEpoch: number
}

/**
 * What a recipe means for data of some size.
 *
 * @param samples how many there are
 * @param lengths of the samples
 * @throws TinsmithError `bad-input` for options that the optimizer does not have, or a batch larger than the data
 */
export function courseOf(recipe: TrainingRecipe, samples: number, seed: number, lengths?: readonly number[]): Course {
  const { batchSize, learningRate, accumulate, weightDecay, groups, clipNorm, dropout, average, recompute } = recipe
  const stepsPerEpoch = Math.max(1, Math.floor(new BatchOrder(samples, batchSize, seed).stepsPerEpoch / accumulate))
  const { name, ...further } = recipe.schedule
  return {
    stepsPerEpoch,
    options: {
      steps: recipe.steps ?? Math.ceil((recipe.epochs ?? 1) * stepsPerEpoch),
      batchSize,
      lengths: recipe.groupByLength ? lengths : undefined,
      accumulate,
      learningRate,
      schedule: schedule(name as ScheduleName, further),
      optimizer: checkedOptimizer(recipe),
      weightDecay,
      groups,
      clipNorm,
      dropout,
      average,
      seed,
      checkpoints: recompute ? (graph) => residualStream(graph).slice(0, -1) : undefined,
    },
  }
}

/**
 * The optimizer that a recipe names.
 *
 * @throws TinsmithError `bad-input` for an unknown one or wrong options
 */
export function checkedOptimizer({ optimizer, name }: Pick<TrainingRecipe, 'optimizer' | 'name'>) {
  return optimizerFrom(checkedNamed('optimizer', optimizer, optimizerOptions, optimizerNames, name))
}

/**
 * The options of something that a recipe names (an optimizer, an adapter), its name among them.
 *
 * @throws TinsmithError `bad-input` with the line for an unknown name (the nearest is given) or wrong options
 */
export function checkedNamed<Schema extends z.ZodType>(
  what: string,
  { name, line, options }: Named,
  schema: Schema,
  known: readonly string[],
  where: string,
): z.output<Schema> {
  const parsed = schema.safeParse({ ...options, name })
  if (parsed.success) return parsed.data
  if (!known.includes(name)) throw badInput(`line ${line}: there is no ${what} "${name}"`, { where, hint: didYouMean(name, known) })
  const [issue] = parsed.error.issues
  throw badInput(`line ${line}: ${[what, name, ...issue.path].join('.')}: ${issue.message}`, { where })
}
