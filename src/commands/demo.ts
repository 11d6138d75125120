import { assetPath, cacheFolder, joinPath, removeFolder } from '#platform'
import type { Pipeline } from '../pipelines/index.js'
import { compare } from './compare.js'
import { compress } from './compress.js'
import type { CommandOptions } from './context.js'
import { load } from './load.js'

/** Recipes that are shown, and whether they look at texts first. */
const recipes = [
  { name: 'int8', calibrated: true },
  { name: 'int4', calibrated: false },
] as const

/** A model that comes with this package, and what it is shown with. */
interface EmbeddedModel {
  readonly name: string
  readonly task: string
  readonly metric: string
  /** File of samples in the model's folder. */
  readonly samples: string
  readonly input: string
  answer(pipeline: Pipeline, input: string): Promise<string>
}

const embedded: readonly EmbeddedModel[] = [
  {
    name: 'wordnet-classifier',
    task: 'classification',
    metric: 'accuracy',
    samples: 'samples.csv',
    input: 'a small bird that sings at night',
    answer: async (pipeline, input) => (await pipeline.classify([input]))[0][0].label,
  },
  {
    name: 'wordnet-language-model',
    task: 'language-model',
    metric: 'perplexity',
    samples: 'samples.txt',
    input: 'a small bird',
    answer: async (pipeline, input) => `${input}${await pipeline.generate(input, { maxNewTokens: 24 })}`,
  },
]

/** A model as it was trained (`original`, in 32-bit floats) or as a recipe made it. */
export interface DemoForm {
  readonly form: 'original' | (typeof recipes)[number]['name']
  readonly bytes: number
  /** What the task measures on the samples. */
  readonly quality: number
  /** Per second, all forms measured in turn. */
  readonly rate: number
  /** That compressing took; null for the original. */
  readonly seconds: number | null
  /** What it makes of the example. */
  readonly answer: string
}

export interface DemoModel {
  readonly model: string
  readonly task: string
  /** What `quality` is: accuracy in percent, or perplexity. */
  readonly metric: string
  readonly samples: number
  /** Of the rates. */
  readonly unit: string
  /** The text of the example. */
  readonly input: string
  readonly forms: readonly DemoForm[]
}

export interface DemoResult {
  readonly models: readonly DemoModel[]
  readonly seconds: number
}

/**
 * Compresses two small models that come with this package, a classifier and a language model, into 8-bit and 4-bit integers and
 * measures size, quality and speed before and after. Nothing from outside is needed.
 *
 * @throws TinsmithError `bad-input` when the models are not there; `unsupported` in browsers
 * @example
 * const { models } = await demo()
 */
export async function demo(options: CommandOptions = {}): Promise<DemoResult> {
  const start = performance.now()
  const models: DemoModel[] = []
  for (const model of embedded) models.push(await show(model, options))
  return { models, seconds: (performance.now() - start) / 1e3 }
}

async function show({ name, task, metric, samples, input, answer }: EmbeddedModel, options: CommandOptions): Promise<DemoModel> {
  const source = assetPath(new URL(`../../assets/${name}`, import.meta.url))
  const work = joinPath(cacheFolder(), 'demo', name)
  try {
    const seconds: number[] = []
    for (const { name: recipe, calibrated } of recipes) {
      const start = performance.now()
      const calibrate = calibrated ? joinPath(source, 'calibration.txt') : undefined
      await compress(source, joinPath(work, recipe), { ...options, recipe, calibrate, force: true, fresh: true })
      seconds.push((performance.now() - start) / 1e3)
    }
    const folders = [source, ...recipes.map((recipe) => joinPath(work, recipe.name))]
    const evaluate = `${task}=${joinPath(source, samples)}`
    const compared = await compare(folders, { ...options, evaluate })
    const forms: DemoForm[] = []
    for (const [i, { metrics, bytes, rate }] of compared.rows.entries()) {
      const made = await answerOf(folders[i], input, answer)
      const form = i ? recipes[i - 1].name : 'original'
      forms.push({ form, bytes, quality: metrics[metric], rate, seconds: i ? seconds[i - 1] : null, answer: made })
    }
    return { model: name, task, metric, samples: compared.samples, unit: compared.unit, input, forms }
  } finally {
    await removeFolder(work)
  }
}

async function answerOf(folder: string, input: string, answer: EmbeddedModel['answer']): Promise<string> {
  const pipeline = await load(folder)
  try {
    return await answer(pipeline, input)
  } finally {
    await pipeline.dispose()
  }
}
