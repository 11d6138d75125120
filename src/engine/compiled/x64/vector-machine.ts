import type { Assembler } from './assembler.js'
import type { Features } from './features.js'
import { as, at, Label, type Memory, type Vector, ymm, zmm } from './operands.js'

/** Vectors of float32: what kernels that go through rows are made for. */
export interface VectorMachine {
  readonly name: 'avx2' | 'avx512'
  readonly registers: readonly Vector[]
  /** Bytes of a vector. */
  readonly bytes: 32 | 64
  /** float32 of a vector. */
  readonly lanes: 8 | 16
}

export const vectorMachines: Readonly<Record<VectorMachine['name'], VectorMachine>> = {
  avx2: { name: 'avx2', registers: ymm.slice(0, 16), bytes: 32, lanes: 8 },
  avx512: { name: 'avx512', registers: zmm, bytes: 64, lanes: 16 },
}

/** The vectors of a machine with these registers. */
export function vectorMachineOf({ registers: [first] }: { readonly registers: readonly Vector[] }): VectorMachine {
  return vectorMachines[first.kind === 'zmm' ? 'avx512' : 'avx2']
}

/** The widest vectors. */
export function chooseVectorMachine(features: Features): VectorMachine | undefined {
  return features.avx512 ? vectorMachines.avx512 : features.avx2 ? vectorMachines.avx2 : undefined
}

const float = new Float32Array(1)
const bitsOfFloat = new Int32Array(float.buffer)

function bitsOf(value: number): number {
  float[0] = value
  return bitsOfFloat[0]
}

/**
 * Constants of a kernel, each a vector; they lie behind the code.
 *
 * @example
 * const constants = new VectorConstants(vectorMachines.avx2)
 * kernel(0, (a) => a.vmulps(ymm[0], ymm[0], constants.float(0.5)), (a) => constants.place(a))
 */
export class VectorConstants {
  readonly #label = new Label()
  readonly #vectors: Int32Array[] = []
  readonly #repeated = new Map<number, Memory>()

  constructor(readonly machine: VectorMachine) {}

  /** A float32 in every lane. */
  float(value: number): Memory {
    return this.word(bitsOf(value))
  }

  /** 32 bits in every lane. */
  word(bits: number): Memory {
    const known = this.#repeated.get(bits)
    if (known) return known
    const place = this.words(() => bits)
    this.#repeated.set(bits, place)
    return place
  }

  /** All bits of the first lanes, none of the others. */
  firstLanes(count: number): Memory {
    return this.words((lane) => (lane < count ? -1 : 0))
  }

  /** A float32 for each lane. */
  floats(of: (lane: number) => number): Memory {
    return this.words((lane) => bitsOf(of(lane)))
  }

  /** 32 bits for each lane. */
  words(of: (lane: number) => number): Memory {
    const vector = Int32Array.from({ length: this.machine.lanes }, (_, lane) => of(lane))
    const known = this.#vectors.findIndex((other) => other.every((bits, lane) => bits === vector[lane]))
    const index = known >= 0 ? known : this.#vectors.push(vector) - 1
    return at(this.#label, index * this.machine.bytes)
  }

  /** Where 32-bit pieces of four vectors belong that were packed to one: packing leaves those of each 128 bits beside each other. */
  packedOrder(): Memory {
    const parts = this.machine.bytes / 16
    return this.words((piece) => 4 * (piece % parts) + Math.floor(piece / parts))
  }

  /** Puts the constants here, behind the code that uses them. */
  place(a: Assembler): void {
    const { lanes } = this.machine
    const all = new Int32Array(this.#vectors.length * lanes)
    for (const [i, vector] of this.#vectors.entries()) all.set(vector, i * lanes)
    this.#label.position = a.constants(all).position
  }
}

/** Puts the 32-bit pieces of packed vectors in the order of {@link VectorConstants.packedOrder}. */
export function emitInOrder(a: Assembler, packed: Vector, order: Vector): void {
  const kind = packed.kind === 'zmm' ? 'zmm' : 'ymm'
  a.vpermd(as(kind, packed), as(kind, order), as(kind, packed))
}
