import { sumBytes, sumLanes } from '../flat-kernels.js'
import { roundUp } from '../plan/steps.js'
import { outOfMemory, pageBytes } from './heap.js'
import { canShare } from './workers.js'

/** Pages that WebAssembly can address. */
const mostPages = 65536

/** How modules import the memory of a {@link FlatMemory}. */
export const flatMemoryImport = () => ({ initial: 1, maximum: mostPages, shared: canShare() })

const homes = new WeakMap<ArrayBufferLike, FlatMemory>()

/** Arrays in one memory of WebAssembly, whose loops read and write them where they are. It is there as long as one of its arrays is. */
export class FlatMemory {
  /** {@link sumLanes} sums that a loop adds to. */
  readonly sums: Float64Array

  /** @param sums address of {@link sumBytes} bytes */
  constructor(
    readonly memory: WebAssembly.Memory,
    sums: number,
  ) {
    this.sums = new Float64Array(memory.buffer, sums, sumLanes)
  }

  /** The memory that all of these arrays lie in. */
  static of(arrays: readonly ArrayBufferView[]): FlatMemory | undefined {
    const [home, ...others] = new Set(arrays.map(({ buffer }) => homes.get(buffer)))
    return others.length ? undefined : home
  }

  /** The floats at an address. */
  array(address: number, elements: number): Float32Array {
    const end = address + elements * Float32Array.BYTES_PER_ELEMENT
    // What another thread made room for is seen when memory grows.
    if (end > this.memory.buffer.byteLength) this.memory.grow(0)
    const { buffer } = this.memory
    homes.set(buffer, this)
    return new Float32Array(buffer, address, elements)
  }
}

/** A {@link FlatMemory} for nothing but arrays, side by side. */
export class FlatArea extends FlatMemory {
  #end = sumBytes

  /**
   * @param bytes room from the start; it grows only where threads may share it, for else that would take its arrays away
   * @throws TinsmithError `out-of-memory`
   */
  constructor(bytes: number) {
    super(newMemory(sumBytes + bytes), 0)
  }

  /** Zeros, or undefined where there is no room left. */
  take(elements: number): Float32Array | undefined {
    const start = this.#end
    const end = start + roundUp(elements * Float32Array.BYTES_PER_ELEMENT, 16)
    if (!this.#reach(end)) return undefined
    this.#end = end
    return this.array(start, elements)
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

function newMemory(bytes: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ ...flatMemoryImport(), initial: Math.ceil(bytes / pageBytes) })
  } catch (error) {
    throw outOfMemory(bytes, error)
  }
}
