import { CacheBytes, type CacheSpan } from '../cache-bytes.js'
import { cacheBytes, type Plan } from '../plan/plan.js'
import type { ProgramMemory } from './memory.js'
import type { Span } from './protocol.js'

/** Keys and values in a program's memory; with a copy here where that memory is not shared. */
export class WasmCache extends CacheBytes {
  readonly address: number
  readonly #copy: Uint8Array | undefined

  constructor(
    { caches }: Plan,
    private readonly memory: ProgramMemory,
    capacity: number,
  ) {
    super(caches, capacity)
    const bytes = capacity * cacheBytes(caches)
    this.address = memory.heap.allocate(bytes)
    if (!memory.shared) this.#copy = new Uint8Array(bytes)
  }

  dispose(): void {
    this.memory.heap.free(this.address)
  }

  /** Where a run of so many tokens after `past` writes. */
  written(past: number, tokens: number): Span[] {
    return this.allSpans(past, tokens).map(({ start, bytes }) => ({ address: this.address + start, bytes }))
  }

  /** Takes over what a thread wrote into memory of its own. */
  keep({ address }: Span, bytes: Uint8Array): void {
    this.#copy?.set(bytes, address - this.address)
  }

  protected bytesOf({ start, bytes }: CacheSpan): Uint8Array {
    return this.#copy?.slice(start, start + bytes) ?? this.memory.read(this.address + start, bytes)
  }

  protected setBytes(start: number, bytes: Uint8Array): void {
    this.memory.write(this.address + start, bytes)
    this.#copy?.set(bytes, start)
  }
}
