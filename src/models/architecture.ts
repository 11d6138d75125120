import { badInput, didYouMean, unsupported } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Config } from '../ir/model.js'
import type { Parameters } from '../nn/parameters.js'
import type { GgufForm } from './gguf.js'

/** Documents of the checkpoint's folder that decide what the graph computes, by path. */
export type Documents = ReadonlyMap<string, unknown>

export interface Source {
  readonly config: ConfigReader
  readonly parameters: Parameters
  /** JSON files beside config.json: `modules.json`, `1_Pooling/config.json` ... */
  readonly documents: Documents
}

/** One architecture: what its checkpoints are called and how they become graphs. */
export interface Architecture {
  /** `model_type` of config.json. */
  readonly type: string
  readonly summary: string
  /** Where it was published. */
  readonly source: string
  /** Names of `architectures` in config.json that this file builds. */
  readonly classes: readonly string[]
  /** The way back from GGUF files, where llama.cpp knows the architecture. */
  readonly gguf?: GgufForm
  /** The graphs by the names of their files. */
  build(source: Source): ReadonlyMap<string, Graph>
}

/** Reads config.json strictly: what is absent or of a wrong type is an error that names the key. */
export class ConfigReader {
  readonly config: Config

  constructor(config: Config) {
    this.config = config
  }

  has(key: string): boolean {
    return this.config[key] !== undefined && this.config[key] !== null
  }

  /** A positive integer. */
  size(key: string, fallback?: number): number {
    const value = this.config[key] ?? fallback
    if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0 || value > 2 ** 31)
      throw this.#wrong(key, 'a positive integer', value)
    return value
  }

  number(key: string, fallback?: number): number {
    const value = this.config[key] ?? fallback
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#wrong(key, 'a number', value)
    return value
  }

  text(key: string, fallback?: string): string {
    const value = this.config[key] ?? fallback
    if (typeof value !== 'string') throw this.#wrong(key, 'a text', value)
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.config[key] ?? fallback
    if (typeof value !== 'boolean') throw this.#wrong(key, 'true or false', value)
    return value
  }

  /** A list of texts. */
  texts(key: string): string[] {
    const value = this.config[key]
    if (!Array.isArray(value) || value.some((each) => typeof each !== 'string')) throw this.#wrong(key, 'a list of texts', value)
    return value as string[]
  }

  /** Height and width: two positive integers, or one for both. */
  sides(key: string, fallback?: number): [number, number] {
    const value = this.config[key] ?? fallback
    const [height, width = height, ...more] = [value].flat()
    for (const side of [height, width])
      if (more.length || typeof side !== 'number' || !Number.isInteger(side) || side <= 0 || side > 2 ** 16)
        throw this.#wrong(key, 'a positive integer, or two', value)
    return [height as number, width as number]
  }

  section(key: string): ConfigReader | null {
    const value = this.config[key]
    if (value === undefined || value === null) return null
    if (typeof value !== 'object' || Array.isArray(value)) throw this.#wrong(key, 'an object', value)
    return new ConfigReader(value as Config)
  }

  /** The first entry of `architectures`, if there is one. */
  get className(): string | null {
    const list = this.config['architectures']
    return Array.isArray(list) && typeof list[0] === 'string' ? list[0] : null
  }

  /** Labels of a classifier: the size of id2label, else num_labels, else 2. */
  get labelCount(): number {
    const labels = this.config['id2label']
    if (labels && typeof labels === 'object') return Object.keys(labels).length
    return this.size('num_labels', 2)
  }

  #wrong(key: string, wanted: string, value: unknown): Error {
    const seen = value === undefined ? 'it is not there' : `it is ${JSON.stringify(value)?.slice(0, 40)}`
    return badInput(`"${key}" must be ${wanted} and ${seen}`, { where: 'config.json' })
  }
}

/** The class that the checkpoint was saved from; the base class when config.json names none. */
export function classOf(architecture: Architecture, config: ConfigReader): string {
  const name = config.className ?? architecture.classes[0]
  if (!architecture.classes.includes(name))
    throw unsupported(`the ${architecture.type} class "${name}" is not supported`, {
      where: 'config.json',
      hint: didYouMean(name, architecture.classes),
    })
  return name
}
