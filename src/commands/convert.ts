import { checkWritable, writeFolder } from '#platform'
import { openGraph } from '../engine/open.js'
import type { Source } from '../formats/index.js'
import { preset } from '../recipes/presets.js'
import { runRecipe, type StepReport } from '../recipes/run.js'
import { type Figure, type Provenance, writeTransformersJs } from '../targets/index.js'
import { versions } from './build.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { fp32Figure } from './figure.js'
import { parametersOfModel } from './parameters.js'
import { type HashedFile, hashFiles, nameOf, openSource } from './source.js'

export interface ConvertOptions extends CommandOptions {
  /** Default `fp32`. */
  readonly dtype?: 'fp32' | 'fp16'
  /** Replace a folder that holds files. */
  readonly force?: boolean
}

/** What `convert` and `compress` give. */
export interface ConvertResult {
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly model: { readonly type: string; readonly parameters: number }
  readonly steps: readonly StepReport[]
  /** The fp32 form. */
  readonly before: Figure
  readonly after: Figure
  readonly warnings: readonly string[]
}

/**
 * Reads a model from wherever it lies and writes it as transformers.js loads it.
 *
 * @param source folder, `.onnx` file or hub id
 * @param out folder; appears whole or not at all
 * @throws TinsmithError `usage` before any work when OUT holds files and `force` is not set; `bad-input`, `unsupported`; `difference` when
 * what was written is not what was meant; `cannot-write`
 * @example
 * const { after } = await convert('sentence-transformers/all-MiniLM-L6-v2', 'out')
 */
export async function convert(source: string, out: string, options: ConvertOptions = {}): Promise<ConvertResult> {
  const { dtype = 'fp32', force = false, signal } = options
  const progress = new WarningKeeper(options.progress)
  await checkWritable(out, { force })
  const { model, source: found } = await openSource(source, progress)
  const place = placeOptions(found, force)
  await checkWritable(out, place)
  const details = await detailsOf(source, found, signal)
  const before = await fp32Figure(model)
  const recipe = dtype === 'fp16' ? await preset('fp16') : null
  const context = { open: openGraph, calibration: null, seed: 0, progress, signal, store: null }
  const steps = recipe ? await runRecipe(model, recipe, context) : []
  const parameters = parametersOfModel(model)
  const stage = progress.stage('writing and reading back')
  const written = await writeFolder(out, place, (folder) =>
    writeTransformersJs(model, folder, { dtype, signal, details: { ...details, figures: { before, after: { metrics: {} } } } }),
  ).finally(() => stage.end())
  const after = { bytes: written.bytes, metrics: {} }
  return { files: written.files, model: { type: model.type, parameters }, steps, before, after, warnings: progress.warnings }
}

/** A new folder endangers no source; one that is replaced must hold nothing of it. */
export function placeOptions({ path }: Source, force: boolean): { force: boolean; sources: readonly string[] } {
  return { force, sources: force && path !== null ? [path] : [] }
}

/** What a plain conversion says about its origin; `compress` adds to it. */
export async function detailsOf(
  text: string,
  source: Source,
  signal?: AbortSignal,
): Promise<Omit<Provenance, 'figures'> & { source: { files: readonly HashedFile[] } }> {
  const files = await hashFiles(source, signal)
  return { source: { name: nameOf(text), files }, recipe: null, calibration: null, seed: 0, versions: await versions() }
}
