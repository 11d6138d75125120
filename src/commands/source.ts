import { sha256, splitPath } from '#platform'
import { throwIfAborted } from '../base/errors.js'
import { isHubId, type Source, travellingFiles } from '../formats/index.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import { type Imported, importModel } from '../raise/import.js'
import type { WarningKeeper } from './context.js'

/** A model's file with its hash. */
export interface HashedFile {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

/** Reads a model and tells what a person should know about how it was read. */
export async function openSource(text: string | Source, progress: WarningKeeper): Promise<Imported> {
  const stage = progress.stage(`reading ${nameOf(typeof text === 'string' ? text : text.name)}`)
  try {
    const imported = await importModel(text)
    for (const warning of imported.warnings) progress.warn(warning)
    leaveOutVariants(imported.model, progress)
    if ([...imported.model.graphs.values()].some(isQuantized))
      progress.warn('the source is quantized already, and what that cost stays lost')
    return imported
  } finally {
    stage.end()
  }
}

/** A folder of several dtypes holds the same graph several times: the one in floats is the source. */
function leaveOutVariants({ graphs }: Model, progress: WarningKeeper): void {
  for (const name of [...graphs.keys()]) {
    const base = name.replace(/_(fp16|quantized|int8|uint8|q\w+|bnb4)$/, '')
    if (base === name || !graphs.has(base)) continue
    graphs.delete(name)
    progress.warn(`${name}.onnx is left out, for it is another form of ${base}.onnx`)
  }
}

function isQuantized(graph: Graph): boolean {
  for (const node of graph.nodes()) if (node.type === 'DequantizeLinear' && node.input(0)?.tensor) return true
  return false
}

/** The hub id, or the last part of a path: what reports call a model. */
export function nameOf(text: string): string {
  return isHubId(text) ? text : splitPath(text).name
}

/** Whether a graph decodes with a key-value cache. */
export function isDecoder(graph: Graph): boolean {
  return graph.inputs.some((input) => input.name.startsWith('past_key_values'))
}

/** The files of a source that its model was made of, with their hashes. */
export async function hashFiles({ kind, folder, graphs }: Source, signal?: AbortSignal): Promise<HashedFile[]> {
  const present = await folder.list()
  const travelling = new Set(travellingFiles(present))
  const belongs = (path: string) =>
    travelling.has(path) ||
    (kind === 'checkpoint' ? /^[^/]+\.safetensors(\.index\.json)?$/.test(path) : graphs.some((graph) => isPartOf(path, graph)))
  const files: HashedFile[] = []
  for (const path of present.filter(belongs)) {
    throwIfAborted(signal)
    const source = await folder.open(path)
    files.push({ path, bytes: source.size, sha256: await sha256(source) })
  }
  return files
}

/** Whether a file is an ONNX file or, by its name, external data of it. */
function isPartOf(path: string, graph: string): boolean {
  if (path === graph) return true
  const below = graph.slice(0, graph.lastIndexOf('/') + 1)
  const beside = path.startsWith(below) && !path.slice(below.length).includes('/') && !path.endsWith('.onnx')
  return beside && (path.startsWith(graph.replace(/\.onnx$/, '')) || /\.(data|bin|weights?)$/.test(path))
}

/** One hash of several files. */
export function hashOf(files: readonly HashedFile[]): Promise<string> {
  return sha256(new TextEncoder().encode(JSON.stringify(files.map((file) => [file.path, file.sha256]))))
}
