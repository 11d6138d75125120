import { badInput, didYouMean, TinsmithError } from '../base/errors.js'
import type { Gguf } from './gguf.js'
import type { MetadataList, MetadataValue } from './gguf-header.js'
import { shorten } from './json.js'

/** Reads what a GGUF file says about its model strictly: what is absent or of a wrong type is an error that names the key. */
export class GgufMetadata {
  /** The file, for messages. */
  readonly where: string
  readonly #values: ReadonlyMap<string, MetadataValue>

  constructor({ name, metadata }: Pick<Gguf, 'name' | 'metadata'>) {
    this.where = name
    this.#values = metadata
  }

  has(key: string): boolean {
    return this.#values.has(key)
  }

  /** A positive integer; a list of one per layer counts as one where all are equal. */
  size(key: string, fallback?: number): number {
    const value = this.#single(key) ?? fallback
    if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0 || value > 2 ** 31)
      throw this.#wrong(key, 'a positive integer', value)
    return value
  }

  number(key: string, fallback?: number): number {
    const value = this.#single(key) ?? fallback
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#wrong(key, 'a number', value)
    return value
  }

  text(key: string, fallback?: string): string {
    const value = this.#values.get(key) ?? fallback
    if (typeof value !== 'string') throw this.#wrong(key, 'a text', value)
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#values.get(key) ?? fallback
    if (typeof value !== 'boolean') throw this.#wrong(key, 'true or false', value)
    return value
  }

  texts(key: string): readonly string[] {
    const value = this.#values.get(key)
    if (!Array.isArray(value) || (value.length && typeof value[0] !== 'string')) throw this.#wrong(key, 'a list of texts', value)
    return value as readonly string[]
  }

  /** A list of numbers; empty where the key is absent. */
  numbers(key: string): ArrayLike<number> {
    const value = this.#values.get(key) ?? []
    if (value instanceof BigUint64Array || value instanceof BigInt64Array) return Float64Array.from(value, Number)
    if (ArrayBuffer.isView(value) || (Array.isArray(value) && !value.length)) return value as ArrayLike<number>
    throw this.#wrong(key, 'a list of numbers', value)
  }

  #single(key: string): MetadataValue | undefined {
    const value = this.#values.get(key)
    if (!ArrayBuffer.isView(value)) return value
    const list = this.numbers(key)
    for (let i = 1; i < list.length; i++)
      if (list[i] !== list[0])
        throw new TinsmithError('unsupported', `${key} differs from layer to layer (${list[0]}, ${list[i]}), which is not supported`, {
          where: this.where,
        })
    return list[0]
  }

  #wrong(key: string, wanted: string, value: MetadataValue | undefined): TinsmithError {
    const known = [...this.#values.keys()].filter((other) => other.split('.')[0] === key.split('.')[0])
    const guess = value === undefined && known.length ? didYouMean(key, known) : ''
    return badInput(`${key} must be ${wanted} and ${value === undefined ? 'it is not there' : `it is ${shown(value)}`}`, {
      where: this.where,
      hint: guess.startsWith('Did') ? guess : undefined,
    })
  }
}

function shown(value: Exclude<MetadataValue, MetadataList> | MetadataList): string {
  return typeof value === 'object' ? `a list of ${value.length}` : shorten(String(value), 40)
}
