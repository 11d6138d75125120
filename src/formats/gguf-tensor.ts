import type { ByteSource } from '../base/bytes.js'
import { Tensor } from '../ir/tensor.js'
import type { Elements } from '../numbers/dtype.js'
import { decode, encode } from '../numbers/storage.js'
import type { BlockForm, WeightBlocks } from '../numbers/weight-blocks.js'
import { blockCodes, blockDtype, decodeBlocks, type GgufFormat } from './gguf-blocks.js'

/** A tensor in a GGUF file. Quantized ones are float32 to those who read them; {@link blocks} gives their codes. */
export class GgufTensor extends Tensor {
  readonly format: GgufFormat
  readonly #source: ByteSource
  readonly #offset: number
  /** Which row of the file each row is; null where they are in order. */
  readonly #rows: readonly number[] | null
  #held: WeakRef<Exclude<Elements, string[]>> | undefined

  /** @param offset bytes from the beginning of the file */
  constructor(format: GgufFormat, shape: readonly number[], source: ByteSource, offset: number, rows: readonly number[] | null = null) {
    super(format.dtype, shape)
    this.format = format
    this.#source = source
    this.#offset = offset
    this.#rows = rows
  }

  /** Bytes in the file. */
  get storedBytes(): number {
    return (this.size / this.format.size) * this.format.bytes
  }

  /**
   * The same tensor with its rows (first dimension) in another order; blocks stay whole.
   *
   * @param rows the row of this tensor that each row of the result is
   */
  withRows(rows: readonly number[]): GgufTensor {
    const before = this.#rows
    return new GgufTensor(this.format, this.shape, this.#source, this.#offset, before ? rows.map((row) => before[row]) : rows)
  }

  async read(): Promise<Elements> {
    const held = this.#held?.deref()
    if (held) return held
    const stored = await this.#stored()
    const data = this.format.decode ? decodeBlocks(this.format, stored) : decode(this.dtype, stored, this.size)
    if (!Array.isArray(data)) this.#held = new WeakRef(data)
    return data
  }

  override async bytes(): Promise<Uint8Array> {
    return this.format.decode ? encode(this.dtype, await this.read()) : this.#stored()
  }

  override get blockForm(): BlockForm | null {
    const dtype = blockDtype(this.format)
    return dtype && { dtype, axis: this.shape.length - 1, blockSize: this.format.size }
  }

  /** Codes, scales and minimums as the file has them, for Q4_0, Q4_1 and Q8_0; null for other formats. */
  override async blocks(): Promise<WeightBlocks | null> {
    const blocks = this.blockForm && blockCodes(this.format, await this.#stored())
    return blocks && { ...blocks, axis: this.shape.length - 1 }
  }

  async #stored(): Promise<Uint8Array> {
    const bytes = await this.#source.read(this.#offset, this.storedBytes)
    if (!this.#rows) return bytes
    const width = bytes.length / this.#rows.length
    const ordered = new Uint8Array(bytes.length)
    this.#rows.forEach((row, i) => void ordered.set(bytes.subarray(row * width, (row + 1) * width), i * width))
    return ordered
  }
}
