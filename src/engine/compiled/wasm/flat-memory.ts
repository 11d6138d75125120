import { sumLanes } from '../flat-kernels.js'
import { roundUp } from '../plan/steps.js'
import { outOfMemory, pageBytes } from './heap.js'
import { canShare } from './workers.js'

/** Pages that WebAssembly can address. */
const mostPages = 65536

/** Bytes at the beginning where loops keep sums. */
const sumBytes = sumLanes * Float64Array.BYTES_PER_ELEMENT

/** How modules import the memory of a {@link FlatMemory}. */
export const flatMemoryImport = () => ({ initial: 1, maximum: mostPages, shared: canShare() })

const homes = new WeakMap<ArrayBufferLike, FlatMemory>()

/**
 * Arrays side by side in one memory of WebAssembly, whose loops read and write them where they are. It is there as long as one of its
 * arrays is.
 */
export class FlatMemory {
  readonly memory: WebAssembly.Memory
  /** At address 0: {@link sumLanes} sums that a loop adds to. */
  readonly sums: Float64Array
  #end = sumBytes

  /**
   * @param bytes room from the start; it grows only where threads may share it, for else that would take its arrays away
   * @throws TinsmithError `out-of-memory`
   */
  constructor(bytes: number) {
    try {
      this.memory = new WebAssembly.Memory({ ...flatMemoryImport(), initial: Math.ceil((sumBytes + bytes) / pageBytes) })
    } catch (error) {
      throw outOfMemory(sumBytes + bytes, error)
    }
    this.sums = new Float64Array(this.memory.buffer, 0, sumLanes)
  }

  /** The memory that all of these arrays lie in. */
  static of(arrays: readonly Float32Array[]): FlatMemory | undefined {
    const [home, ...others] = new Set(arrays.map(({ buffer }) => homes.get(buffer)))
    return others.length ? undefined : home
  }

  /** Zeros, or undefined where there is no room left. */
  take(elements: number): Float32Array | undefined {
    const bytes = roundUp(elements * Float32Array.BYTES_PER_ELEMENT, 16)
    if (!this.#reach(this.#end + bytes)) return undefined
    const { buffer } = this.memory
    homes.set(buffer, this)
    const array = new Float32Array(buffer, this.#end, elements)
    this.#end += bytes
    return array
  }

  #reach(end: number): boolean {
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / pageBytes)
    if (missing <= 0) return true
    if (!canShare()) return false
    try {
      this.memory.grow(missing)
      return true
    } catch {
      return false
    }
  }
}
