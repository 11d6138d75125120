import { CacheBytes, type CacheSpan } from '../../../../src/engine/compiled/cache-bytes.js'
import { type CacheLayer, cacheBytes, cacheOffset } from '../../../../src/engine/compiled/plan/plan.js'
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
  readonly #places = new Map<Buffer | ArrayBufferView | Word, Place>()
  /** Of each sequence. */
  readonly caches: readonly PlacedCache[]

  constructor(
    readonly arena: Arena,
    readonly sequences: readonly TestSequence[],
    readonly layers: readonly CacheLayer[] = [],
    readonly numbers: Int32Array = new Int32Array(0),
  ) {
    this.tokens = sequences.reduce((sum, { rows }) => sum + rows, 0)
    this.caches = sequences.map(({ capacity = 0 }) => new PlacedCache(arena, layers, capacity))
  }

  /** The numbers of a buffer, with all columns that its rows have room for. */
  rows(buffer: Buffer): Float32Array {
    const bytes = this.#rowsOf(buffer.per) * rowBytes(buffer)
    return numbersIn(this.#place(buffer, bytes), Float32Array, bytes / 4)
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
    if ('scratch' in word) {
      const bytes = word.scratch * (word.per ? this.#rowsOf(word.per) : 1) + (word.beyond ?? 0)
      return this.#place(word, bytes).address
    }
    if ('constant' in word) return this.#copy(word.constant)
    if ('sequences' in word) return this.#table()
    if ('cache' in word) return BigInt(cacheOffset({ caches: this.layers }, word.cache.layer, word.cache.part))
    return isView(word.address) ? this.#view(word.address) : this.#copy(this.numbers)
  }

  #view({ buffer, column }: View): bigint {
    return this.#place(buffer, this.#rowsOf(buffer.per) * rowBytes(buffer)).address + BigInt(column * (buffer.dtype === 'uint8' ? 1 : 4))
  }

  #table(): bigint {
    let first = 0
    const words = this.sequences.flatMap(({ rows, past = 0, capacity = 0 }, i) => {
      first += rows
      return [first - rows, rows, past, this.caches[i].address, capacity]
    })
    return this.#copy(BigInt64Array.from(words, BigInt))
  }

  #copy(values: ArrayBufferView): bigint {
    const place = this.#place(values, values.byteLength)
    place.bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return place.address
  }

  #place(of: Buffer | ArrayBufferView | Word, bytes: number): Place {
    const place = this.#places.get(of) ?? this.arena.place(Math.max(bytes, 64))
    this.#places.set(of, place)
    return place
  }

  #rowsOf(kind: Buffer['per'] | 'kept'): number {
    return kind === 'token' ? this.tokens : this.sequences.length
  }
}

/** A cache in memory of an arena. */
export class PlacedCache extends CacheBytes {
  readonly #place: Place

  constructor(arena: Arena, layers: readonly CacheLayer[], capacity: number) {
    super(layers, capacity)
    this.#place = arena.place(cacheBytes(layers) * capacity + cacheOverrun)
  }

  get address(): bigint {
    return this.#place.address
  }

  protected bytesOf({ start, bytes }: CacheSpan): Uint8Array {
    return this.#place.bytes.slice(start, start + bytes)
  }

  protected setBytes(start: number, bytes: Uint8Array): void {
    this.#place.bytes.set(bytes, start)
  }

  dispose(): void {}
}

/** Kernels may read so far beyond a cache. */
const cacheOverrun = 64
