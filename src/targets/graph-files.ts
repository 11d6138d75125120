import type { ByteSink, ByteSource, WritableFolder } from '../base/bytes.js'
import { throwIfAborted } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import { lower, type TargetName } from '../lower/index.js'
import { onnxBytes, type WriteOptions, writeOnnx } from '../onnx/index.js'
import { type DTypeWord, dtypeSuffixes } from '../pipelines/index.js'

/** Bytes of one file of external data: browsers hold no buffers of 2 GiB. */
const chunkBytes = 1.9e9

/** A graph that was written. */
export interface GraphFile {
  /** As in {@link Model.graphs}. */
  readonly name: string
  /** Of the `.onnx` file, in the folder. */
  readonly path: string
  /** The graph as it was meant to be written. */
  readonly lowered: Graph
}

export interface GraphFileOptions {
  readonly dtype: DTypeWord
  readonly target?: TargetName
  /** Version of this package, noted in the files. */
  readonly version: string
}

/** Lowers the graphs of a model and writes them where transformers.js looks for them: `onnx/NAME{suffix}.onnx`. */
export async function writeGraphFiles(model: Model, folder: WritableFolder, options: GraphFileOptions): Promise<GraphFile[]> {
  const files: GraphFile[] = []
  for (const plan of plansOf(model, options)) {
    await writeOnnx(
      plan.lowered,
      await folder.create(plan.path),
      writeOptions(plan, model, options, (path) => folder.create(path)),
    )
    files.push(plan)
  }
  return files
}

/**
 * Bytes that the graphs of a model would take as files of a dtype, external data included; nothing is written and no tensor is read.
 *
 * @example
 * await fileBytes(model, { dtype: 'fp32', version }) // 90_405_214
 */
export async function fileBytes(model: Model, options: GraphFileOptions): Promise<number> {
  let bytes = 0
  for (const plan of plansOf(model, options)) bytes += await onnxBytes(plan.lowered, writeOptions(plan, model, options, writesNothing))
  return bytes
}

function* plansOf(model: Model, { dtype, target = 'ort-node' }: GraphFileOptions): Generator<GraphFile> {
  for (const [name, graph] of model.graphs)
    yield { name, path: `onnx/${sessionName(name, model)}${dtypeSuffixes[dtype]}.onnx`, lowered: lower(graph, target) }
}

/** Clients ask for a single graph as `model`, whatever its file was called before. */
function sessionName(name: string, model: Model): string {
  return model.graphs.size === 1 ? 'model' : name
}

type Create = (path: string) => Promise<ByteSink>

function writeOptions({ path }: GraphFile, model: Model, { version }: GraphFileOptions, create: Create): WriteOptions {
  const basename = `${path.slice('onnx/'.length)}_data`
  return {
    functions: model.functions.values(),
    producer: { name: 'tinsmith', version },
    externalData: { file: (location) => create(`onnx/${location}`), basename, chunkBytes },
  }
}

const writesNothing: Create = async (path) => {
  throw new Error(`${path} was to be measured, not written`)
}

/** A folder that knows the size of what was written into it, and stops writing when a signal fires. */
export class MeasuringFolder implements WritableFolder {
  /** Bytes by path. */
  readonly bytes = new Map<string, number>()
  readonly #folder: WritableFolder
  readonly #signal: AbortSignal | undefined

  constructor(folder: WritableFolder, signal?: AbortSignal) {
    this.#folder = folder
    this.#signal = signal
  }

  get name(): string {
    return this.#folder.name
  }

  /** Bytes of all files. */
  get total(): number {
    return [...this.bytes.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  list(): Promise<string[]> {
    return this.#folder.list()
  }

  has(path: string): Promise<boolean> {
    return this.#folder.has(path)
  }

  open(path: string): Promise<ByteSource> {
    return this.#folder.open(path)
  }

  async create(path: string): Promise<ByteSink> {
    const sink = await this.#folder.create(path)
    this.bytes.set(path, 0)
    return {
      write: (bytes) => {
        throwIfAborted(this.#signal)
        this.bytes.set(path, this.bytes.get(path)! + bytes.length)
        return sink.write(bytes)
      },
      close: () => sink.close(),
    }
  }
}
