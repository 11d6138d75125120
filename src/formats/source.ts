import { joinPath, namesIn, openFile, openFolder, pathKind, splitPath } from '#platform'
import type { Folder } from '../base/bytes.js'
import { badInput, nearest, unsupported } from '../base/errors.js'
import { holdsCheckpoint } from './checkpoint.js'
import { type HubOptions, hubFolder, isHubId } from './hub.js'

/** Where a model comes from, told apart by what is there. */
export interface Source {
  /** `checkpoint`: configuration and weights; `onnx`: graphs. */
  readonly kind: 'checkpoint' | 'onnx'
  /** As the user gave it. */
  readonly name: string
  /** Everything that belongs to the model: for `onnx/model.onnx` the folder around `onnx/`. */
  readonly folder: Folder
  /** For `onnx`: paths of the graphs in the folder; external data lie beside them. */
  readonly graphs: readonly string[]
  /** Path on this machine, null for the hub: what a result must not be written over. */
  readonly path: string | null
}

/**
 * Finds out what a text names: a folder with a checkpoint or with ONNX files, one ONNX file, or a repository of the hub.
 *
 * @throws TinsmithError `bad-input` when there is nothing, or nothing that is a model; `unsupported` for GGUF files
 * @example
 * (await resolveSource('all-MiniLM-L6-v2')).kind // 'checkpoint'
 */
export async function resolveSource(text: string, options: HubOptions = {}): Promise<Source> {
  const kind = await pathKind(text)
  if (kind === 'folder') return describe(text, await openFolder(text), text)
  if (kind === 'file') return resolveFile(text)
  if (isHubId(text) && (await pathKind(splitPath(text).folder)) === null) return describe(text, await hubFolder(text, options), null)
  throw await nothingThere(text)
}

async function describe(name: string, folder: Folder, path: string | null): Promise<Source> {
  const files = await folder.list()
  if (holdsCheckpoint(files)) return { kind: 'checkpoint', name, folder, graphs: [], path }
  const graphs = ['onnx/', '']
    .map((below) => files.filter((file) => file.endsWith('.onnx') && splitAt(file) === below))
    .find((found) => found.length)
  if (graphs) return { kind: 'onnx', name, folder, graphs, path }
  const gguf = files.find((file) => file.endsWith('.gguf'))
  if (gguf) throw ggufUnsupported(`${name}/${gguf}`)
  if (files.some((file) => /\.(bin|pth?|h5|msgpack|ckpt|safetensors)$/.test(file)))
    return { kind: 'checkpoint', name, folder, graphs: [], path }
  const what = files.length ? 'this folder holds no model' : 'this folder is empty'
  throw badInput(what, { where: name, hint: 'A model is config.json with model.safetensors, or ONNX files (also in onnx/).' })
}

/** The part of a relative path up to the last slash, with it. */
function splitAt(file: string): string {
  return file.slice(0, file.lastIndexOf('/') + 1)
}

async function resolveFile(text: string): Promise<Source> {
  const { folder, name } = splitPath(text)
  const extension = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
  if (extension === 'onnx') return resolveGraph(text, folder, name)
  if (extension === 'gguf' || (await startsWithGguf(text))) throw ggufUnsupported(text)
  const hint =
    extension === 'safetensors'
      ? `Give its folder, ${folder}, for config.json belongs to it.`
      : 'Give a folder, an .onnx file or a hub id (owner/name).'
  throw badInput('this file alone is no model', { where: text, hint })
}

/** In the layout of transformers.js the folder around `onnx/` is the model's. */
async function resolveGraph(text: string, folder: string, name: string): Promise<Source> {
  const around = joinPath(folder, '..')
  const inOnnx = splitPath(folder).name === 'onnx' && (await pathKind(joinPath(around, 'config.json'))) === 'file'
  if (inOnnx) return { kind: 'onnx', name: text, folder: await openFolder(around), graphs: [`onnx/${name}`], path: text }
  return { kind: 'onnx', name: text, folder: await openFolder(folder), graphs: [name], path: text }
}

async function startsWithGguf(path: string): Promise<boolean> {
  const file = await openFile(path)
  return file.size >= 4 && new TextDecoder().decode(await file.read(0, 4)) === 'GGUF'
}

function ggufUnsupported(where: string) {
  return unsupported('Tinsmith does not read GGUF files yet', { where, hint: 'Give the safetensors checkpoint that it was made from.' })
}

async function nothingThere(text: string) {
  const { folder, name } = splitPath(text)
  const guess = nearest(name, await namesIn(folder))
  const hint = guess ? `Did you mean "${joinPath(folder, guess)}"?` : undefined
  return badInput(`there is no file or folder ${JSON.stringify(text)}`, {
    hint: hint ?? 'Give a folder, an .onnx file or a hub id (owner/name).',
  })
}
