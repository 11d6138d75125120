import type { CacheLayer } from '../../../../src/engine/compiled/plan/plan.js'
import { type Buffer, isView, rowBytes, type View } from '../../../../src/engine/compiled/plan/steps.js'
import type { Word } from '../../../../src/engine/compiled/program.js'
import { type Arena, numbersIn, type Place } from './arena.js'

/** A sequence of a run: its rows, and what lies in its cache. */
export interface TestSequence {
  readonly rows: number
  readonly past?: number
  readonly capacity?: number
}

/** What the kernels of one step are called with, in memory of an arena: every buffer, table and cache has a place of its own. */
export class StepMemory {
  readonly tokens: number
  readonly #places = new Map<Buffer | ArrayBufferView | string, Place>()
  readonly #caches: readonly (Place | undefined)[]

  constructor(
    readonly arena: Arena,
    readonly sequences: readonly TestSequence[],
    readonly layers: readonly CacheLayer[] = [],
    readonly numbers: Int32Array = new Int32Array(0),
  ) {
    this.tokens = sequences.reduce((sum, { rows }) => sum + rows, 0)
    const bytes = layers.reduce((sum, { keyColumns, valueColumns }) => sum + 4 * (keyColumns + valueColumns), 0)
    this.#caches = sequences.map(({ capacity }) => (capacity ? arena.place(capacity * bytes) : undefined))
  }

  /** The numbers of a buffer, with all columns that its rows have room for. */
  rows(buffer: Buffer): Float32Array {
    const bytes = this.#rowsOf(buffer.per) * rowBytes(buffer)
    return numbersIn(this.#place(buffer, bytes), Float32Array, bytes / 4)
  }

  /** Keys or values of a sequence [capacity, columns]. */
  cache(sequence: number, layer: number, part: 'keys' | 'values'): Float32Array {
    const { capacity = 0 } = this.sequences[sequence]
    const { address, bytes } = this.#caches[sequence]!
    const start = capacity * this.#cacheBytes(layer, part)
    const columns = this.layers[layer][part === 'keys' ? 'keyColumns' : 'valueColumns']
    return numbersIn({ address, bytes: bytes.subarray(start) }, Float32Array, capacity * columns)
  }

  /** The words as a kernel gets them. */
  block(words: readonly Word[]): BigInt64Array {
    return BigInt64Array.from(words, (word) => this.#resolve(word))
  }

  #resolve(word: Word): bigint {
    if (typeof word === 'number') return BigInt(word)
    if ('float' in word) return BigInt(new Int32Array(Float32Array.of(word.float).buffer)[0])
    if ('stride' in word) return BigInt(rowBytes(word.stride.buffer))
    if ('rows' in word) return BigInt(word.rows === 'kept' ? 0 : this.#rowsOf(word.rows))
    if ('scratch' in word) return this.#place('scratch', word.scratch).address
    if ('constant' in word) return this.#copy(word.constant)
    if ('sequences' in word) return this.#table()
    if ('cache' in word) return BigInt(this.#cacheBytes(word.cache.layer, word.cache.part))
    return isView(word.address) ? this.#view(word.address) : this.#copy(this.numbers)
  }

  #view({ buffer, column }: View): bigint {
    return this.#place(buffer, this.#rowsOf(buffer.per) * rowBytes(buffer)).address + BigInt(column * (buffer.dtype === 'uint8' ? 1 : 4))
  }

  #table(): bigint {
    let first = 0
    const words = this.sequences.flatMap(({ rows, past = 0, capacity = 0 }, i) => {
      first += rows
      return [first - rows, rows, past, this.#caches[i]?.address ?? 0, capacity]
    })
    return this.#copy(BigInt64Array.from(words, BigInt))
  }

  #copy(values: ArrayBufferView): bigint {
    const place = this.#place(values, values.byteLength)
    place.bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return place.address
  }

  #place(of: Buffer | ArrayBufferView | string, bytes: number): Place {
    const place = this.#places.get(of) ?? this.arena.place(Math.max(bytes, 64))
    this.#places.set(of, place)
    return place
  }

  #rowsOf(kind: Buffer['per'] | 'kept'): number {
    return kind === 'token' ? this.tokens : this.sequences.length
  }

  /** Bytes before the keys or values of a layer, for each token of capacity. */
  #cacheBytes(layer: number, part: 'keys' | 'values'): number {
    const before = this.layers.slice(0, layer).reduce((sum, { keyColumns, valueColumns }) => sum + keyColumns + valueColumns, 0)
    return 4 * (before + (part === 'values' ? this.layers[layer].keyColumns : 0))
  }
}
