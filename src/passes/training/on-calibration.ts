/** What passes that train share: options, and a run on calibration data. */
import * as z from 'zod'
import type { Random } from '../../base/random.js'
import type { Calibration, CalibrationBatch } from '../../calibration/calibration.js'
import type { Graph } from '../../ir/graph.js'
import { adamW, type Objective, schedule, type TrainOptions, train } from '../../train/index.js'
import type { PassContext, PassResult } from '../pass.js'

/** Options of every pass that trains. */
export const trainingOptions = (defaults: { readonly steps: number; readonly learningRate: number }, updates = 'updates') => ({
  steps: z.number().int().positive().default(defaults.steps).describe(updates),
  learningRate: z.number().positive().default(defaults.learningRate),
  accumulate: z.number().int().positive().default(4).describe('calibration batches of an update'),
})

export interface TrainingChoices {
  readonly steps: number
  readonly learningRate: number
  readonly accumulate: number
}

/** The course of a training on the calibration batches: the rate rises for a tenth of the steps and falls as a cosine. */
export function courseOn({ batches }: Calibration, { steps, learningRate, accumulate }: TrainingChoices, random: Random): TrainOptions {
  return {
    steps,
    batchSize: 1,
    accumulate: Math.min(accumulate, batches.length),
    learningRate,
    schedule: schedule('cosine'),
    optimizer: adamW({ beta2: 0.99 }),
    seed: random.bits(),
  }
}

/** Trains a graph on the calibration batches, in place. */
export async function trainOnCalibration(
  graph: Graph,
  objective: Objective<CalibrationBatch>,
  choices: TrainingChoices,
  context: PassContext,
  more: Pick<TrainOptions, 'extra' | 'groups'> = {},
): Promise<NonNullable<PassResult['details']>> {
  const calibration = context.calibration!
  const course = { ...courseOn(calibration, choices, context.random), clipNorm: 1, ...more }
  const result = await train(graph, objective, calibration.batches, course, { progress: context.progress, signal: context.signal })
  const lossAt = (index: number) => Number((result.steps.at(index)?.loss ?? 0).toPrecision(4))
  return [{ steps: choices.steps, firstLoss: lossAt(0), lastLoss: lossAt(-1) }]
}
