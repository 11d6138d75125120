import { usage } from '../base/errors.js'
import { resolveSource } from '../formats/index.js'
import { onnxFiles } from '../pipelines/index.js'
import type { Evaluation } from '../tasks/index.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { evaluateOn } from './evaluate.js'
import { type EngineName, type LoadedModel, loadModel } from './load.js'
import { measureRates } from './measure.js'
import { openTaskFile } from './task-file.js'

export interface CompareOptions extends CommandOptions {
  /** `TASK=FILE`. */
  readonly evaluate: string
  readonly columns?: string
  readonly tokens?: number
  readonly window?: number
  /** Every model is measured on each of them. Default: ONNX Runtime alone. */
  readonly engines?: readonly EngineName[]
}

export interface ComparedModel {
  readonly model: string
  readonly dtype: string
  /** What ran it. */
  readonly engine: string
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
 * Quality, size and speed of models side by side, on one engine or several; for the speeds they take turns.
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
    const rows = loaded.map(({ name, dtype, engine, bytes }, i) => {
      const rate = rates[i].value
      return { model: name, dtype, engine, metrics: found[i].metrics, bytes, rate, ratio: rate / rates[0].value }
    })
    const [{ samples, baselines }] = found
    return { task: taskFile.task.name, samples, baseline: baselines, unit: rates[0].unit, rows, warnings: progress.warnings }
  } finally {
    for (const { pipeline } of loaded) await pipeline.dispose()
  }
}

/** A model in each dtype that its folder holds, on each engine. */
async function loadForms(model: string, { engines = ['ort'], ...options }: CompareOptions): Promise<LoadedModel[]> {
  const { kind, folder, graphs } = await resolveSource(model)
  const files = kind === 'onnx' ? (await onnxFiles(folder)).filter((file) => graphs.includes(file.path)) : []
  const dtypes = files.length < 2 ? [undefined] : files.map(({ dtype }) => dtype)
  const forms: LoadedModel[] = []
  for (const dtype of dtypes) for (const engine of engines) forms.push(await loadModel(model, { ...options, engine, dtype }))
  return forms
}
