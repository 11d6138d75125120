/** Fine-tunes a classifier of texts in memory alone; runs wherever Tinsmith runs. */
import project from '../../package.json' with { type: 'json' }
import { type Folder, MemoryFolder } from '../../src/base/bytes.js'
import { SourceFolder } from '../../src/base/folders.js'
import { Random } from '../../src/base/random.js'
import { runModel } from '../../src/commands/load.js'
import { hashFiles, nameOf } from '../../src/commands/source.js'
import type { TextSample } from '../../src/data/index.js'
import type { Config } from '../../src/ir/index.js'
import { openTokenizer, type Pipeline } from '../../src/pipelines/index.js'
import { importModel } from '../../src/raise/import.js'
import { chooseObjectives, createObjective } from '../../src/recipes/objectives.js'
import { courseOf } from '../../src/recipes/train-options.js'
import { trainingPreset } from '../../src/recipes/training.js'
import { fileBytes, writeTransformersJs } from '../../src/targets/index.js'
import { classification, type Evaluation } from '../../src/tasks/index.js'
import { type StepRecord, train } from '../../src/train/index.js'
import { severalClasses } from '../../src/train/objectives/index.js'
import { heldOut } from './examples.js'

export { fetchedFolder } from './model-files.js'

/** What is to be trained on what. */
export interface Job {
  /** A checkpoint's folder, or a hub id. */
  readonly source: Folder | string
  readonly examples: readonly TextSample[]
  /** Settings of the recipe `classifier`, as in `epochs=5`. */
  readonly changes: readonly string[]
  readonly seed: number
}

/** What watches a job, and what stops it. */
export interface JobHooks {
  readonly signal?: AbortSignal
  /** Told once, before the first step. */
  readonly onStart?: (steps: number, warnings: readonly string[]) => void
  readonly onStep?: (record: StepRecord) => void
}

/** A text that was kept from the training, its label and what the model says. */
export interface Answer {
  readonly text: string
  readonly label: string
  readonly predicted: string
  readonly score: number
}

/** A trained classifier. */
export interface FineTuned {
  /** As transformers.js loads it. */
  readonly folder: MemoryFolder
  readonly steps: readonly StepRecord[]
  /** On the examples that were kept from the training. */
  readonly evaluation: Evaluation
  readonly answers: readonly Answer[]
}

/**
 * Trains by the preset `classifier`, measures on a fifth of the examples, and writes the model.
 *
 * @throws TinsmithError as `train` of the command line does
 */
export async function fineTune({ source, examples, changes, seed }: Job, { signal, onStart, onStep }: JobHooks = {}): Promise<FineTuned> {
  const recipe = await trainingPreset('classifier', changes)
  const labels = severalClasses(examples)
  const { learned, kept } = heldOut(examples, seed)
  const imported = await importModel(source, { head: { head: 'ForSequenceClassification', labels, random: new Random(seed, 'head') } })
  const { model } = imported
  const tokenizer = model.files.has('tokenizer.json') ? await openTokenizer(new SourceFolder(model.files, model.type)) : null
  const config: Config = model.config ?? {}
  const objective = createObjective(chooseObjectives(recipe.objectives, recipe.name), {
    graph: model.graph,
    config,
    tokenizer,
    imageSettings: {},
    teacher: null,
    maxLength: recipe.maxLength,
  })
  const { options } = courseOf({ ...recipe, batchSize: Math.min(recipe.batchSize, learned.length) }, learned.length, seed)
  const before = await fileBytes(model, { dtype: 'fp32', version: project.version })
  onStart?.(options.steps, imported.warnings)
  const { steps } = await train(model.graph, objective, learned, options, { signal, onStep })
  const name = typeof source === 'string' ? nameOf(source) : source.name
  const pipeline = await runModel(model, name)
  const [evaluation, answers] = await measured(pipeline, kept, signal).finally(() => pipeline.dispose())
  const folder = new MemoryFolder(new Map(), `${name.split('/').at(-1)}-classifier`)
  await writeTransformersJs(model, folder, {
    dtype: 'fp32',
    signal,
    details: {
      source: { name, files: await hashFiles(imported.source, signal) },
      recipe: { name: recipe.name, summary: recipe.summary, text: recipe.text, changes },
      calibration: null,
      seed,
      versions: { tinsmith: project.version },
      figures: {
        task: classification.name,
        samples: evaluation.samples,
        baseline: evaluation.baselines,
        before: { bytes: before, metrics: {} },
        after: { metrics: evaluation.metrics },
      },
    },
  })
  return { folder, steps, evaluation, answers }
}

async function measured(pipeline: Pipeline, kept: readonly TextSample[], signal: AbortSignal | undefined): Promise<[Evaluation, Answer[]]> {
  const texts = kept.map((example) => example.texts[0])
  const found = await pipeline.classify(texts, { signal })
  const answers = kept.map(
    ({ label }, i): Answer => ({ text: texts[i], label: String(label), predicted: found[i][0].label, score: found[i][0].score }),
  )
  return [await classification.evaluate(pipeline, kept, { signal }), answers]
}
