import { joinPath } from '#platform'
import { MemoryFolder, readAll } from '../base/bytes.js'
import { badInput, TinsmithError, usage } from '../base/errors.js'
import type { AttentionProducts, CacheDtype } from '../engine/compiled/plan/steps.js'
import type { Runtime, Session } from '../engine/session.js'
import { resolveSource, type Source } from '../formats/index.js'
import type { Model } from '../ir/model.js'
import { createPipeline, type DTypeWord, dtypeSuffixes, type OnnxFile, onnxFiles, type Pipeline } from '../pipelines/index.js'
import { type CompileOptions, compileCheckpoint, compileFile, filesOf, type ReadModel, readModel } from './compile-source.js'
import type { CommandOptions } from './context.js'

/**
 * `ort`: ONNX Runtime of the platform; `web`: as WebAssembly, also in Node.js; `compiled`: kernels of our own; `auto`: kernels of our own
 * where machine code runs and they cover the graph, else `ort` and a warning that names the operators that are missing.
 */
export type EngineName = 'ort' | 'web' | 'compiled' | 'auto'

export interface LoadOptions extends CommandOptions {
  /** Which file of a folder. Default: the only one, else `fp32`. */
  readonly dtype?: DTypeWord
  /** Default `auto`. */
  readonly engine?: EngineName
  /**
   * What the engine `compiled` keeps keys and values of decoders as. Default `float32`; `int8` (a scale for each token and head) takes 27 % of the
   * memory where heads have 64 columns, and long texts go on faster.
   */
  readonly cache?: CacheDtype
  /**
   * What the engine `compiled` multiplies in the attention of encoders. Default `float32`; `int8` is faster and changes numbers a little. Attention
   * with caches or soft caps stays in float32.
   */
  readonly attention?: AttentionProducts
  /** How many threads work for it. Default: as many as the processor has cores, 8 at most. */
  readonly threads?: number
}

/** A model that runs, with what is to be known of it. */
export interface LoadedModel {
  /** As it was given. */
  readonly name: string
  readonly pipeline: Pipeline
  readonly dtype: DTypeWord
  readonly engine: string
  /** Of its files, external data included; for a checkpoint as they would be written in fp32. */
  readonly bytes: number
}

/**
 * Loads a model for embedding, classifying and generating: a folder that transformers.js loads, an `.onnx` file, a checkpoint (imported
 * and run in memory) or a hub id.
 *
 * @throws TinsmithError `bad-input` when there is no such model or no file of the dtype
 * @example
 * const pipeline = await load('all-MiniLM-L6-v2')
 * const [vector] = await pipeline.embed(['A man is playing a flute.'])
 */
export async function load(model: string, options: LoadOptions = {}): Promise<Pipeline> {
  return (await openModel(model, options)).pipeline
}

/** As {@link load}, with the model's dtype, engine and bytes. */
export async function loadModel(text: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const { measure, ...opened } = await openModel(text, options)
  return { ...opened, bytes: await measure() }
}

interface OpenedModel extends Omit<LoadedModel, 'bytes'> {
  readonly measure: () => Promise<number>
}

async function openModel(name: string, options: LoadOptions): Promise<OpenedModel> {
  const source = await resolveSource(name)
  const found = await (source.kind === 'onnx' ? findFile : findCheckpoint)(source, options)
  const { dtype, measure } = found
  const { engine = 'auto' } = options
  const compiled = engine === 'compiled' ? await found.onKernels() : engine === 'auto' ? await openWhereCovered(found, options) : null
  if (compiled) return { name, pipeline: compiled, dtype, engine: compiled.session.engine, measure }
  if (options.cache === 'int8')
    throw usage('ONNX Runtime keeps keys and values as they are', { hint: 'cache int8 needs the engine compiled.' })
  if (options.attention === 'int8')
    throw usage('ONNX Runtime multiplies float32 numbers in attention', { hint: 'attention int8 needs the engine compiled.' })
  const runtime = await runtimeOf(engine === 'web' ? 'web' : 'ort')
  return { name, pipeline: await found.onRuntime(runtime), dtype, engine: `${runtime.name} ${runtime.version}`, measure }
}

function threadsOf({ threads }: LoadOptions): number | undefined {
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1))
    throw usage(`threads must be a whole number of 1 or more, not ${threads}`)
  return threads
}

/** The library behind an engine's name. */
async function runtimeOf(engine: 'ort' | 'web'): Promise<Runtime> {
  return (engine === 'web' ? await import('../engine/ort/runtime.browser.js') : await import('#engine')).runtime
}

/** A model that was found, and how it is opened. */
interface Found extends Pick<OpenedModel, 'dtype' | 'measure'> {
  onKernels(): Promise<Pipeline>
  onRuntime(runtime: Runtime): Promise<Pipeline>
}

/** On kernels of our own, or null where these are no machine code or do not cover the graph. */
async function openWhereCovered({ onKernels }: Found, { progress }: LoadOptions): Promise<Pipeline | null> {
  const { kernelChoice } = await import('#kernels')
  if (kernelChoice().backend !== 'x64') return null
  try {
    return await onKernels()
  } catch (error) {
    if (!(error instanceof TinsmithError) || error.code !== 'unsupported') throw error
    progress?.warn(`${error.sentence} ONNX Runtime runs it instead.`)
    return null
  }
}

async function findFile(source: Source, options: LoadOptions): Promise<Found> {
  const { path, dtype } = await chooseFile(source, options.dtype)
  return {
    dtype,
    measure: () => bytesOf(source, path),
    onKernels: () => compileFile(source, path, compileOptions(options)),
    onRuntime: (runtime) => createPipeline(source.folder, openSession(source, path, runtime, options)),
  }
}

/** It is read once, whichever engine runs it. */
async function findCheckpoint(source: Source, options: LoadOptions): Promise<Found> {
  const { name } = source
  if (options.dtype && options.dtype !== 'fp32')
    throw badInput(`a checkpoint has no ${options.dtype} form`, { where: name, hint: 'Compress it first (tinsmith compress).' })
  let reading: Promise<ReadModel> | undefined
  const read = () => (reading ??= readModel(source, options))
  return {
    dtype: 'fp32',
    measure: async () => (await (await import('./figure.js')).fp32Figure((await read()).model)).bytes,
    onKernels: () => compileCheckpoint(source, read, compileOptions(options)),
    onRuntime: async (runtime) => runModel((await read()).model, name, runtime, threadsOf(options)),
  }
}

function compileOptions(options: LoadOptions): CompileOptions {
  return { ...options, threads: threadsOf(options) }
}

/** A pipeline over a model in memory. */
export async function runModel(model: Model, name: string, given?: Runtime, threads?: number): Promise<Pipeline> {
  const [{ lower }, { splitOnnx }] = [await import('../lower/index.js'), await import('../onnx/index.js')]
  const runtime = given ?? (await runtimeOf('ort'))
  const onnx = await splitOnnx(lower(model.graph, runtime.target))
  return createPipeline(new MemoryFolder(await filesOf(model), name), runtime.load(onnx, { threads }))
}

async function chooseFile({ folder, graphs, name }: Source, dtype: DTypeWord | undefined): Promise<OnnxFile> {
  const [only] = graphs
  if (graphs.length === 1 && (dtype === undefined || dtypeOf(only) === dtype)) return { path: only, dtype: dtypeOf(only) }
  const files = (await onnxFiles(folder)).filter((file) => graphs.includes(file.path))
  const found = dtype ? files.find((file) => file.dtype === dtype) : files[0]
  if (found) return found
  const what = dtype ? `there is no onnx/model${dtypeSuffixes[dtype]}.onnx (dtype ${dtype})` : 'there is no onnx/model.onnx'
  const hint = files.length ? `It has ${files.map((file) => file.dtype).join(', ')}.` : `It has ${graphs.slice(0, 6).join(', ')}.`
  throw badInput(what, { where: name, hint })
}

/** The dtype that a file's name says. */
function dtypeOf(path: string): DTypeWord {
  const words = Object.keys(dtypeSuffixes) as DTypeWord[]
  return words.find((word) => dtypeSuffixes[word] && path.endsWith(`${dtypeSuffixes[word]}.onnx`)) ?? 'fp32'
}

async function bytesOf({ folder }: Source, path: string): Promise<number> {
  const files = (await folder.list()).filter((file) => file === path || file.startsWith(`${path}_data`) || file === `${path}.data`)
  const sizes = await Promise.all(files.map(async (file) => (await folder.open(file)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** From the disk where the file lies there and the engine reads files, else from memory. */
async function openSession({ folder, path }: Source, file: string, runtime: Runtime, options: LoadOptions): Promise<Session> {
  const settings = { threads: threadsOf(options) }
  if (path !== null && runtime.target === 'ort-node')
    return runtime.load({ path: path.endsWith('.onnx') ? path : joinPath(path, file) }, settings)
  const below = file.slice(0, file.lastIndexOf('/') + 1)
  const external = new Map<string, Uint8Array>()
  for (const other of await folder.list())
    if (other.startsWith(`${file}_data`)) external.set(other.slice(below.length), await readAll(await folder.open(other)))
  return runtime.load({ bytes: await readAll(await folder.open(file)), external }, settings)
}
