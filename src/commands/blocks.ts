import type { Progress } from '../base/progress.js'
import { blockAgreement } from '../calibration/block-agreement.js'
import type { Calibration } from '../calibration/calibration.js'
import { readsImages } from '../calibration/from-images.js'
import { calibrationFromTokens } from '../calibration/from-text.js'
import { sampleEvenly } from '../data/index.js'
import { openGraph } from '../engine/open.js'
import type { Model } from '../ir/model.js'
import type { BlockFigure } from '../report/index.js'
import { fromImages, tokenizerOf } from './calibrate.js'
import type { TaskFile } from './task-file.js'

/** Batches, or texts or images, that blocks are compared on: enough for a figure in dB. */
const [mostBatches, mostTexts] = [8, 32]

/** Where the inputs come from on which blocks are compared: calibration data, else the texts of the task. */
interface BlockInputs {
  readonly calibration: Calibration | null
  readonly taskFile: TaskFile | null
  readonly progress: Progress
  readonly signal?: AbortSignal
}

/** How far each block of a compressed model agrees with the original's; undefined without inputs, or for models of several graphs. */
export async function blockFigures(original: Model, model: Model, inputs: BlockInputs): Promise<BlockFigure[] | undefined> {
  const { progress, signal } = inputs
  const calibration = original.graphs.size === 1 ? (inputs.calibration ?? (await fromTask(original, inputs.taskFile))) : null
  if (!calibration) return undefined
  const batches = sampleEvenly(calibration.batches, mostBatches)
  const found = await blockAgreement(original.graph, model.graph, batches, { open: openGraph, progress, signal })
  return found.map(({ block, sqnr, cosine }) => ({ block, sqnr: Number.isFinite(sqnr) ? sqnr : null, cosine }))
}

async function fromTask(model: Model, taskFile: TaskFile | null): Promise<Calibration | null> {
  if (taskFile && readsImages(model.graph)) return fromImages(taskFile.samples, model, taskFile.file, mostTexts)
  const tokenizer = taskFile && (await tokenizerOf(model))
  if (!tokenizer) return null
  const texts = sampleEvenly(
    taskFile.samples.flatMap((sample) => ('texts' in sample ? [...sample.texts] : [])),
    mostTexts,
  )
  const maxLength = Math.min(tokenizer.maxLength, 128)
  const encoded = texts.map((text) => tokenizer.encodeOne(text, { maxLength }))
  return calibrationFromTokens(encoded, model.graph, tokenizer.padId, taskFile.file)
}
