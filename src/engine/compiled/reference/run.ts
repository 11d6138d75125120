import type { Tensor } from '../../../ir/tensor.js'
import type { Batch } from '../backend.js'
import type { TokenNumbers } from '../plan/steps.js'
import type { Arena } from './arrays.js'

/** One run of a plan over all sequences of a batch. */
export class Run {
  /** Of each token: its sequence, and its place there, past tokens counted. */
  readonly sequences: Int32Array
  readonly places: Int32Array

  constructor(
    readonly batch: Batch,
    readonly arena: Arena,
  ) {
    const tokens = arena.rows.token
    this.sequences = new Int32Array(tokens)
    this.places = new Int32Array(tokens)
    batch.pasts.forEach((past, sequence) => {
      const [first, end] = batch.starts.slice(sequence, sequence + 2)
      this.sequences.fill(sequence, first, end)
      for (let row = first; row < end; row++) this.places[row] = past + row - first
    })
  }

  numbers(numbers: TokenNumbers): Int32Array {
    return numbers === 'index' ? this.places : this.batch.numbers[numbers.input]
  }

  async floats(tensor: Tensor): Promise<Float32Array> {
    return (await tensor.read()) as Float32Array
  }

  async integers(tensor: Tensor): Promise<Int8Array | Uint8Array> {
    return (await tensor.read()) as Int8Array | Uint8Array
  }
}
