import { badInput } from '../../../base/errors.js'
import { CacheBytes, type CacheSpan } from '../cache-bytes.js'
import { type CacheLayer, cacheBytes } from '../plan/plan.js'
import { type Mapped, mapMemory, viewMemory } from './memory.node.js'

/** Kernels may read so far beyond the last row. */
const overrun = 64

/** Large caches lie in huge pages: less time goes into finding pages when all of them is read for each token. */
const hugeBytes = 2 ** 22

/** Keys and values of a sequence in mapped memory. Freed when it is disposed of and no run uses it any more. */
export class MappedCache extends CacheBytes {
  readonly address: number
  readonly #mapped: Mapped
  readonly #bytes: Uint8Array
  #users = 1
  #disposed = false

  /** @throws TinsmithError `out-of-memory` */
  constructor(layers: readonly CacheLayer[], capacity: number) {
    super(layers, capacity)
    const bytes = cacheBytes(layers) * capacity
    this.#mapped = mapMemory(bytes + overrun, { hugePages: bytes >= hugeBytes })
    this.address = Number(this.#mapped.address)
    this.#bytes = viewMemory(this.#mapped.address, bytes)
  }

  /** Keeps the memory until the function that it gives is called. */
  hold(): () => void {
    if (!this.#users) throw badInput('A cache that was disposed of cannot be used')
    this.#users++
    return () => this.#leave()
  }

  dispose(): void {
    if (!this.#disposed) this.#leave()
    this.#disposed = true
  }

  protected bytesOf({ start, bytes }: CacheSpan): Uint8Array {
    return this.#alive.slice(start, start + bytes)
  }

  protected setBytes(start: number, bytes: Uint8Array): void {
    this.#alive.set(bytes, start)
  }

  get #alive(): Uint8Array {
    if (this.#disposed) throw badInput('A cache that was disposed of cannot be used')
    return this.#bytes
  }

  #leave(): void {
    if (--this.#users === 0) this.#mapped.release()
  }
}
