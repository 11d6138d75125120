import type { ByteSource } from '../base/bytes.js'
import type { Attributes } from './attribute.js'
import type { Graph } from './graph.js'

/** A function of the model: a name for a graph of simpler operators, as in ONNX. */
export interface FunctionDefinition {
  readonly domain: string
  readonly name: string
  readonly overload: string
  /** Names of attributes without a default. */
  readonly attributes: readonly string[]
  /** Attributes with their default. */
  readonly defaults?: Attributes
  readonly body: Graph
}

/** What config.json holds. */
export type Config = Readonly<Record<string, unknown>>

/**
 * One or more named graphs with what belongs to them: the configuration, and the files that travel along unchanged
 * (tokenizer, preprocessor, licence).
 */
export class Model {
  /** By the name of the file that will hold them: `model`, `encoder_model`, `decoder_model_merged` ... */
  readonly graphs: Map<string, Graph>
  config: Config | null
  /** Files that travel along, by relative path. */
  readonly files: Map<string, ByteSource>
  readonly functions: Map<string, FunctionDefinition>
  readonly notes = new Map<string, string>()

  constructor(graphs: Iterable<[string, Graph]> = [], details: { config?: Config | null; files?: Iterable<[string, ByteSource]> } = {}) {
    this.graphs = new Map(graphs)
    this.config = details.config ?? null
    this.files = new Map(details.files ?? [])
    this.functions = new Map()
  }

  /** The only graph. Throws where there are several. */
  get graph(): Graph {
    const [first, ...rest] = this.graphs.values()
    if (!first || rest.length) throw new Error(`the model has ${this.graphs.size} graphs: ${[...this.graphs.keys()].join(', ')}`)
    return first
  }

  /** Architecture as config.json names it, or `unknown`. */
  get type(): string {
    return typeof this.config?.['model_type'] === 'string' ? this.config['model_type'] : 'unknown'
  }

  /** A deep copy of the graphs; tensors and files are shared. */
  clone(): Model {
    const copy = new Model(
      [...this.graphs].map(([name, graph]) => [name, graph.clone()]),
      { config: this.config, files: this.files },
    )
    for (const [key, definition] of this.functions) copy.functions.set(key, definition)
    for (const [key, text] of this.notes) copy.notes.set(key, text)
    return copy
  }
}

/** The key of a function in {@link Model.functions}. */
export function functionKey(domain: string, name: string, overload = ''): string {
  return overload ? `${domain}.${name}:${overload}` : `${domain}.${name}`
}
