import { joinPath, namesIn, openFile, openFolder, pathKind, splitPath } from '#platform'
import type { ByteSource, Folder } from '../base/bytes.js'
import { badInput, nearest } from '../base/errors.js'
import { SourceFolder } from '../base/folders.js'
import { holdsCheckpoint } from './checkpoint.js'
import { ggufModels, ggufParts } from './gguf.js'
import { type HubOptions, hubFolder, isHubId } from './hub.js'

/** Where a model comes from, told apart by what is there. */
export interface Source {
  /** `checkpoint`: configuration and weights; `gguf`: both and the tokenizer in one file or its parts; `onnx`: graphs. */
  readonly kind: 'checkpoint' | 'gguf' | 'onnx'
  /** As the user gave it. */
  readonly name: string
  /** Everything that belongs to the model: for `onnx/model.onnx` the folder around `onnx/`. */
  readonly folder: Folder
  /** For `onnx`: paths of the graphs in the folder; external data lie beside them. For `gguf`: the parts in order. */
  readonly graphs: readonly string[]
  /** Path on this machine, null for the hub: what a result must not be written over. */
  readonly path: string | null
}

/**
 * Finds out what a text names: a folder with a checkpoint, with ONNX files or with a GGUF file, one ONNX or GGUF file, or a repository
 * of the hub or a GGUF file in one (`owner/name/model.gguf`). A folder that is open already (files picked in a browser) is taken as it is.
 *
 * @throws TinsmithError `bad-input` when there is nothing, or nothing that is a model, or several GGUF models
 * @example
 * (await resolveSource('all-MiniLM-L6-v2')).kind // 'checkpoint'
 */
export async function resolveSource(text: string | Folder, options: HubOptions = {}): Promise<Source> {
  if (typeof text !== 'string') return describe(text.name, text, null)
  const kind = await pathKind(text)
  if (kind === 'folder') return describe(text, await openFolder(text), text)
  if (kind === 'file') return resolveFile(text)
  if (isHubId(text) && (await pathKind(splitPath(text).folder)) === null) return describe(text, await hubFolder(text, options), null)
  const [, repository, file] = /^([^/]+\/[^/]+)\/(.+\.gguf)$/.exec(text) ?? []
  if (file && isHubId(repository) && (await pathKind(splitPath(repository).folder)) === null)
    return ggufSource(text, await hubFolder(repository, options), file, null)
  throw await nothingThere(text)
}

async function describe(name: string, folder: Folder, path: string | null): Promise<Source> {
  const files = await folder.list()
  if (holdsCheckpoint(files)) return { kind: 'checkpoint', name, folder, graphs: [], path }
  const graphs = ['onnx/', '']
    .map((below) => files.filter((file) => file.endsWith('.onnx') && splitAt(file) === below))
    .find((found) => found.length)
  if (graphs) return { kind: 'onnx', name, folder, graphs, path }
  const [gguf, ...others] = ggufModels(files)
  if (others.length)
    throw badInput(`there are ${others.length + 1} GGUF models in this folder`, {
      where: name,
      hint: `Give one of them, such as ${name}/${gguf}.`,
    })
  if (gguf) return { kind: 'gguf', name, folder, graphs: ggufParts(gguf), path }
  if (files.some((file) => /\.(bin|pth?|h5|msgpack|ckpt|safetensors)$/.test(file)))
    return { kind: 'checkpoint', name, folder, graphs: [], path }
  const what = files.length ? 'this folder holds no model' : 'this folder is empty'
  throw badInput(what, { where: name, hint: 'A model is config.json with model.safetensors, ONNX files (also in onnx/) or a GGUF file.' })
}

/** The part of a relative path up to the last slash, with it. */
function splitAt(file: string): string {
  return file.slice(0, file.lastIndexOf('/') + 1)
}

async function resolveFile(text: string): Promise<Source> {
  const { folder, name } = splitPath(text)
  const extension = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
  if (extension === 'onnx') return resolveGraph(text, folder, name)
  if (extension === 'gguf' || (await startsWithGguf(text))) return ggufSource(text, await openFolder(folder), name, text)
  const hint =
    extension === 'safetensors'
      ? `Give its folder, ${folder}, for config.json belongs to it.`
      : 'Give a folder, an .onnx or .gguf file or a hub id (owner/name).'
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

/** A model file stands for itself: what else lies in its folder belongs to others. */
async function ggufSource(name: string, around: Folder, file: string, path: string | null): Promise<Source> {
  const parts = ggufParts(file)
  const present = new Map<string, ByteSource>()
  for (const part of parts) if (part === file || (await around.has(part))) present.set(part, await around.open(part))
  return { kind: 'gguf', name, folder: new SourceFolder(present, around.name), graphs: parts, path }
}

async function nothingThere(text: string) {
  const { folder, name } = splitPath(text)
  const guess = nearest(name, await namesIn(folder))
  const hint = guess ? `Did you mean "${joinPath(folder, guess)}"?` : undefined
  return badInput(`there is no file or folder ${JSON.stringify(text)}`, {
    hint: hint ?? 'Give a folder, an .onnx or .gguf file or a hub id (owner/name).',
  })
}
