import type { ByteSink, ByteSource, WritableFolder } from '../base/bytes.js'
import { badInput, throwIfAborted } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import { Tensor } from '../ir/tensor.js'
import { lower, type TargetName } from '../lower/index.js'
import type { Elements } from '../numbers/dtype.js'
import { writeOnnx } from '../onnx/index.js'
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
  for (const [name, graph] of model.graphs) {
    const stem = `${sessionName(name, model)}${dtypeSuffixes[options.dtype]}`
    const [path, lowered] = [`onnx/${stem}.onnx`, lower(graph, options.target ?? 'ort-node')]
    await writeOnnx(lowered, await folder.create(path), {
      functions: model.functions.values(),
      producer: { name: 'tinsmith', version: options.version },
      externalData: { file: (location) => folder.create(`onnx/${location}`), basename: `${stem}.onnx_data`, chunkBytes },
    })
    files.push({ name, path, lowered })
  }
  return files
}

/** Clients ask for a single graph as `model`, whatever its file was called before. */
function sessionName(name: string, model: Model): string {
  return model.graphs.size === 1 ? 'model' : name
}

/**
 * Bytes that the graphs of a model would take as files of a dtype, external data included; nothing is written and no tensor is read.
 *
 * @example
 * await fileBytes(model, { dtype: 'fp32', version }) // 90_405_214
 */
export async function fileBytes(model: Model, options: GraphFileOptions): Promise<number> {
  const blank = model.clone()
  for (const graph of blank.graphs.values()) forgetContents(graph)
  const folder = new MeasuringFolder(nowhere)
  await writeGraphFiles(blank, folder, options)
  return folder.total
}

/** Small tensors keep their contents, for lowering may look into them. */
function forgetContents(graph: Graph): void {
  for (const constant of graph.constants.values())
    if (!constant.tensor!.elements && constant.dtype !== 'string')
      graph.setTensor(constant, new BlankTensor(constant.tensor!.dtype, constant.tensor!.shape))
  for (const node of graph.nodes()) for (const inner of node.subgraphs) forgetContents(inner)
}

/** As large as another tensor, and empty. */
class BlankTensor extends Tensor {
  async read(): Promise<Elements> {
    return new Float32Array(this.size)
  }

  override async bytes(): Promise<Uint8Array> {
    return new Uint8Array(this.byteLength)
  }
}

const nowhere: WritableFolder = {
  name: 'nowhere',
  list: async () => [],
  has: async () => false,
  open: async (path) => {
    throw badInput(`there is no file ${path}`)
  },
  create: async () => ({ write: async () => {}, close: async () => {} }),
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
