import { usage } from '../base/errors.js'
import { resolveSource } from '../formats/index.js'
import { onnxFiles } from '../pipelines/index.js'
import type { Evaluation } from '../tasks/index.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { evaluateOn } from './evaluate.js'
import { type LoadedModel, loadModel } from './load.js'
import { measureRates } from './measure.js'
import { openTaskFile } from './task-file.js'

export interface CompareOptions extends CommandOptions {
  /** `TASK=FILE`. */
  readonly evaluate: string
  readonly columns?: string
  readonly tokens?: number
  readonly window?: number
}

export interface ComparedModel {
  readonly model: string
  readonly dtype: string
  readonly metrics: Readonly<Record<string, number>>
  readonly bytes: number
  /** Per second. */
  readonly rate: number
  /** Of its rate to the first model's. */
  readonly ratio: number
}

export interface CompareResult {
  readonly task: string
  readonly samples: number
  /** The metrics without any model (the majority class). */
  readonly baseline: Readonly<Record<string, number>>
  /** Of the rates. */
  readonly unit: string
  readonly rows: readonly ComparedModel[]
  readonly warnings: readonly string[]
}

/**
 * Quality, size and speed of models side by side; for the speeds they take turns.
 *
 * @param models folders (with all the dtypes that they hold), `.onnx` files or hub ids; the ratios are to the first
 * @throws TinsmithError as `evaluate`
 * @example
 * const { rows } = await compare(['all-MiniLM-L6-v2', 'out'], { evaluate: 'sts=dev.csv' })
 */
export async function compare(models: readonly string[], options: CompareOptions): Promise<CompareResult> {
  if (!models.length) throw usage('there is nothing to compare', { hint: 'Name models.' })
  const progress = new WarningKeeper(options.progress)
  const taskFile = await openTaskFile(options.evaluate, options.columns, progress)
  const loaded: LoadedModel[] = []
  try {
    for (const model of models) loaded.push(...(await loadForms(model, { ...options, progress })))
    const found: Evaluation[] = []
    for (const { pipeline } of loaded) found.push(await evaluateOn(pipeline, taskFile, { ...options, progress }))
    const pipelines = loaded.map(({ pipeline }) => pipeline)
    const rates = await measureRates(pipelines, taskFile.samples, { progress, signal: options.signal })
    const rows = loaded.map(({ name, dtype, bytes }, i) => {
      return { model: name, dtype, metrics: found[i].metrics, bytes, rate: rates[i].value, ratio: rates[i].value / rates[0].value }
    })
    const [{ samples, baselines }] = found
    return { task: taskFile.task.name, samples, baseline: baselines, unit: rates[0].unit, rows, warnings: progress.warnings }
  } finally {
    for (const { pipeline } of loaded) await pipeline.dispose()
  }
}

/** A model in each dtype that its folder holds. */
async function loadForms(model: string, options: CommandOptions): Promise<LoadedModel[]> {
  const { kind, folder, graphs } = await resolveSource(model)
  const files = kind === 'onnx' ? (await onnxFiles(folder)).filter((file) => graphs.includes(file.path)) : []
  if (files.length < 2) return [await loadModel(model, { ...options, engine: 'ort' })]
  const forms: LoadedModel[] = []
  for (const { dtype } of files) forms.push(await loadModel(model, { ...options, engine: 'ort', dtype }))
  return forms
}
