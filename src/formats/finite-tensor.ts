import { Tensor } from '../ir/tensor.js'
import type { Elements } from '../numbers/dtype.js'
import type { BlockForm, WeightBlocks } from '../numbers/weight-blocks.js'
import { assertFinite } from './finite.js'

/** A tensor that is checked for NaN and infinities when it is first read, so that no weight is read just to look at it. */
export class FiniteTensor extends Tensor {
  readonly #name: string
  readonly #tensor: Tensor
  #checked: Promise<void> | undefined

  constructor(name: string, tensor: Tensor) {
    super(tensor.dtype, tensor.shape)
    this.#name = name
    this.#tensor = tensor
  }

  /** @throws TinsmithError `bad-input` naming the tensor */
  async read(): Promise<Elements> {
    const data = await this.#tensor.read()
    await this.#check()
    return data
  }

  override async bytes(): Promise<Uint8Array> {
    const bytes = await this.#tensor.bytes()
    await this.#check()
    return bytes
  }

  override get blockForm(): BlockForm | null {
    return this.#tensor.blockForm
  }

  override async blocks(): Promise<WeightBlocks | null> {
    const blocks = await this.#tensor.blocks()
    // Numbers are finite exactly where the factors of their blocks are.
    const areFinite = [blocks?.scales, blocks?.minimums].every((factors) => factors?.every(Number.isFinite) ?? true)
    if (!areFinite) await this.#check()
    return blocks
  }

  #check(): Promise<void> {
    this.#checked ??= assertFinite(this.#name, this.#tensor)
    return this.#checked
  }
}
