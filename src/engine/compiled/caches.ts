import { badInput } from '../../base/errors.js'
import type { Elements, NDArray } from '../../numbers/dtype.js'
import type { Output } from '../session.js'
import type { Cache, Program } from './backend.js'

/** Keys and values of a batch of sequences in a program's memory; runs of the same program go on with it in place. */
export class CacheStore {
  readonly caches: Cache[]
  /** Tokens that each cache holds. */
  readonly used: Int32Array
  #holders = 0

  constructor(
    readonly program: Program,
    capacities: ArrayLike<number>,
  ) {
    this.caches = Array.from(capacities, (capacity) => program.allocateCache(capacity))
    this.used = new Int32Array(this.caches.length)
  }

  hold(): void {
    this.#holders++
  }

  release(): void {
    if (--this.#holders === 0) for (const cache of this.caches) cache.dispose()
  }
}

/** The first tokens of a store's sequences, as one run has left them. */
export class CacheView {
  #released = false

  constructor(
    readonly store: CacheStore,
    /** [sequences] */
    readonly tokens: Int32Array,
    /** [sequences, columns]: which columns of the padded batch hold tokens, past ones first; asked for when elements are. */
    readonly seen: () => readonly (readonly number[])[],
    readonly width: number,
  ) {
    store.hold()
    abandoned.register(this, store, this)
  }

  /** Whether nothing has been added behind these tokens. */
  get isLatest(): boolean {
    return this.tokens.every((count, i) => count === this.store.used[i])
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    abandoned.unregister(this)
    this.store.release()
  }
}

const abandoned = new FinalizationRegistry<CacheStore>((store) => store.release())

/** A cache of one layer as an output [batch, heads, width, size]; elements are copied when they are asked for. */
export class CacheOutput implements Output {
  readonly dtype = 'float32'
  readonly shape: readonly number[]
  #data: Float32Array | undefined

  constructor(
    readonly view: CacheView,
    readonly layer: number,
    readonly part: 'keys' | 'values',
    readonly heads: number,
    readonly size: number,
    readonly onDispose: () => void,
  ) {
    this.shape = [view.tokens.length, heads, view.width, size]
  }

  get data(): Elements {
    this.#data ??= this.#read()
    return this.#data
  }

  dispose(): void {
    this.onDispose()
  }

  #read(): Float32Array {
    const { heads, size, view } = this
    const result = new Float32Array(this.shape.reduce((a, b) => a * b, 1))
    const seen = view.seen()
    view.store.caches.forEach((cache, sequence) => {
      const rows = cache.read(this.layer, this.part, view.tokens[sequence])
      seen[sequence].forEach((column, token) => {
        for (let head = 0; head < heads; head++) {
          const from = (token * heads + head) * size
          result.set(rows.subarray(from, from + size), ((sequence * heads + head) * view.width + column) * size)
        }
      })
    })
    return result
  }
}

/** Room for half as many tokens again as are needed, so that most runs add to a cache in place. */
export function capacityFor(tokens: number): number {
  return Math.ceil((1.5 * tokens) / 64) * 64 + 64
}

/**
 * The store that a run adds to: the one that is fed where nothing has been added since and there is room, else a copy of it.
 *
 * @param needed [sequences]: tokens after the run
 */
export function continued(view: CacheView, needed: Int32Array): CacheStore {
  const { store, tokens } = view
  if (view.isLatest && store.caches.every(({ capacity }, i) => needed[i] <= capacity)) return store
  const copy = new CacheStore(store.program, Array.from(needed, capacityFor))
  for (const [sequence, cache] of copy.caches.entries()) cache.copy(store.caches[sequence], tokens[sequence])
  copy.used.set(tokens)
  return copy
}

/** Puts keys or values [batch, heads, past, size] of a caller into a store, without padding. */
export function fill(
  store: CacheStore,
  layer: number,
  part: 'keys' | 'values',
  array: NDArray,
  seen: readonly (readonly number[])[],
): void {
  const [batch, heads, past, size] = array.shape
  if (batch !== store.caches.length) throw badInput(`Caches of ${batch} sequences do not fit a batch of ${store.caches.length}`)
  if (!past) return
  const values = array.data as Float32Array
  store.caches.forEach((cache, sequence) => {
    const columns = seen[sequence].filter((column) => column < past)
    const rows = new Float32Array(columns.length * heads * size)
    columns.forEach((column, token) => {
      for (let head = 0; head < heads; head++) {
        const from = ((sequence * heads + head) * past + column) * size
        rows.set(values.subarray(from, from + size), (token * heads + head) * size)
      }
    })
    cache.write(layer, part, rows)
    store.used[sequence] = columns.length
  })
}
