import { badInput } from '../../../base/errors.js'
import type { Cache } from '../backend.js'
import type { CacheLayer } from '../plan/plan.js'
import { type Mapped, mapMemory, viewMemory } from './memory.node.js'

/** Kernels may read so far beyond the last row. */
const overrun = 64

/** Large caches lie in huge pages: less time goes into finding pages when all of them is read for each token. */
const hugeBytes = 2 ** 22

/** Keys and values of a sequence in mapped memory. Freed when it is disposed of and no run uses it any more. */
export class MappedCache implements Cache {
  readonly address: number
  readonly #mapped: Mapped
  readonly #values: Float32Array
  #users = 1

  /** @throws TinsmithError `out-of-memory` */
  constructor(
    readonly layers: readonly CacheLayer[],
    readonly capacity: number,
  ) {
    const columns = layers.reduce((sum, { keyColumns, valueColumns }) => sum + keyColumns + valueColumns, 0)
    const bytes = 4 * columns * capacity
    this.#mapped = mapMemory(bytes + overrun, { hugePages: bytes >= hugeBytes })
    this.address = Number(this.#mapped.address)
    this.#values = new Float32Array(viewMemory(this.#mapped.address, bytes).buffer, 0, columns * capacity)
  }

  read(layer: number, part: 'keys' | 'values', tokens: number): Float32Array {
    const { first, columns } = this.#place(layer, part)
    return this.#values.slice(first, first + tokens * columns)
  }

  write(layer: number, part: 'keys' | 'values', values: Float32Array): void {
    const { first, columns } = this.#place(layer, part)
    if (values.length > columns * this.capacity)
      throw badInput(`A cache of ${this.capacity} tokens has no room for ${values.length / columns}`)
    this.#values.set(values, first)
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

  #disposed = false

  #leave(): void {
    if (--this.#users === 0) this.#mapped.release()
  }

  #place(layer: number, part: 'keys' | 'values'): { first: number; columns: number } {
    if (this.#disposed) throw badInput('A cache that was disposed of cannot be used')
    const { keyColumns, valueColumns } = this.layers[layer]
    const before = this.layers.slice(0, layer).reduce((sum, each) => sum + each.keyColumns + each.valueColumns, 0)
    const first = (before + (part === 'values' ? keyColumns : 0)) * this.capacity
    return { first, columns: part === 'keys' ? keyColumns : valueColumns }
  }
}
