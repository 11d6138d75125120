import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { type DType, type Elements, type NDArray, sizeOf, storageBytes } from '../numbers/dtype.js'
import { decode, encode } from '../numbers/storage.js'

/**
 * A constant array. Its bytes may still lie on disk: `read` fetches the elements (one entry each), `bytes` the storage
 * form (little endian, sub-byte types packed), and neither keeps them longer than somebody holds them.
 * What they return is shared: never write to it.
 */
export abstract class Tensor {
  readonly dtype: DType
  readonly shape: readonly number[]

  constructor(dtype: DType, shape: readonly number[]) {
    this.dtype = dtype
    this.shape = shape
  }

  get size(): number {
    return sizeOf(this.shape)
  }

  /** Bytes in storage. */
  get byteLength(): number {
    return storageBytes(this.dtype, this.size)
  }

  /** The elements where they lie in memory already, else null. */
  get elements(): Elements | null {
    return null
  }

  abstract read(): Promise<Elements>

  async bytes(): Promise<Uint8Array> {
    return encode(this.dtype, await this.read())
  }

  async array(): Promise<NDArray> {
    return { dtype: this.dtype, shape: this.shape, data: await this.read() }
  }
}

/** A tensor in memory. */
export class ArrayTensor extends Tensor {
  readonly data: Elements

  constructor(dtype: DType, shape: readonly number[], data: Elements) {
    super(dtype, shape)
    this.data = data
    if (this.size !== data.length && !dtype.startsWith('complex'))
      throw badInput(`a tensor of shape [${shape}] needs ${this.size} elements and has ${data.length}`)
  }

  static of(array: NDArray): ArrayTensor {
    return new ArrayTensor(array.dtype, array.shape, array.data)
  }

  override get elements(): Elements {
    return this.data
  }

  async read(): Promise<Elements> {
    return this.data
  }

  override get byteLength(): number {
    if (Array.isArray(this.data)) return this.data.reduce((sum, text) => sum + text.length, 0)
    return super.byteLength
  }
}

/** A tensor whose bytes lie in a file; read when asked for, once while anybody holds them. */
export class StoredTensor extends Tensor {
  readonly source: ByteSource
  readonly offset: number
  #held: WeakRef<Uint8Array> | undefined

  constructor(dtype: DType, shape: readonly number[], source: ByteSource, offset: number) {
    super(dtype, shape)
    this.source = source
    this.offset = offset
  }

  override async bytes(): Promise<Uint8Array> {
    const held = this.#held?.deref()
    if (held) return held
    const bytes = await this.source.read(this.offset, this.byteLength)
    this.#held = new WeakRef(bytes)
    return bytes
  }

  async read(): Promise<Elements> {
    return decode(this.dtype, await this.bytes(), this.size)
  }
}

/** A tensor computed from others when it is read (a transposed weight, a dequantized block). */
export class LazyTensor extends Tensor {
  readonly #compute: () => Promise<Elements>
  #held: WeakRef<Exclude<Elements, string[]>> | undefined

  constructor(dtype: DType, shape: readonly number[], compute: () => Promise<Elements>) {
    super(dtype, shape)
    this.#compute = compute
  }

  async read(): Promise<Elements> {
    const held = this.#held?.deref()
    if (held) return held
    const data = await this.#compute()
    if (data.length !== this.size) throw new Error(`a computed tensor of shape [${this.shape}] got ${data.length} elements`)
    if (!Array.isArray(data)) this.#held = new WeakRef(data)
    return data
  }
}

/** The transpose of a matrix, computed when read. */
export function transposed(tensor: Tensor): Tensor {
  const [rows, columns] = tensor.shape
  return new LazyTensor(tensor.dtype, [columns, rows], async () => transposeMatrix(await tensor.read(), rows, columns))
}

/** Transposes row-major [rows, columns] elements, in tiles that stay in the cache. */
export function transposeMatrix<T extends Elements>(data: T, rows: number, columns: number): T {
  const result = (Array.isArray(data) ? new Array(data.length) : new (data.constructor as Float32ArrayConstructor)(data.length)) as T
  const tile = 32
  for (let r0 = 0; r0 < rows; r0 += tile)
    for (let c0 = 0; c0 < columns; c0 += tile)
      for (let r = r0; r < Math.min(rows, r0 + tile); r++)
        for (let c = c0; c < Math.min(columns, c0 + tile); c++) result[c * rows + r] = data[r * columns + c]
  return result
}
