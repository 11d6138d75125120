import { readAll, readText, type WritableFolder, writeFile } from '../base/bytes.js'
import { SourceFolder } from '../base/folders.js'
import type { Config, Model } from '../ir/model.js'
import type { DTypeWord } from '../pipelines/index.js'
import { type GraphFile, MeasuringFolder, writeGraphFiles } from './graph-files.js'
import { modelCard } from './model-card.js'
import type { Figure, Provenance } from './provenance.js'
import { readBack } from './read-back.js'

export interface TransformersJsOptions {
  readonly dtype: DTypeWord
  /** The model in floats, to be written beside. */
  readonly keepFp32?: Model
  /** For the model card and tinsmith.json; the bytes of the result are filled in. */
  readonly details: Omit<Provenance, 'figures'> & {
    readonly figures: Omit<Provenance['figures'], 'after'> & { readonly after: Pick<Figure, 'metrics'> }
  }
  readonly signal?: AbortSignal
}

/** What was written. */
export interface Written {
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  /** Of the graphs of the dtype, external data included. */
  readonly bytes: number
}

/**
 * Writes a model as transformers.js loads it, reads it back and proves that the files hold what was meant.
 *
 * `onnx/model{suffix}.onnx` with external data from 1.9 * 10^9 bytes on, config.json, the files that travel along unchanged, a model card
 * and `tinsmith.json`. The same model and details give the same bytes.
 *
 * @throws TinsmithError `difference` when what lies in the folder is not what was meant; `unsupported` when ONNX Runtime cannot run it
 * @example
 * await writeTransformersJs(model, folder, { dtype: 'q8', details })
 */
export async function writeTransformersJs(model: Model, into: WritableFolder, options: TransformersJsOptions): Promise<Written> {
  const { dtype, keepFp32, details, signal } = options
  const folder = new MeasuringFolder(into, signal)
  const version = details.versions['tinsmith'] ?? ''
  const files = await writeGraphFiles(model, folder, { dtype, version })
  const bytes = folder.total
  const fp32Files = keepFp32 ? await writeGraphFiles(keepFp32, folder, { dtype: 'fp32', version }) : []
  const provenance: Provenance = { ...details, figures: { ...details.figures, after: { bytes, ...details.figures.after } } }
  await writeConfig(model, folder, chunksOf([...files, ...fp32Files], folder))
  for (const [path, source] of model.files) if (path !== 'config.json') await writeFile(folder, path, await readAll(source))
  await writeFile(folder, 'README.md', modelCard(model, dtype, provenance))
  await writeFile(folder, 'tinsmith.json', `${JSON.stringify(provenance, null, 2)}\n`)
  await readBack(model, files, into, { seed: details.seed, signal })
  if (keepFp32) await readBack(keepFp32, fp32Files, into, { seed: details.seed, signal })
  return { files: [...folder.bytes].map(([path, size]) => ({ path, bytes: size })).sort((a, b) => (a.path < b.path ? -1 : 1)), bytes }
}

/** Files of external data by the name of their graph's file; what clients must be told. */
function chunksOf(files: readonly GraphFile[], folder: MeasuringFolder): Record<string, number> {
  const chunks = files.map(({ path }) => {
    return [path.slice('onnx/'.length), [...folder.bytes.keys()].filter((file) => file.startsWith(`${path}_data`)).length] as const
  })
  return Object.fromEntries(chunks.filter(([, count]) => count))
}

/** config.json as it came unless it has to say something else now. */
async function writeConfig(model: Model, folder: WritableFolder, chunks: Readonly<Record<string, number>>): Promise<void> {
  if (!model.config) return
  const settings = { ...(model.config['transformers.js_config'] as Config | undefined) }
  delete settings['use_external_data_format']
  if (Object.keys(chunks).length) settings['use_external_data_format'] = chunks
  const { 'transformers.js_config': _, ...config }: Record<string, unknown> = { ...model.config }
  if (Object.keys(settings).length) config['transformers.js_config'] = settings
  const original = model.files.has('config.json') ? await readText(new SourceFolder(model.files, 'model'), 'config.json') : null
  const unchanged = original !== null && JSON.stringify(JSON.parse(original)) === JSON.stringify(config)
  await writeFile(folder, 'config.json', unchanged ? original : `${JSON.stringify(config, null, 2)}\n`)
}
