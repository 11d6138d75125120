import { roundUp } from '../plan/steps.js'
import { addressOf, copyMemory, type Mapped, mapMemory, viewMemory } from './memory.node.js'

/** Bytes that are mapped at once; only what is written takes memory. */
const piece = 2 ** 26

/** Kernels may read so far beyond a constant. */
const overrun = 64

/** Arrays from this size on are copied by other threads. */
const largeBytes = 2 ** 20

/** Addresses from one to before another. */
interface Extent {
  readonly start: number
  readonly end: number
}

/** Memory for constants: filled at load, in huge pages, each array once. */
export class ConstantMemory {
  readonly #mapped: Mapped[] = []
  /** Where what was allocated in pieces that are full begins and ends. */
  readonly #full: Extent[] = []
  readonly #known = new WeakMap<ArrayBufferView, number>()
  /** Where the last piece begins, where the next constant goes in it, and where it ends. */
  #start = 0
  #next = 0
  #end = 0
  #bytes = 0
  readonly #pending = new Set<{ readonly read: readonly ArrayBufferView[]; readonly done: Promise<void> }>()

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
    if (array.byteLength < largeBytes) copy.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    else this.fill(copyMemory(addressOf(copy), addressOf(array), array.byteLength), [array])
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

  /** Lets another thread fill what was allocated, by work that reads arrays until it is done. */
  fill(work: Promise<void>, read: readonly ArrayBufferView[]): void {
    const pending = { read, done: work.then(() => void this.#pending.delete(pending)) }
    this.#pending.add(pending)
    // Who waits gets the error.
    pending.done.catch(() => {})
  }

  /** Waits until other threads have so few pieces of work left. */
  async filled(left = 0): Promise<void> {
    while (this.#pending.size > left) await Promise.race([...this.#pending].map(({ done }) => done))
  }

  /** All that was allocated, in the order of its addresses; valid until it is released. */
  contents(): Uint8Array[] {
    return this.#extents.map(({ start, end }) => viewMemory(BigInt(start), end - start))
  }

  /** How far an address lies behind the beginning of the contents. */
  offsetOf(address: number): number {
    let before = 0
    for (const { start, end } of this.#extents) {
      if (address >= start && address < end) return before + address - start
      before += end - start
    }
    throw new Error('no constant lies there')
  }

  release(): void {
    for (const mapped of this.#mapped) mapped.release()
  }

  get #extents(): readonly Extent[] {
    return [...this.#full, { start: this.#start, end: this.#next }]
  }

  #grow(needed: number): void {
    const mapped = mapMemory(Math.max(needed, piece), { hugePages: true })
    this.#mapped.push(mapped)
    if (this.#next > this.#start) this.#full.push({ start: this.#start, end: this.#next })
    this.#start = Number(mapped.address)
    this.#next = this.#start
    this.#end = this.#next + mapped.bytes
  }
}
