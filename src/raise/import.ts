import { type ByteSource, type Folder, readJson } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import { FiniteTensor, openCheckpoint, readConfig, resolveSource, type Source, travellingFiles } from '../formats/index.js'
import { type Config, Model } from '../ir/model.js'
import type { Tensor } from '../ir/tensor.js'
import { tidy } from '../ir/tidy.js'
import { verify } from '../ir/verify.js'
import { buildGraphs } from '../models/index.js'
import { inferShapes } from '../ops/infer.js'

/** A model in canonical form, and what a person should know about how it was read. */
export interface Imported {
  readonly model: Model
  readonly source: Source
  readonly warnings: readonly string[]
}

/**
 * Reads a model from wherever it lies and brings it to the canonical form: a checkpoint is built from its configuration,
 * an ONNX file is raised.
 *
 * @param text folder, `.onnx` file or hub id
 * @throws TinsmithError `bad-input` or `unsupported`, naming file, tensor or node
 * @example
 * const { model } = await importModel('all-MiniLM-L6-v2')
 * model.graph.inputs.map((input) => input.name) // ['input_ids', 'attention_mask', 'token_type_ids']
 */
export async function importModel(text: string): Promise<Imported> {
  const source = await resolveSource(text)
  const { model, warnings } = source.kind === 'checkpoint' ? await fromCheckpoint(source.folder) : await fromOnnx(source)
  if (!model.files.has('tokenizer.json')) warnings.push('there is no tokenizer.json, so nothing that needs text will work')
  for (const graph of model.graphs.values()) verify(graph)
  return { model, source, warnings }
}

interface Read {
  readonly model: Model
  readonly warnings: string[]
}

async function fromCheckpoint(folder: Folder): Promise<Read> {
  const { config, tensors, files } = await openCheckpoint(folder)
  if (!config) throw badInput('there is no config.json, and without it nobody knows what the tensors mean', { where: folder.name })
  if (config['quantization_config'])
    throw unsupported('the checkpoint is quantized already ("quantization_config")', {
      where: 'config.json',
      hint: 'Give the float checkpoint that it was made from.',
    })
  const documents = new Map<string, unknown>()
  for (const file of files) if (file === 'modules.json' || file.endsWith('/config.json')) documents.set(file, await readJson(folder, file))
  const checked = new Map([...tensors].map(([name, tensor]) => [name, new FiniteTensor(name, tensor)]))
  const { graphs, unused } = buildGraphs(config, checked, documents)
  for (const graph of graphs.values()) {
    inferShapes(graph)
    tidy(graph)
  }
  const model = new Model(graphs, { config, files: await openFiles(folder, files) })
  return { model, warnings: leftOver(unused.filter((name) => !buffer.test(name))) }
}

/** Tables that the reference library computes and some checkpoints hold all the same. */
const buffer = /(^|\.)(position_ids|inv_freq|masked_bias)$/

function leftOver(names: readonly string[]): string[] {
  if (!names.length) return []
  const few = names.slice(0, 3).join(', ') + (names.length > 3 ? ' ...' : '')
  return [`${names.length} tensors of the checkpoint are not part of the graph: ${few}`]
}

async function fromOnnx({ folder, graphs }: Source): Promise<Read> {
  const [{ readOnnx }, { raise }] = [await import('../onnx/index.js'), await import('./index.js')]
  const present = await folder.list()
  const warnings: string[] = []
  let config: Config | null = null
  if (present.includes('config.json')) config = await readConfig(folder, 'config.json')
  else warnings.push('there is no config.json, so clients will not know what the model is')
  const model = new Model([], { config, files: await openFiles(folder, travellingFiles(present)) })
  for (const path of graphs) {
    const below = path.slice(0, path.lastIndexOf('/') + 1)
    const read = await readOnnx(await folder.open(path), { external: (location) => folder.open(below + location) })
    for (const [name, graph] of read.graphs) {
      for (const constant of graph.constants.values())
        if (isWeight(constant.tensor!)) graph.setTensor(constant, new FiniteTensor(constant.name, constant.tensor!))
      for (const [key, definition] of read.functions) model.functions.set(key, definition)
      raise(graph)
      model.graphs.set(name, graph)
    }
  }
  return { model, warnings }
}

/** Vectors and matrices; masks, which may well be infinite, have more dimensions or fewer elements. */
function isWeight(tensor: Tensor): boolean {
  return tensor.size > 1 && tensor.shape.length <= 2 && tensor.elements === null
}

async function openFiles(folder: Folder, paths: readonly string[]): Promise<[string, ByteSource][]> {
  return Promise.all(paths.map(async (path): Promise<[string, ByteSource]> => [path, await folder.open(path)]))
}
