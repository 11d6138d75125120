import { checkWritable, writeFolder } from '#platform'
import { openGraph } from '../engine/open.js'
import type { Model } from '../ir/model.js'
import type { Pipeline } from '../pipelines/index.js'
import { runRecipe } from '../recipes/run.js'
import { CachedSteps } from '../recipes/store.js'
import { type BlockFigure, type MeasuredFigure, writeReport } from '../report/index.js'
import { type Figure, type Figures, writeTransformersJs } from '../targets/index.js'
import { blockFigures } from './blocks.js'
import { buildOf } from './build.js'
import { calibrateFor } from './calibrate.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { type ConvertResult, detailsOf, placeOptions } from './convert.js'
import { evaluateOn } from './evaluate.js'
import { fp32Figure } from './figure.js'
import { runModel } from './load.js'
import { measureRates } from './measure.js'
import { parametersOfModel } from './parameters.js'
import { checkArchitecture, chooseRecipe } from './recipe.js'
import { hashOf, nameOf, openSource } from './source.js'
import { openTaskFile, type TaskFile } from './task-file.js'

export interface CompressOptions extends CommandOptions {
  /** Name of a preset, or a YAML file. Default `int8`. */
  readonly recipe?: string
  /** A file of texts (or texts) like those that the model will see. */
  readonly calibrate?: string | readonly string[]
  /** `TASK=FILE`: what is measured before and after. */
  readonly evaluate?: string
  /** Options of passes, as in `static-int8.rows=512`. */
  readonly set?: readonly string[]
  /** Replace a folder that holds files. */
  readonly force?: boolean
  /** Write the model in floats too. */
  readonly keepFp32?: boolean
  /** Which columns of tables hold what: `text=0,label=2`. */
  readonly columns?: string
  /** Of all that is drawn. Default 0. */
  readonly seed?: number
  /** language-model: tokens of the text that are scored, and of a window. */
  readonly tokens?: number
  readonly window?: number
  /** Folder for report.json and report.html, which hold times too and so differ from run to run. */
  readonly report?: string
  /** Neither take over finished steps of earlier runs nor keep any. */
  readonly fresh?: boolean
}

export interface CompressResult extends ConvertResult {
  readonly recipe: string
  readonly before: MeasuredFigure
  readonly after: MeasuredFigure
  readonly task?: string
  readonly samples?: number
  /** Metrics without any model (the majority class). */
  readonly baseline?: Readonly<Record<string, number>>
  /** Block by block against the original; with a report, where there are texts. */
  readonly blocks?: readonly BlockFigure[]
}

/**
 * Makes a model thinner by a recipe and writes it as transformers.js loads it.
 *
 * @param source folder, `.onnx` file or hub id
 * @param out folder; appears whole or not at all
 * @throws TinsmithError as {@link convert}; `failed` when a pass finds nothing to change
 * @example
 * const { before, after } = await compress('all-MiniLM-L6-v2', 'out', { calibrate: 'train.csv', evaluate: 'sts=dev.csv' })
 */
export async function compress(source: string, out: string, options: CompressOptions = {}): Promise<CompressResult> {
  const { force = false, seed = 0, columns, signal } = options
  const progress = new WarningKeeper(options.progress)
  await checkWritable(out, { force })
  if (options.report) await checkWritable(options.report, { force })
  const asked = await chooseRecipe(options.recipe ?? 'int8', options.set ?? [])
  const taskFile = options.evaluate ? await openTaskFile(options.evaluate, columns, progress) : null
  const { model, source: found } = await openSource(source, progress)
  const place = placeOptions(found, force)
  await checkWritable(out, place)
  checkArchitecture(asked.recipe, model)
  const { recipe, changes, calibration } = await calibrateFor(asked, model, { ...options, seed, progress })
  const details = await detailsOf(source, found, signal)
  const parameters = parametersOfModel(model)
  const [bytes, original] = [await fp32Figure(model), model.clone()]
  const { code } = await buildOf()
  const origin = { source: await hashOf(details.source.files), calibration: calibration?.hash ?? null, seed, code: code ?? '' }
  const store = code === null || options.fresh ? null : new CachedSteps(origin, { warn: (message) => progress.warn(message) })
  const steps = await runRecipe(model, recipe, { open: openGraph, calibration, seed, progress, signal, store })
  const figures = await measure(original, model, bytes, taskFile, nameOf(source), { ...options, progress })
  const blocks = options.report ? await blockFigures(original, model, { calibration, taskFile, progress, signal }) : undefined
  const stage = progress.stage('writing and reading back')
  const provenance = {
    ...details,
    recipe: { name: recipe.name, summary: recipe.summary, text: recipe.text, changes },
    calibration: calibration && { origin: nameOf(calibration.origin), samples: calibration.samples, hash: calibration.hash },
    seed,
  }
  const written = await writeFolder(out, place, (folder) =>
    writeTransformersJs(model, folder, {
      dtype: recipe.dtype,
      keepFp32: options.keepFp32 ? original : undefined,
      signal,
      details: { ...provenance, figures: repeatable(figures) },
    }),
  ).finally(() => stage.end())
  const result: CompressResult = {
    recipe: recipe.name,
    files: written.files,
    model: { type: model.type, parameters },
    steps,
    ...figures,
    after: { bytes: written.bytes, ...figures.after },
    ...(blocks ? { blocks } : {}),
    warnings: progress.warnings,
  }
  if (options.report)
    await writeFolder(options.report, { force }, (folder) => writeReport(folder, { ...result, dtype: recipe.dtype, origin: provenance }))
  return result
}

type Measures = Omit<Figures, 'before' | 'after'> & {
  readonly before: MeasuredFigure
  readonly after: Omit<MeasuredFigure, 'bytes'>
}

/** Quality of the model before and after, and both speeds in turn; bytes alone where there is no task. */
async function measure(
  original: Model,
  model: Model,
  before: Figure,
  taskFile: TaskFile | null,
  name: string,
  options: CompressOptions,
): Promise<Measures> {
  if (!taskFile) return { before, after: { metrics: {} } }
  const pipelines: Pipeline[] = []
  try {
    for (const each of [original, model]) pipelines.push(await runModel(each, name))
    const [was, is] = [await evaluateOn(pipelines[0], taskFile, options), await evaluateOn(pipelines[1], taskFile, options)]
    const [old, now] = await measureRates(pipelines, taskFile.samples, options)
    return {
      task: taskFile.task.name,
      samples: is.samples,
      baseline: is.baselines,
      before: { ...before, metrics: was.metrics, rate: old },
      after: { metrics: is.metrics, rate: now },
    }
  } finally {
    for (const pipeline of pipelines) await pipeline.dispose()
  }
}

/** Without speeds and last digits, so that the same run writes the same bytes. */
function repeatable({ task, samples, baseline, before, after }: Measures): Omit<Figures, 'after'> & { after: Pick<Figure, 'metrics'> } {
  const rounded = (metrics: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(metrics).map(([metric, value]) => [metric, Number(value.toPrecision(6))]))
  return {
    ...(task ? { task, samples, baseline: rounded(baseline ?? {}) } : {}),
    before: { bytes: before.bytes, metrics: rounded(before.metrics) },
    after: { metrics: rounded(after.metrics) },
  }
}
