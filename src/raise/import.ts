import { type ByteSource, type Folder, MemorySource, readJson } from '../base/bytes.js'
import { badInput, TinsmithError, unsupported } from '../base/errors.js'
import {
  FiniteTensor,
  type Gguf,
  GgufMetadata,
  type GgufTexts,
  ggufTexts,
  openCheckpoint,
  openGguf,
  readConfig,
  resolveSource,
  type Source,
  travellingFiles,
} from '../formats/index.js'
import { type Config, Model } from '../ir/model.js'
import type { Tensor } from '../ir/tensor.js'
import { tidy } from '../ir/tidy.js'
import { verify } from '../ir/verify.js'
import { restoreCheckpoint } from '../models/gguf.js'
import {
  architectureOf,
  architectures,
  buildGraphs,
  CompletedParameters,
  configWithHead,
  type Documents,
  type HeadOptions,
} from '../models/index.js'
import { inferShapes } from '../ops/infer.js'

/** A model in canonical form, and what a person should know about how it was read. */
export interface Imported {
  readonly model: Model
  readonly source: Source
  readonly warnings: readonly string[]
  /** Names of the weights of the head that the checkpoint lacked. */
  readonly added: readonly string[]
}

/**
 * Reads a model from wherever it lies and brings it to the canonical form: a checkpoint or a GGUF file is built from its configuration,
 * an ONNX file is raised.
 *
 * @param text folder, `.onnx` or `.gguf` file or hub id; or a folder that is open already, or a source that was found
 * @throws TinsmithError `bad-input` or `unsupported`, naming file, tensor or node
 * @example
 * const { model } = await importModel('all-MiniLM-L6-v2')
 * model.graph.inputs.map((input) => input.name) // ['input_ids', 'attention_mask', 'token_type_ids']
 */
export async function importModel(text: string | Folder | Source, { head }: ImportOptions = {}): Promise<Imported> {
  const source = typeof text === 'object' && 'kind' in text ? text : await resolveSource(text)
  const { model, warnings, added = [] } = await readers[source.kind](source, head)
  const readsText = [...model.graphs.values()].some((graph) => graph.inputs.some((input) => input.name === 'input_ids'))
  if (readsText && !model.files.has('tokenizer.json')) warnings.push('there is no tokenizer.json, so nothing that needs text will work')
  for (const graph of model.graphs.values()) verify(graph)
  return { model, source, warnings, added }
}

export interface ImportOptions {
  /** The head that the model is to have; weights that the checkpoint lacks are made, and a warning names them. ONNX files keep theirs. */
  readonly head?: HeadOptions
}

interface Read {
  readonly model: Model
  readonly warnings: string[]
  readonly added?: readonly string[]
}

const readers: Readonly<Record<Source['kind'], (source: Source, head?: HeadOptions) => Promise<Read>>> = {
  checkpoint: ({ folder }, head) => fromCheckpoint(folder, head),
  gguf: fromGguf,
  onnx: fromOnnx,
}

async function fromCheckpoint(folder: Folder, head?: HeadOptions): Promise<Read> {
  const { config, tensors, files } = await openCheckpoint(folder)
  if (!config) throw badInput('there is no config.json, and without it nobody knows what the tensors mean', { where: folder.name })
  if (config['quantization_config'])
    throw unsupported('the checkpoint is quantized already ("quantization_config")', {
      where: 'config.json',
      hint: 'Give the float checkpoint that it was made from.',
    })
  const documents = new Map<string, unknown>()
  for (const file of files) if (file === 'modules.json' || file.endsWith('/config.json')) documents.set(file, await readJson(folder, file))
  return builtFrom(config, tensors, documents, await openFiles(folder, files), head)
}

async function fromGguf({ folder, graphs }: Source, head?: HeadOptions): Promise<Read> {
  const gguf = await openGguf(folder, graphs)
  const { config, tensors } = await restoreCheckpoint(
    gguf,
    architectures.flatMap((architecture) => architecture.gguf ?? []),
  )
  const { documents, ids, warnings } = textsOf(gguf)
  const licences = travellingFiles(await folder.list()).filter((file) => /^(LICEN[CS]E|NOTICE|USE_POLICY)/i.test(file))
  const files = [...documents, ...Object.entries(Object.keys(ids).length ? { 'generation_config.json': ids } : {})].map(
    ([name, document]): [string, ByteSource] => [name, jsonSource(name, document)],
  )
  const read = builtFrom({ ...config, ...ids }, tensors, new Map(), [...files, ...(await openFiles(folder, licences))], head)
  return { model: read.model, warnings: [...quantizationCost(gguf), ...warnings, ...read.warnings] }
}

function quantizationCost({ tensors }: Gguf): string[] {
  const formats = new Set([...tensors.values()].filter(({ format }) => format.decode).map(({ format }) => format.name))
  return formats.size ? [`the source is quantized already (${[...formats].sort().join(', ')}), and what that cost stays lost`] : []
}

/** A tokenizer that is not read hinders nobody who has no texts. */
function textsOf(gguf: Gguf): GgufTexts & { warnings: string[] } {
  try {
    return { ...ggufTexts(new GgufMetadata(gguf)), warnings: [] }
  } catch (error) {
    if (!(error instanceof TinsmithError) || error.code !== 'unsupported') throw error
    return { documents: new Map(), ids: {}, warnings: [error.sentence] }
  }
}

function jsonSource(name: string, document: unknown): ByteSource {
  return new MemorySource(new TextEncoder().encode(`${JSON.stringify(document, null, 2)}\n`), name)
}

function builtFrom(
  given: Config,
  tensors: ReadonlyMap<string, Tensor>,
  documents: Documents,
  files: Iterable<[string, ByteSource]>,
  head?: HeadOptions,
): Read {
  const checked = new Map([...tensors].map(([name, tensor]) => [name, new FiniteTensor(name, tensor)]))
  const config = head ? configWithHead(architectureOf(given), given, head) : given
  const parameters = head && new CompletedParameters(checked, head.random, deviationOf(config), head.labels?.length)
  const { graphs, unused } = buildGraphs(config, checked, documents, parameters)
  for (const graph of graphs.values()) {
    inferShapes(graph)
    tidy(graph)
  }
  const model = new Model(graphs, { config, files })
  if (!parameters) return { model, warnings: leftOver(unused.filter((name) => !buffer.test(name))) }
  return { model, warnings: newlyMade(parameters.added), added: parameters.added }
}

/** Of weights that are made anew. */
function deviationOf({ initializer_range: deviation }: Config): number {
  return typeof deviation === 'number' ? deviation : 0.02
}

function newlyMade(names: readonly string[]): string[] {
  return names.length ? [`the checkpoint lacks ${names.join(', ')}, which ${names.length === 1 ? 'begins' : 'begin'} anew`] : []
}

/** Tables that the reference library computes and some checkpoints hold all the same. */
const buffer = /(^|\.)(position_ids|inv_freq|attn\.bias|masked_bias)$/

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
