import type { Graph } from '../../../ir/graph.js'
import type { Value } from '../../../ir/node.js'
import type { Assembler } from './assembler.js'
import type { Place } from './elementwise-operators.js'
import { Memory, type Vector } from './operands.js'

/** Where the values of a graph are while code for it is emitted, node by node: in registers from their birth to their last use. */
export class LiveValues {
  readonly #places = new Map<Value, Place>()
  readonly #free: Vector[]
  readonly #usesLeft = new Map<Value, number>()

  /**
   * @param slots a vector of memory for each value: those in `stored` are there from the start, others when registers run out
   * @param load emits the load of an input that is not in its slot
   */
  constructor(
    readonly a: Assembler,
    registers: readonly Vector[],
    graph: Graph,
    readonly slots: ReadonlyMap<Value, Memory>,
    stored: Iterable<Value>,
    readonly load: (to: Vector, input: Value) => void,
  ) {
    this.#free = [...registers].reverse()
    for (const value of stored) this.#places.set(value, slots.get(value)!)
    for (const node of graph.nodes()) for (const input of node.inputs) if (input) this.#count(input, 1)
    for (const output of graph.outputs) this.#count(output, 1)
  }

  /** Where a value is; an input is loaded first. The values at work keep their registers. */
  placeOf(value: Value, atWork: readonly Value[]): Place {
    const known = this.#places.get(value)
    if (known) return known
    const register = this.take(atWork)
    this.load(register, value)
    this.#places.set(value, register)
    return register
  }

  /** A register for whatever is wanted; where none is free, the oldest value that is not at work moves to its slot. */
  take(atWork: readonly Value[]): Vector {
    const free = this.#free.pop()
    if (free) return free
    for (const [value, place] of this.#places) {
      if (place instanceof Memory || atWork.includes(value)) continue
      const slot = this.slots.get(value)!
      this.a.vmovups(slot, place)
      this.#places.set(value, slot)
      return place
    }
    throw new RangeError('More values at work than registers')
  }

  release(...registers: readonly Vector[]): void {
    this.#free.push(...registers)
  }

  /** Says in which register a node's output is. */
  define(value: Value, register: Vector): void {
    this.#places.set(value, register)
    if (!this.#usesLeft.get(value)) this.#forget(value)
  }

  /** Counts a use; after the last one the register is free. */
  used(value: Value): void {
    if (this.#count(value, -1) === 0) this.#forget(value)
  }

  #count(value: Value, change: number): number {
    const uses = (this.#usesLeft.get(value) ?? 0) + change
    this.#usesLeft.set(value, uses)
    return uses
  }

  #forget(value: Value): void {
    const place = this.#places.get(value)!
    if (place instanceof Memory) return
    this.release(place)
    this.#places.delete(value)
  }
}
