import { type Mapped, mapMemory, viewMemory } from '../../../../src/engine/compiled/x64/memory.node.js'

/** Memory that a kernel works on: an address for the kernel, and the bytes for us. */
export interface Place {
  readonly address: bigint
  readonly bytes: Uint8Array
}

/** Gives out memory of zeros. */
export interface Arena {
  place(bytes: number): Place
}

/** The numbers of a place as an array of another type. */
export function numbersIn<T>(
  place: Place,
  type: { new (buffer: ArrayBuffer, offset: number, length: number): T; readonly BYTES_PER_ELEMENT: number },
  length: number,
): T {
  return new type(place.bytes.buffer as ArrayBuffer, place.bytes.byteOffset, length)
}

/** Memory of this process; pages that must not be touched lie right behind every place. */
export class GuardedArena implements Arena {
  readonly #mapped: Mapped[] = []

  place(bytes: number): Place {
    const mapped = mapMemory(bytes, { guards: true })
    this.#mapped.push(mapped)
    return { address: mapped.address, bytes: viewMemory(mapped.address, bytes) }
  }

  release(): void {
    for (const mapped of this.#mapped) mapped.release()
  }
}
