import { TinsmithError } from '../../../base/errors.js'
import { roundUp } from '../plan/steps.js'

const alignment = 64
/** Kernels may read this far beyond what they are given. */
const slack = 64
export const pageBytes = 65536

/** Places in a memory that grows: first fit, in steps of 64 bytes. Address 0 is never given. */
export class Heap {
  /** Free spans, sorted, none beside another. */
  readonly #free: { start: number; end: number }[] = []
  readonly #taken = new Map<number, number>()
  #end = alignment

  /** @param reach makes the memory at least this long, or throws */
  constructor(private readonly reach: (bytes: number) => void) {}

  allocate(bytes: number): number {
    const size = roundUp(bytes + slack, alignment)
    const place = this.#free.findIndex(({ start, end }) => end - start >= size)
    const start = place < 0 ? this.#end : this.#free[place].start
    if (place < 0) {
      this.reach(start + size)
      this.#end = start + size
    } else {
      this.#free[place].start += size
      if (this.#free[place].start === this.#free[place].end) this.#free.splice(place, 1)
    }
    this.#taken.set(start, size)
    return start
  }

  free(start: number): void {
    const size = this.#taken.get(start)
    if (size === undefined) return
    this.#taken.delete(start)
    this.#free.push({ start, end: start + size })
    this.#free.sort((a, b) => a.start - b.start)
    for (let i = this.#free.length - 1; i > 0; i--) {
      if (this.#free[i - 1].end !== this.#free[i].start) continue
      this.#free[i - 1].end = this.#free[i].end
      this.#free.splice(i, 1)
    }
  }
}

/** The error for a memory that cannot grow to so many bytes. */
export function outOfMemory(bytes: number, cause?: unknown): TinsmithError {
  const megabytes = Math.ceil(bytes / 2 ** 20)
  return new TinsmithError('out-of-memory', `WebAssembly gets no memory of ${megabytes} MiB for the model and its runs`, {
    hint: 'Give smaller batches or a smaller model.',
    cause,
  })
}
