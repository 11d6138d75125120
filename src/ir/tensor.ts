import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { type DType, type Elements, type NDArray, sizeOf, storageBytes } from '../numbers/dtype.js'
import { scaleShape } from '../numbers/quantizer.js'
import { decode, encode } from '../numbers/storage.js'
import type { BlockForm, WeightBlocks } from '../numbers/weight-blocks.js'

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

  /** In what blocks the tensor is quantized already, where `blocks` gives them; known without reading it. */
  get blockForm(): BlockForm | null {
    return null
  }

  /** The codes that the elements were made of, where the tensor is quantized in blocks already; else null. */
  async blocks(): Promise<WeightBlocks | null> {
    return null
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

/** A tensor whose bytes in storage are fetched when asked for, once while anybody holds them. */
export class BytesTensor extends Tensor {
  readonly #fetch: () => Promise<Uint8Array>
  #held: WeakRef<Uint8Array> | undefined

  constructor(dtype: DType, shape: readonly number[], fetch: () => Promise<Uint8Array>) {
    super(dtype, shape)
    this.#fetch = fetch
  }

  override async bytes(): Promise<Uint8Array> {
    const held = this.#held?.deref()
    if (held) return held
    const bytes = await this.#fetch()
    this.#held = new WeakRef(bytes)
    return bytes
  }

  async read(): Promise<Elements> {
    return decode(this.dtype, await this.bytes(), this.size)
  }
}

/** A tensor whose bytes lie in a file. */
export class StoredTensor extends BytesTensor {
  constructor(
    dtype: DType,
    shape: readonly number[],
    readonly source: ByteSource,
    readonly offset: number,
  ) {
    super(dtype, shape, () => source.read(offset, this.byteLength))
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

/** The same elements in another shape. */
export function reshaped(tensor: Tensor, shape: readonly number[]): Tensor {
  if (tensor instanceof ReshapedTensor) return reshaped(tensor.source, shape)
  return String(tensor.shape) === String(shape) ? tensor : new ReshapedTensor(tensor, shape)
}

class ReshapedTensor extends LazyTensor {
  constructor(
    readonly source: Tensor,
    shape: readonly number[],
  ) {
    super(source.dtype, shape, () => source.read())
  }
}

/** The transpose of a matrix, computed when read; that of a transpose is the matrix itself. */
export function transposed(tensor: Tensor): Tensor {
  return tensor instanceof TransposedMatrix ? tensor.matrix : new TransposedMatrix(tensor)
}

class TransposedMatrix extends LazyTensor {
  constructor(readonly matrix: Tensor) {
    const [rows, columns] = matrix.shape
    super(matrix.dtype, [columns, rows], async () => transposeMatrix(await matrix.read(), rows, columns))
  }

  override get blockForm(): BlockForm | null {
    const form = this.matrix.blockForm
    return form && { ...form, axis: 1 - form.axis }
  }

  override async blocks(): Promise<WeightBlocks | null> {
    const blocks = await this.matrix.blocks()
    if (!blocks) return null
    const [rows, columns] = this.matrix.shape
    const { axis, codes, scales, minimums } = blocks
    const [scaleRows, scaleColumns] = scaleShape({ ...blocks, shape: [rows, columns] })
    const turned = (factors: Float32Array) => transposeMatrix(factors, scaleRows, scaleColumns)
    return {
      ...blocks,
      axis: 1 - axis,
      codes: transposeMatrix(codes, rows, columns),
      scales: turned(scales),
      minimums: minimums && turned(minimums),
    }
  }
}

/** Transposes row-major [rows, columns] elements, eight rows at a time: two loops that stay in the cache. */
export function transposeMatrix<T extends Elements>(data: T, rows: number, columns: number): T {
  const result = (Array.isArray(data) ? new Array(data.length) : new (data.constructor as Float32ArrayConstructor)(data.length)) as T
  const whole = rows - (rows % 8)
  for (let row = 0; row < whole; row += 8) {
    const from = row * columns
    for (let column = 0; column < columns; column++) {
      const [at, to] = [from + column, column * rows + row]
      result[to] = data[at]
      result[to + 1] = data[at + columns]
      result[to + 2] = data[at + 2 * columns]
      result[to + 3] = data[at + 3 * columns]
      result[to + 4] = data[at + 4 * columns]
      result[to + 5] = data[at + 5 * columns]
      result[to + 6] = data[at + 6 * columns]
      result[to + 7] = data[at + 7 * columns]
    }
  }
  for (let row = whole; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = data[row * columns + column]
  return result
}
