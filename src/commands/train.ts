import { checkWritable, openFile, openFolder, pathKind, removeFolder, sha256, splitPath, writeFolder } from '#platform'
import { anatomyOf } from '../anatomy/index.js'
import { readAll, writeFile } from '../base/bytes.js'
import { TinsmithError, usage } from '../base/errors.js'
import { SourceFolder } from '../base/folders.js'
import { Random } from '../base/random.js'
import { type Sample, sampleLengths } from '../data/index.js'
import type { Model } from '../ir/model.js'
import { tidy } from '../ir/tidy.js'
import { verify } from '../ir/verify.js'
import type { HeadOptions } from '../models/index.js'
import { inferShapes } from '../ops/infer.js'
import { dropLayers, keptLayers } from '../passes/distil/drop-layers.js'
import { readObject } from '../pipelines/index.js'
import { importModel } from '../raise/import.js'
import { type ChosenObjective, chooseObjectives, createObjective, type Trainee } from '../recipes/objectives.js'
import { checkedNamed, checkedOptimizer, courseOf } from '../recipes/train-options.js'
import { parseTrainingRecipe, type TrainingRecipe, trainingPreset, trainingPresetNames } from '../recipes/training.js'
import { writeTrainingReport } from '../report/index.js'
import { type Figure, type TransformersJsOptions, writeTransformersJs } from '../targets/index.js'
import type { Evaluation } from '../tasks/index.js'
import { type Adapter, adapterFrom, adapterNames, adapterOptions, onlyGroups } from '../train/adapters/index.js'
import {
  type EvaluationRecord,
  formatHistory,
  type History,
  historyFile,
  train as runTraining,
  type StepRecord,
  type TrainedGroup,
} from '../train/index.js'
import { severalClasses } from '../train/objectives/index.js'
import { tokenizerOf } from './calibrate.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { detailsOf, placeOptions } from './convert.js'
import { evaluateOn } from './evaluate.js'
import { fp32Figure } from './figure.js'
import { runModel } from './load.js'
import { parametersOfModel } from './parameters.js'
import { hashOf, nameOf } from './source.js'
import { openTaskFile, type TaskFile } from './task-file.js'

export interface TrainCommandOptions extends CommandOptions {
  /** Name of a preset for training, or a YAML file. */
  readonly recipe: string
  /** What is learned from: a table, texts, or a folder of images. */
  readonly data: string
  /** `TASK=FILE`: what is measured on the way; the best parameters by its main metric are kept. */
  readonly evaluate?: string
  /** What distillation learns from: folder, `.onnx` or `.gguf` file or hub id. Default: the source. */
  readonly teacher?: string
  /** Settings of the recipe, as in `learningRate=1e-4`. */
  readonly set?: readonly string[]
  /** Which columns of tables hold what: `text=0,label=2`. */
  readonly columns?: string
  /** Folder for report.json and report.html. */
  readonly report?: string
  /** Of all that is drawn. Default 0. */
  readonly seed?: number
  /** Replace a folder that holds files. */
  readonly force?: boolean
}

export interface TrainResult {
  readonly recipe: string
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly model: { readonly type: string; readonly parameters: number }
  readonly samples: number
  /** What was trained; all other parameters stayed as they were. */
  readonly groups: readonly TrainedGroup[]
  readonly steps: readonly StepRecord[]
  readonly evaluations: readonly EvaluationRecord[]
  /** The step whose parameters were written. */
  readonly best: number
  readonly before: Figure
  readonly after: Figure
  /** The task that was measured, and the metric that decided which parameters are best. */
  readonly task?: string
  readonly main?: { readonly metric: string; readonly better: 'higher' | 'lower' }
  /** Metrics without any model (the majority class). */
  readonly baseline?: Readonly<Record<string, number>>
  readonly warnings: readonly string[]
}

/**
 * Trains a model by a recipe and writes it as transformers.js loads it. What a killed run had reached lies in `OUT.training`, and the same
 * command goes on from there.
 *
 * @param source folder, `.onnx` or `.gguf` file or hub id
 * @param out folder; appears whole or not at all
 * @throws TinsmithError `usage`, `bad-input`, `unsupported`; `failed` when numbers stop being finite (step and tensor named)
 * @example
 * await train('distilbert-base-uncased', 'out', { recipe: 'classifier', data: 'train.csv', evaluate: 'classification=dev.csv' })
 */
export async function train(source: string, out: string, options: TrainCommandOptions): Promise<TrainResult> {
  const { force = false, seed = 0, signal } = options
  const progress = new WarningKeeper(options.progress)
  const assignment = await assignmentOf(source, out, options, progress)
  const { recipe, adapter, taskFile, model, objective, samples, details } = assignment
  const evaluate = taskFile ? evaluation(model, taskFile, nameOf(source), { ...options, progress }) : undefined
  const first = await evaluate?.()
  const before = { ...(await fp32Figure(model)), ...(first && { metrics: first.metrics }) }
  const folder = `${out}.training`
  const { options: course, stepsPerEpoch } = courseOf(recipe, samples.length, seed, sampleLengths(samples))
  const adapted = adapter?.insert(model.graph, new Random(seed, 'adapter'))
  const groups = adapted && [...recipe.groups, ...onlyGroups([...adapted, ...assignment.added])]
  const result = await runTraining(
    model.graph,
    objective,
    samples,
    { ...course, ...(groups && { groups }) },
    {
      progress,
      signal,
      folder,
      saveEvery: recipe.saveEvery,
      identity: await identityOf(assignment, options),
      evaluate: evaluate && (async () => (await evaluate()).metrics),
      evaluateEvery: recipe.evaluateEvery ?? stepsPerEpoch,
      main: taskFile?.task.main,
      patience: recipe.patience,
    },
  )
  if (adapter) merge(adapter, model, progress)
  const metrics = result.evaluations.find((record) => record.step === result.best)?.metrics ?? {}
  const stage = progress.stage('writing and reading back')
  const origin = {
    ...details,
    recipe: { name: nameOf(recipe.name), summary: recipe.summary, text: recipe.text, changes: options.set ?? [] },
    seed,
  }
  const measured = first && { task: taskFile!.task.name, baseline: first.baselines }
  const figures = { ...(measured && { ...measured, samples: first.samples }), before, after: { metrics } }
  const written = await writeTrained(out, assignment, result, { dtype: 'fp32', signal, details: { ...origin, figures } }).finally(() =>
    stage.end(),
  )
  await removeFolder(folder)
  const outcome: TrainResult = {
    recipe: recipe.name,
    files: written.files,
    model: { type: model.type, parameters: parametersOfModel(model) },
    samples: samples.length,
    ...result,
    before,
    after: { bytes: written.bytes, metrics },
    ...(measured && { ...measured, main: taskFile!.task.main }),
    warnings: progress.warnings,
  }
  if (options.report)
    await writeFolder(options.report, { force }, (target) =>
      writeTrainingReport(target, { ...outcome, data: nameOf(options.data), origin }),
    )
  return outcome
}

/** What is trained, by what, on what: all that is known before the first step. */
async function assignmentOf(source: string, out: string, options: TrainCommandOptions, progress: WarningKeeper) {
  const { force = false, seed = 0, columns, signal } = options
  await checkWritable(out, { force })
  if (options.report) await checkWritable(options.report, { force })
  const recipe = await chooseTrainingRecipe(options.recipe, options.set ?? [])
  const objectives = chooseObjectives(recipe.objectives, recipe.name)
  checkedOptimizer(recipe)
  const adapter = adapterOf(recipe)
  const taskFile = options.evaluate ? await openTaskFile(options.evaluate, columns, progress) : null
  const data = await readData(options.data, objectives, columns)
  const head = headOf(recipe, objectives, data, new Random(seed, 'head'))
  const { model, source: found, warnings, added } = await importModel(source, { head })
  for (const warning of warnings) progress.warn(warning)
  const place = placeOptions(found, force)
  await checkWritable(out, place)
  const teacher = await teacherFor(objectives, options.teacher, model, progress)
  if (recipe.student) dropLayers(model, keptLayers(recipe.student.layers, anatomyOf(model.graph).blocks.length))
  const trainee = await traineeOf(model, teacher, recipe)
  const objective = createObjective(objectives, trainee)
  const samples = objectives[0].kind.prepare?.(data, trainee) ?? data
  return { recipe, adapter, taskFile, model, added, place, objective, samples, details: await detailsOf(source, found, signal) }
}

type Assignment = Awaited<ReturnType<typeof assignmentOf>>

/** The adapter that the recipe names. */
function adapterOf({ adapter, name }: TrainingRecipe): Adapter | null {
  if (!adapter) return null
  return adapterFrom(checkedNamed('adapter', adapter, adapterOptions, adapterNames, name))
}

/** Folds an adapter into the weights; one that cannot be folded stays as it is. */
function merge(adapter: Adapter, { graph }: Model, progress: WarningKeeper): void {
  try {
    adapter.merge(graph)
  } catch (error) {
    if (!(error instanceof TinsmithError) || error.code !== 'unsupported') throw error
    progress.warn(`${adapter.name} stays beside the weights: ${error.message}`)
  }
  inferShapes(graph)
  tidy(graph)
  verify(graph)
}

async function chooseTrainingRecipe(text: string, changes: readonly string[]): Promise<TrainingRecipe> {
  const isPreset = (trainingPresetNames as readonly string[]).includes(text)
  if (isPreset || (await pathKind(text)) !== 'file') return trainingPreset(text, changes)
  return parseTrainingRecipe(new TextDecoder().decode(await readAll(await openFile(text))), text, changes)
}

async function readData(path: string, [{ kind }]: readonly ChosenObjective[], columns: string | undefined): Promise<readonly Sample[]> {
  if ((await pathKind(path)) === 'folder') {
    const { imagesInFolder } = await import('../data/index.js')
    if (kind.name !== 'image-classification') throw usage(`the objective ${kind.name} learns from a file, and ${path} is a folder`)
    return (await imagesInFolder(await openFolder(path))).samples
  }
  return kind.samples(await openFile(path), { columns, folder: await openFolder(splitPath(path).folder) })
}

/** The head that the model needs for what it is to learn. */
function headOf(
  { head }: TrainingRecipe,
  objectives: readonly ChosenObjective[],
  samples: readonly Sample[],
  random: Random,
): HeadOptions | undefined {
  const wanted = head ?? objectives.find(({ kind }) => kind.head)?.kind.head
  if (!wanted) return undefined
  const classes = objectives.find(({ kind }) => kind.classes)
  if (!classes) return { head: wanted, random }
  const labelled =
    classes.kind.name === 'token-classification'
      ? samples.flatMap(({ label }) =>
          String(label)
            .split(' ')
            .map((each) => ({ label: each })),
        )
      : samples
  return { head: wanted, random, labels: severalClasses(labelled) }
}

async function teacherFor(objectives: readonly ChosenObjective[], source: string | undefined, model: Model, progress: WarningKeeper) {
  const wanted = objectives.some(({ kind }) => kind.name === 'distillation')
  if (!wanted && source) progress.warn('the recipe learns from no teacher, so the one that was given is not used')
  if (!wanted) return null
  return source ? (await importModel(source)).model.graph : model.graph.clone()
}

async function traineeOf(model: Model, teacher: Trainee['teacher'], { maxLength }: TrainingRecipe): Promise<Trainee> {
  const files = new SourceFolder(model.files, model.type)
  return {
    graph: model.graph,
    config: model.config ?? {},
    tokenizer: await tokenizerOf(model),
    imageSettings: await readObject(files, 'preprocessor_config.json'),
    teacher,
    maxLength,
  }
}

/** Measures the model as it is. */
function evaluation(model: Model, taskFile: TaskFile, name: string, options: CommandOptions) {
  return async (): Promise<Evaluation> => {
    const pipeline = await runModel(model, name)
    try {
      return await evaluateOn(pipeline, taskFile, options)
    } finally {
      await pipeline.dispose()
    }
  }
}

/** Writes the model's folder, with the history of its training. */
function writeTrained(out: string, { model, place }: Assignment, trained: History, options: TransformersJsOptions) {
  return writeFolder(out, place, async (target) => {
    const done = await writeTransformersJs(model, target, options)
    const history = new TextEncoder().encode(formatHistory(trained, { repeatable: true }))
    await writeFile(target, historyFile, history)
    return { ...done, files: [...done.files, { path: historyFile, bytes: history.length }] }
  })
}

/** Tells whether a killed run was this one. */
async function identityOf({ details, recipe, samples }: Assignment, { set, seed = 0 }: TrainCommandOptions): Promise<string> {
  const hash = (value: unknown) => sha256(new TextEncoder().encode(JSON.stringify(value)))
  return hash([await hashOf(details.source.files), recipe.text, String(set), await hash(samples), String(seed)])
}
