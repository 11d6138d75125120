import { assetPath, cacheFolder, joinPath, pathKind, removeFolder } from '#platform'
import { missingAsset } from '../base/folders.js'
import type { Pipeline } from '../pipelines/index.js'
import { compare } from './compare.js'
import { compress } from './compress.js'
import type { CommandOptions } from './context.js'
import { load } from './load.js'

/** The engines whose speeds are shown. */
const engines = ['ort', 'compiled'] as const
export type DemoEngine = (typeof engines)[number]

/** The recipes that are shown. */
export type DemoRecipe = 'int8' | 'int4'

/** Whether a recipe looks at texts first. */
const calibrated: Readonly<Record<DemoRecipe, boolean>> = { int8: true, int4: false }

/** A model that comes with this package, and what it is shown with. */
interface EmbeddedModel {
  readonly name: string
  readonly task: string
  readonly metric: string
  readonly recipes: readonly DemoRecipe[]
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
    recipes: ['int8'],
    samples: 'samples.csv',
    input: 'a small bird that sings at night',
    async answer(pipeline, input) {
      const [[{ label, score }]] = await pipeline.classify([input])
      return `${label} (${(100 * score).toFixed(1)} % sure)`
    },
  },
  {
    name: 'wordnet-language-model',
    task: 'language-model',
    metric: 'perplexity',
    recipes: ['int8', 'int4'],
    samples: 'samples.txt',
    input: 'a small bird',
    answer: async (pipeline, input) => `${input}${await pipeline.generate(input, { maxNewTokens: 12 })}`,
  },
]

/** A model as it was trained (`original`, in 32-bit floats) or as a recipe made it. */
export interface DemoForm {
  readonly form: 'original' | DemoRecipe
  readonly bytes: number
  /** What the task measures on the samples. */
  readonly quality: number
  /** Per second, in ONNX Runtime and with kernels of our own; all forms measured in turn. */
  readonly rates: Readonly<Record<DemoEngine, number>>
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
  /** The original comes first. */
  readonly forms: readonly DemoForm[]
}

export interface DemoResult {
  readonly models: readonly DemoModel[]
  readonly seconds: number
}

/**
 * Compresses two small models that come with this package, a classifier and a language model, into 8-bit and 4-bit integers and
 * measures size, quality and speed before and after. Nothing from outside is needed, and nothing is left behind.
 *
 * @throws TinsmithError `failed` when the models are missing from the package; `unsupported` in browsers
 * @example
 * const { models } = await demo()
 */
export async function demo(options: CommandOptions = {}): Promise<DemoResult> {
  const start = performance.now()
  const work = joinPath(cacheFolder(), 'demo')
  const models: DemoModel[] = []
  try {
    for (const model of embedded) models.push(await show(model, joinPath(work, model.name), options))
  } finally {
    await removeFolder(work)
  }
  return { models, seconds: (performance.now() - start) / 1e3 }
}

async function show(embedded: EmbeddedModel, work: string, options: CommandOptions): Promise<DemoModel> {
  const { name, task, metric, samples, input } = embedded
  const source = await folderOf(name)
  const folders = [source]
  const seconds: (number | null)[] = [null]
  for (const recipe of embedded.recipes) {
    const start = performance.now()
    const [out, calibrate] = [joinPath(work, recipe), calibrated[recipe] ? joinPath(source, 'calibration.txt') : undefined]
    await compress(source, out, { ...options, recipe, calibrate, force: true, fresh: true })
    folders.push(out)
    seconds.push((performance.now() - start) / 1e3)
  }
  const compared = await compare(folders, { ...options, engines, evaluate: `${task}=${joinPath(source, samples)}` })
  const forms: DemoForm[] = []
  for (const [i, form] of (['original', ...embedded.recipes] as const).entries()) {
    const [{ bytes, rate: ort, metrics }, { rate: compiled }] = compared.rows.slice(engines.length * i)
    const answer = await answerOf(embedded, folders[i])
    forms.push({ form, bytes, quality: metrics[metric], rates: { ort, compiled }, seconds: seconds[i], answer })
  }
  return { model: name, task, metric, samples: compared.samples, unit: compared.unit, input, forms }
}

async function folderOf(name: string): Promise<string> {
  const address = new URL(`../../assets/${name}`, import.meta.url)
  const folder = assetPath(address)
  if ((await pathKind(folder)) !== 'folder') throw missingAsset(address, null)
  return folder
}

async function answerOf({ input, answer }: EmbeddedModel, folder: string): Promise<string> {
  const pipeline = await load(folder)
  try {
    return await answer(pipeline, input)
  } finally {
    await pipeline.dispose()
  }
}
