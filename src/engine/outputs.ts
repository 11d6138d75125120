import type { DType, Elements, NDArray } from '../numbers/dtype.js'
import type { Output } from './session.js'

/** An output whose elements are in JavaScript's memory. */
export class ArrayOutput implements Output {
  constructor(private readonly array: NDArray) {}

  get dtype(): DType {
    return this.array.dtype
  }

  get shape(): readonly number[] {
    return this.array.shape
  }

  get data(): Elements {
    return this.array.data
  }

  /** Nothing to free: the garbage collector does. */
  dispose(): void {}
}
