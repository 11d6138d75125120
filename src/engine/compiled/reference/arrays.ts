import { type Buffer, type RowKind, rowBytes, type View } from '../plan/steps.js'
import { arenaBytes, type MemoryPlan, viewOffset } from '../program.js'

/** Rows of a view, as an array with a distance between rows. */
export interface Rows<A extends Float32Array | Uint8Array = Float32Array | Uint8Array> {
  readonly data: A
  readonly count: number
  readonly stride: number
  readonly columns: number
}

/** Keys or values of one sequence: [tokens, columns]. */
export interface Past {
  readonly data: Float32Array
  readonly stride: number
  readonly tokens: number
}

/** An arena laid out by a plan; filled with NaN and 255, so that what is read before it was written shows. */
export class Arena {
  readonly #memory: ArrayBuffer
  /** What the places of buffers were computed for. */
  readonly #placed: Readonly<Record<RowKind, number>>

  constructor(
    readonly plan: MemoryPlan,
    /** How many there are; fewer of tokens once only the last are kept. */
    readonly rows: Record<RowKind, number>,
  ) {
    this.#placed = { ...rows }
    this.#memory = new ArrayBuffer(arenaBytes(plan, rows))
    new Uint8Array(this.#memory).fill(255)
  }

  floats(view: View): Rows<Float32Array> {
    return { data: new Float32Array(this.#memory, this.#offset(view, 'float32')), ...this.#layout(view, 4) }
  }

  codes(view: View): Rows<Uint8Array> {
    return { data: new Uint8Array(this.#memory, this.#offset(view, 'uint8')), ...this.#layout(view, 1) }
  }

  #offset(view: View, dtype: Buffer['dtype']): number {
    if (view.buffer.dtype !== dtype) throw new Error(`${view.buffer.name} holds ${view.buffer.dtype}, not ${dtype}`)
    return viewOffset(this.plan, view, this.#placed)
  }

  #layout({ buffer, columns }: View, size: number) {
    return { count: this.rows[buffer.per], stride: rowBytes(buffer) / size, columns }
  }
}
