import type { Graph } from '../ir/graph.js'
import type { DType, NDArray } from '../numbers/dtype.js'
import type { ExternalConstant } from '../onnx/index.js'

/** Arrays by the name of the graph's input. */
export type Feeds = Readonly<Record<string, NDArray>>

/**
 * An output of a session. `data` is read when first asked for; until then it stays in the engine's memory, and a
 * session of the same engine takes it back as a feed without a copy (key-value caches).
 */
export interface Output extends NDArray {
  /** Frees the engine's memory early; else the garbage collector does. */
  dispose(): void
}

/** An input or output of a loaded graph; symbolic dimensions are their names. */
export interface Port {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly (number | string)[]
}

export interface RunOptions {
  /** Stops the run; the promise rejects with `interrupted` soon after (ONNX Runtime: between two operators). */
  signal?: AbortSignal
  /** Compute only these outputs. */
  outputs?: readonly string[]
  /**
   * Memory that outputs are written over instead of memory of the engine's, by the output's name: of the output's type
   * and of exactly the shape that the run gives it. The result then holds this same memory.
   *
   * It may be a feed's memory (a state updated in place), which is right only where each element of the output depends
   * on no other element of that feed, and no other node reads the feed after the output's node has begun. After a
   * failed or stopped run its content is undefined. Where a runtime cannot write there, or the type is a float of 16
   * or fewer bits, it is filled by a copy.
   */
  into?: Readonly<Record<string, NDArray>>
}

/** Time of one operator of the graph, summed over the runs since the profile began. */
export interface OperatorTime {
  /** Operator type, with its domain unless that is the standard's. */
  readonly operator: string
  readonly node: string
  readonly calls: number
  readonly milliseconds: number
}

/**
 * A sequence that a decoder goes on with, token by token; the engine keeps its keys and values. Runs do not overlap, and take one further token at
 * least; they throw as `Session.run` does, and leave the sequence as it was then.
 */
export interface TokenSequence {
  /** Runs further tokens; the logits [vocabulary] after the last of them, which are there until the next run. */
  logits(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>
  /** Runs further tokens; the one with the highest logit after them, the first of equals. */
  likeliest(ids: readonly number[], signal?: AbortSignal): Promise<number>
  /** Frees keys and values. */
  dispose(): void
}

/** A loaded graph on an engine. Runs may overlap; none blocks the caller's event loop. */
export interface Session {
  readonly engine: string
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  /**
   * @throws TinsmithError `bad-input` for missing or unknown feeds, wrong dtypes, ranks or fixed dimensions (named);
   * `interrupted` when the signal fires; `failed` with the engine's reason, in one sentence.
   */
  run(feeds: Feeds, options?: RunOptions): Promise<Record<string, Output>>
  /**
   * Zeros in the engine's own memory: runs read and write them there, as feeds and `into`, where other memory is copied. There as long as
   * somebody holds them, also after `dispose`. Undefined where there is no room; absent where engines work in the caller's memory.
   */
  allocate?(elements: number): Promise<Float32Array | undefined>
  /** Begins a sequence, where the engine keeps keys and values of this graph itself: with less to do for each token than `run` has. */
  tokenSequence?(): TokenSequence | undefined
  /** Ends profiling (needs `profile: true` at load) and returns the times, longest first. */
  profile(): Promise<OperatorTime[]>
  dispose(): Promise<void>
}

export interface LoadOptions {
  /** Threads inside an operator. Default: all cores, at most 8. */
  threads?: number
  /** The runtime's own rewriting at load. Default `all`. */
  optimization?: 'none' | 'basic' | 'extended' | 'all'
  profile?: boolean
  /**
   * Whether the runtime may plan memory by the shapes of earlier runs. Default true; false takes much less where runs are large or differ in
   * shape, as in training.
   */
  memoryPlan?: boolean
  /**
   * Whether products of matrices and chains of elementwise operators run in machine code of our own, where the processor and the system allow
   * it. Their results differ from the runtime's by rounding. Default false.
   */
  machineCode?: boolean
  /** Runtime specific settings, handed on as they are. */
  settings?: Readonly<Record<string, string>>
}

/** ONNX bytes in memory, or a file on disk. */
export type OnnxModel =
  | {
      readonly bytes: Uint8Array
      /** External data by location. */
      readonly external?: ReadonlyMap<string, Uint8Array>
      /** Further external data, constant by constant: read while the graph is loaded, with one copy less. */
      readonly constants?: readonly ExternalConstant[]
    }
  | { readonly path: string }

/** A library that runs ONNX models. */
export interface Runtime {
  readonly name: string
  readonly version: string
  /** The key of its capability record in lower/. */
  readonly target: 'ort-node' | 'ort-wasm'
  /** Bytes of feeds and outputs that runs have copied between the caller's memory and the engine's so far; 0 where the engine works in the caller's. */
  readonly copiedBytes: number
  /** Memory for arrays that are fed and written over (`into`) again and again; shared with the engine's threads where the platform has such memory. */
  allocate(bytes: number): ArrayBuffer | SharedArrayBuffer
  load(model: OnnxModel, options?: LoadOptions): Promise<Session>
  /** A copy of a graph for a session with `machineCode`; values that are observed stay. */
  withOwnOperators?(graph: Graph, observed?: readonly string[]): Promise<Graph>
}
