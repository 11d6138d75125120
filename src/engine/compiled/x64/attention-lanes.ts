import type { Assembler } from './assembler.js'
import { eax, k, type Mask, type Memory, type Vector } from './operands.js'
import type { VectorConstants } from './vector-machine.js'

/** Columns that fill a vector, or a part of one. */
export interface Piece {
  readonly first: number
  readonly count: number
}

/** What vectors of 256 and 512 bits do in different ways: parts of vectors, and choices by lane. */
export class Lanes {
  readonly #isWide: boolean
  readonly #lanes: number
  readonly #parts: readonly number[]

  /** @param columns counts of columns whose last vector may be a part of one; of up to six lengths */
  constructor(
    readonly constants: VectorConstants,
    columns: readonly number[],
  ) {
    this.#isWide = constants.machine.name === 'avx512'
    this.#lanes = constants.machine.lanes
    this.#parts = [...new Set(columns.map((count) => count % this.#lanes).filter((part) => part > 0))]
  }

  /** Sets the masks that all parts need, before any other function is used. Overwrites eax. */
  prepare(a: Assembler): void {
    if (!this.#isWide) return
    for (const part of this.#parts) {
      a.mov(eax, 2 ** part - 1)
      a.kmovw(this.#mask(part), eax)
    }
  }

  /** Columns by vectors. */
  pieces(columns: number): Piece[] {
    return Array.from({ length: Math.ceil(columns / this.#lanes) }, (_, i) => ({
      first: i * this.#lanes,
      count: Math.min(this.#lanes, columns - i * this.#lanes),
    }))
  }

  /** Reads the first `count` lanes, and nothing beyond them; the others become 0. */
  load(a: Assembler, register: Vector, place: Memory, count: number): void {
    if (count >= this.#lanes) a.vmovups(register, place)
    else if (this.#isWide) a.vmovups(register.zeroed(this.#mask(count)), place)
    else this.loadHalf(a, register, place, count)
  }

  /** Reads the first `count` of 8 lanes to a vector of 256 bits; the others become 0. */
  loadHalf(a: Assembler, register: Vector, place: Memory, count: number): void {
    if (count === 8) {
      a.vmovups(register, place)
      return
    }
    a.vmovups(register, this.constants.firstLanes(count))
    a.vmaskmovps(register, register, place)
  }

  /** Writes the first `count` lanes. */
  store(a: Assembler, place: Memory, register: Vector, count: number, temporary: Vector): void {
    if (count >= this.#lanes) a.vmovups(place, register)
    else if (this.#isWide) a.vmovups(place.masked(this.#mask(count)), register)
    else {
      a.vmovups(temporary, this.constants.firstLanes(count))
      a.vmaskmovps(place, temporary, register)
    }
  }

  /** target = value in the lanes where left > right, as signed integers. */
  replaceWhereGreater(a: Assembler, target: Vector, left: Vector, right: Vector, value: Vector, temporary: Vector): void {
    if (this.#isWide) {
      a.vpcmpgtd(k[7], left, right)
      a.vmovaps(target.masked(k[7]), value)
      return
    }
    a.vpcmpgtd(temporary, left, right)
    a.vblendvps(target, target, value, temporary)
  }

  #mask(count: number): Mask {
    return k[1 + this.#parts.indexOf(count)]
  }
}
