import { roundUp } from '../plan/steps.js'
import { type Mapped, mapMemory, viewMemory } from './memory.node.js'

/** Bytes that are mapped at once; only what is written takes memory. */
const piece = 2 ** 26

/** Kernels may read so far beyond a constant. */
const overrun = 64

/** Memory for constants: filled at load, in huge pages, each array once. */
export class ConstantMemory {
  readonly #mapped: Mapped[] = []
  readonly #known = new WeakMap<ArrayBufferView, number>()
  /** Where the next one goes, and where the piece ends. */
  #next = 0
  #end = 0
  #bytes = 0

  /** Bytes of all constants. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The address of a copy of the array.
   *
   * @throws TinsmithError `out-of-memory`
   */
  place(array: ArrayBufferView): number {
    const known = this.#known.get(array)
    if (known !== undefined) return known
    const copy = this.allocate(array.byteLength)
    copy.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    const address = this.#known.get(copy)!
    this.#known.set(array, address)
    return address
  }

  /**
   * Zeros to be filled; `place` knows where they lie.
   *
   * @throws TinsmithError `out-of-memory`
   */
  allocate(bytes: number): Uint8Array {
    const needed = roundUp(bytes + overrun, 64)
    if (this.#next + needed > this.#end) this.#grow(needed)
    const array = viewMemory(BigInt(this.#next), bytes)
    this.#known.set(array, this.#next)
    this.#next += needed
    this.#bytes += bytes
    return array
  }

  release(): void {
    for (const mapped of this.#mapped) mapped.release()
  }

  #grow(needed: number): void {
    const mapped = mapMemory(Math.max(needed, piece), { hugePages: true })
    this.#mapped.push(mapped)
    this.#next = Number(mapped.address)
    this.#end = this.#next + mapped.bytes
  }
}
