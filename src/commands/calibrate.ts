import { openFile, openFolder, pathKind, splitPath } from '#platform'
import { MemorySource } from '../base/bytes.js'
import { badInput, unsupported, usage } from '../base/errors.js'
import { SourceFolder } from '../base/folders.js'
import type { Progress } from '../base/progress.js'
import { Random } from '../base/random.js'
import type { Calibration } from '../calibration/calibration.js'
import { calibrationFromImages, imageCalibrationDefaults, readsImages } from '../calibration/from-images.js'
import { calibrationDefaults, calibrationFromFile } from '../calibration/from-text.js'
import { selfGenerated } from '../calibration/self-generated.js'
import { imagesInFolder, imagesInTable, type Sample } from '../data/index.js'
import { openGraph } from '../engine/open.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import { openTokenizer, readObject, type Tokenizer } from '../pipelines/index.js'
import { preset } from '../recipes/presets.js'
import { type ChosenRecipe, needsCalibration, usesCalibration } from './recipe.js'
import { isDecoder } from './source.js'

export interface CalibrateOptions {
  /** A file of texts, or texts; for models of images a folder of them, a table that names them, or their paths. */
  readonly calibrate?: string | readonly string[]
  readonly columns?: string
  readonly seed: number
  readonly progress: Progress
  readonly signal?: AbortSignal
}

/** Texts that a decoder writes for its calibration, and their tokens. */
const [ownTexts, textLength] = [16, 96]

/** A recipe that can run, with the calibration data that it needs. */
export interface Calibrated extends ChosenRecipe {
  readonly calibration: Calibration | null
}

/**
 * Finds calibration data for a recipe that needs some: the given texts, text that a decoder writes itself, or for an encoder the recipe that
 * does without.
 *
 * @throws TinsmithError `usage` that says what to pass; `bad-input` when the file holds no texts or the model has no tokenizer
 */
export async function calibrateFor(chosen: ChosenRecipe, model: Model, options: CalibrateOptions): Promise<Calibrated> {
  const { recipe } = chosen
  if (!needsCalibration(recipe) && !(options.calibrate && usesCalibration(recipe))) {
    if (options.calibrate) options.progress.warn(`the recipe ${recipe.name} needs no calibration data, so what was given is not used`)
    return { ...chosen, calibration: null }
  }
  if (options.calibrate && readsImages(graphOf(model)))
    return { ...chosen, calibration: await fromImages(await imageSamples(options.calibrate, options.columns), model, 'images') }
  if (options.calibrate) return { ...chosen, calibration: await fromTexts(options.calibrate, model, options) }
  if ([...model.graphs.values()].some(isDecoder)) return { ...chosen, calibration: await fromItself(model, options) }
  return withoutData(chosen, options.progress)
}

async function withoutData({ recipe, changes }: ChosenRecipe, progress: Progress): Promise<Calibrated> {
  const hint = 'Pass --calibrate FILE with texts like those that the model will see, one a line or in a table; some hundred are enough.'
  const instead = recipe.withoutCalibration
  if (!instead) throw usage(`the recipe ${recipe.name} needs calibration data, which an encoder cannot write itself`, { hint })
  if (changes.length) throw usage(`the options given with --set belong to ${recipe.name}, which needs calibration data`, { hint })
  progress.warn(`without --calibrate, ${instead} is used instead of ${recipe.name}; a text's result then depends a little on its batch`)
  return { recipe: await preset(instead), changes: [], calibration: null }
}

async function fromTexts(given: string | readonly string[], model: Model, { columns, progress }: CalibrateOptions): Promise<Calibration> {
  const tokenizer = await tokenizerOf(model)
  if (!tokenizer)
    throw badInput('the model has no tokenizer.json, which calibration from text needs', { hint: "Copy it from the model's source." })
  const file = typeof given === 'string' ? await openFile(given) : new MemorySource(new TextEncoder().encode(given.join('\n')), 'texts.txt')
  return calibrationFromFile(file, tokenizer, graphOf(model), progress, { ...calibrationDefaults, columns })
}

async function imageSamples(given: string | readonly string[], columns: string | undefined): Promise<readonly Sample[]> {
  if (typeof given !== 'string') return given.map((image) => ({ image }))
  if ((await pathKind(given)) === 'folder') return (await imagesInFolder(await openFolder(given), { labelled: false })).samples
  return (await imagesInTable(await openFile(given), await openFolder(splitPath(given).folder), { columns, labelled: false })).samples
}

/** Calibration from those of the samples that are images. */
export async function fromImages(
  samples: readonly Sample[],
  model: Model,
  origin: string,
  most = imageCalibrationDefaults.samples,
): Promise<Calibration> {
  const settings = await readObject(new SourceFolder(model.files, model.type), 'preprocessor_config.json')
  const images = samples.flatMap((sample) => ('image' in sample ? [sample.image] : []))
  return calibrationFromImages(images, graphOf(model), settings, origin, { ...imageCalibrationDefaults, samples: most })
}

async function fromItself(model: Model, { seed, progress, signal }: CalibrateOptions): Promise<Calibration> {
  const graph = graphOf(model)
  const [tokenizer, vocabulary] = [await tokenizerOf(model), vocabularyOf(graph)]
  const longest = model.config?.['max_position_embeddings']
  const length = Math.min(textLength, typeof longest === 'number' ? longest : textLength)
  progress.info('the model writes its own calibration text')
  const [random, context] = [new Random(seed, 'calibration'), { open: openGraph, progress, signal }]
  return selfGenerated(graph, tokenizer, vocabulary, random, context, { samples: ownTexts, length })
}

function graphOf({ graphs }: Model): Graph {
  const [graph, ...more] = graphs.values()
  if (more.length)
    throw unsupported(`calibration of models with ${graphs.size} graphs is not there yet`, { hint: 'Use a recipe that needs none.' })
  return graph
}

function vocabularyOf(graph: Graph): number {
  const size = graph.outputs.find((output) => output.name === 'logits')?.shape?.at(-1)
  if (typeof size !== 'number')
    throw unsupported('the model predicts no tokens, so it cannot write calibration text', { hint: 'Pass --calibrate FILE.' })
  return size
}

/** The tokenizer that travels with a model, if any. */
export async function tokenizerOf(model: Model): Promise<Tokenizer | null> {
  return model.files.has('tokenizer.json') ? openTokenizer(new SourceFolder(model.files, model.type)) : null
}
