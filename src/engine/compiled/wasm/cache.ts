import type { Cache } from '../backend.js'
import { cacheOffset, type Plan } from '../plan/plan.js'
import type { ProgramMemory } from './memory.js'
import type { Span } from './protocol.js'

/** Keys and values in a program's memory; with a copy here where that memory is not shared. */
export class WasmCache implements Cache {
  readonly address: number
  readonly #copy: Uint8Array | undefined

  constructor(
    private readonly plan: Plan,
    private readonly memory: ProgramMemory,
    readonly capacity: number,
  ) {
    const bytes = capacity * plan.caches.reduce((sum, { keyColumns, valueColumns }) => sum + 4 * (keyColumns + valueColumns), 0)
    this.address = memory.heap.allocate(bytes)
    if (!memory.shared) this.#copy = new Uint8Array(bytes)
  }

  read(layer: number, part: 'keys' | 'values', tokens: number): Float32Array {
    const { offset, columns } = this.#place(layer, part)
    const bytes = this.#copy?.slice(offset, offset + 4 * tokens * columns) ?? this.memory.read(this.address + offset, 4 * tokens * columns)
    return new Float32Array(bytes.buffer)
  }

  write(layer: number, part: 'keys' | 'values', values: Float32Array): void {
    const { offset } = this.#place(layer, part)
    this.memory.write(this.address + offset, values)
    this.#copy?.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset)
  }

  dispose(): void {
    this.memory.heap.free(this.address)
  }

  /** Where a run of so many tokens after `past` writes. */
  written(past: number, tokens: number): Span[] {
    return this.plan.caches.flatMap((_, layer) =>
      (['keys', 'values'] as const).map((part) => {
        const { offset, columns } = this.#place(layer, part)
        return { address: this.address + offset + 4 * past * columns, bytes: 4 * tokens * columns }
      }),
    )
  }

  /** Takes over what a thread wrote into memory of its own. */
  keep({ address }: Span, bytes: Uint8Array): void {
    this.#copy?.set(bytes, address - this.address)
  }

  #place(layer: number, part: 'keys' | 'values') {
    const { keyColumns, valueColumns } = this.plan.caches[layer]
    const offset = this.capacity * cacheOffset(this.plan, layer, part)
    return { offset, columns: part === 'keys' ? keyColumns : valueColumns }
  }
}
