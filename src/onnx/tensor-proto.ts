import { concatenate } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import { ArrayTensor, LazyTensor, StoredTensor, type Tensor } from '../ir/tensor.js'
import { type DType, dtypes, type Elements, numbersOf, sizeOf, storageBytes } from '../numbers/dtype.js'
import { bytesOf, decode } from '../numbers/storage.js'
import { decodeBytes, decodeVarints, StoredBytes } from './decode.js'
import type { ExternalFiles } from './external.js'
import { dtypeOf, type SparseTensorProto, type TensorProto, tensorProto } from './schema.js'
import { type Blob, blob, type Integer, type Message, text } from './wire.js'

/** External tensors up to this many bytes are read along with the model. */
const smallTensor = 1024
/** Most bytes of a sparse tensor's dense form. */
const densestBytes = 2 ** 31
const external = 1

/**
 * A tensor with its name from the bytes of one TensorProto, as the standard's test data has them.
 *
 * @param where name for error messages
 * @throws TinsmithError `unsupported` for a sequence, map or optional; `bad-input` for anything else that is no tensor
 * @example
 * const { name, tensor } = readTensorProto(bytes)
 * tensor.elements // a typed array
 */
export function readTensorProto(bytes: Uint8Array, where = 'tensor'): { name: string; tensor: Tensor } {
  if (isContainer(bytes)) throw unsupported('this is a sequence, map or optional and no tensor', { where })
  const proto = decodeBytes(tensorProto, bytes, where)
  return { name: proto.name ?? '', tensor: tensorFromProto(proto, where) }
}

/** A view of SequenceProto, MapProto and OptionalProto that tells them from tensors, which have numbers in field 1. */
const containerProto: Message<{ name?: string; tensorName?: string; rawData?: Blob }> = {
  name: 'container',
  fields: { name: text(1), tensorName: text(8), rawData: blob(9) },
}

function isContainer(bytes: Uint8Array): boolean {
  try {
    const proto = decodeBytes(containerProto, bytes)
    return proto.name !== undefined && proto.tensorName === undefined && proto.rawData === undefined
  } catch {
    return false
  }
}

/** The tensor of a message, its bytes left where they lie when they are long or external. */
export async function tensorOf(proto: TensorProto, where: string, files: ExternalFiles): Promise<Tensor> {
  if (Number(proto.dataLocation ?? 0) !== external) return tensorFromProto(proto, where)
  const { dtype, shape } = typeOf(proto, where)
  const place = await files.place(proto.externalData, storageBytes(dtype, sizeOf(shape)), where)
  const tensor = new StoredTensor(dtype, shape, place.source, place.offset)
  return tensor.byteLength > smallTensor ? tensor : new ArrayTensor(dtype, shape, await tensor.read())
}

/** The tensor of a message that has its bytes in the same file. */
export function tensorFromProto(proto: TensorProto, where: string): Tensor {
  const { dtype, shape } = typeOf(proto, where)
  const count = sizeOf(shape)
  if (dtype === 'string') return stringTensor(proto, shape, where)
  const { parts, width } = dataOf(proto, dtype)
  const byteLength = storageBytes(dtype, count)
  const stored = parts.reduce((sum, part) => sum + part.length, 0)
  if (width === 'raw') {
    if (stored !== byteLength)
      throw badInput(`there are ${stored} bytes and dtype ${dtype} with shape [${shape}] needs ${byteLength}`, { where })
    const [only] = parts
    if (parts.length === 1 && only instanceof StoredBytes) return new StoredTensor(dtype, shape, only.source, only.offset)
  } else if (stored < byteLength / width) throw badInput(`there are fewer numbers than shape [${shape}] needs`, { where })
  if (parts.every((part) => part instanceof Uint8Array)) return new ArrayTensor(dtype, shape, elementsOf(dtype, count, parts, width, where))
  return new LazyTensor(dtype, shape, async () => elementsOf(dtype, count, await Promise.all(parts.map(bytesOfBlob)), width, where))
}

/** The dense form of a sparse tensor, made when it is read. */
export async function denseOf(proto: SparseTensorProto, files: ExternalFiles): Promise<{ name: string; tensor: Tensor }> {
  const name = proto.values?.name ?? ''
  if (!proto.values || !proto.indices) throw badInput('a sparse tensor needs values and indices', { where: name || 'sparse tensor' })
  const values = await tensorOf(proto.values, name, files)
  const indices = await tensorOf(proto.indices, name, files)
  const shape = shapeOf(proto.dims, name)
  const rank = indices.shape.length
  const fits =
    values.shape.length === 1 &&
    indices.dtype === 'int64' &&
    indices.shape[0] === values.size &&
    (rank === 1 || (rank === 2 && indices.shape[1] === shape.length))
  if (!fits || values.dtype === 'string' || values.dtype.startsWith('complex'))
    throw badInput(`values of shape [${values.shape}] and indices of shape [${indices.shape}] make no sparse tensor of shape [${shape}]`, {
      where: name,
    })
  const count = sizeOf(shape)
  if (storageBytes(values.dtype, count) > densestBytes)
    throw unsupported(`the dense form of shape [${shape}] is too large`, { where: name })
  const compute = async () =>
    scatter(await values.read(), numbersOf({ data: await indices.read() }), rank === 1 ? [count] : shape, count, name)
  return { name, tensor: new LazyTensor(values.dtype, shape, compute) }
}

function scatter(values: Elements, indices: ArrayLike<number>, shape: readonly number[], count: number, where: string): Elements {
  const dense = new (values.constructor as Float32ArrayConstructor)(count)
  for (let i = 0; i < values.length; i++) {
    let at = 0
    for (let axis = 0; axis < shape.length; axis++) {
      const index = indices[i * shape.length + axis]
      if (!(index >= 0 && index < shape[axis]))
        throw badInput(`index ${index} of the sparse tensor is outside of its shape [${shape}]`, { where })
      at = at * shape[axis] + index
    }
    dense[at] = values[i] as number
  }
  return dense
}

function typeOf(proto: TensorProto, where: string): { dtype: DType; shape: readonly number[] } {
  const dtype = dtypeOf(proto.dataType)
  if (!dtype) throw unsupported(`the data type ${proto.dataType ?? 0} is not known`, { where })
  return { dtype, shape: shapeOf(proto.dims, where) }
}

function shapeOf(dims: readonly Integer[], where: string): readonly number[] {
  const shape = dims.map(Number)
  const size = shape.reduce((product, dim) => product * Math.max(dim, 1), 1)
  if (!(shape.every((dim) => dim >= 0) && size * 16 <= Number.MAX_SAFE_INTEGER)) throw badInput(`[${dims}] is no shape`, { where })
  return shape
}

/**
 * Where a dtype's elements are when they are not raw: in a list of wider numbers, of which each gives `width` bytes in
 * storage; or in storage form ('raw').
 */
function dataOf(proto: TensorProto, dtype: DType): { parts: readonly Blob[]; width: number | 'raw' } {
  if (proto.rawData) return { parts: [proto.rawData], width: 'raw' }
  if (dtype === 'float32' || dtype === 'complex64') return { parts: proto.floatData, width: 'raw' }
  if (dtype === 'float64' || dtype === 'complex128') return { parts: proto.doubleData, width: 'raw' }
  if (dtype === 'int64') return { parts: proto.int64Data, width: 8 }
  if (dtype === 'uint64') return { parts: proto.uint64Data, width: 8 }
  if (dtype === 'uint32') return { parts: proto.uint64Data, width: 4 }
  return { parts: proto.int32Data, width: Math.max(1, dtypes[dtype].bits / 8) }
}

function elementsOf(dtype: DType, count: number, parts: readonly Uint8Array[], width: number | 'raw', where: string): Elements {
  if (width === 'raw') return decode(dtype, parts.length === 1 ? parts[0] : concatenate(parts), count)
  const words = decodeVarints(parts, storageBytes(dtype, count) / width, where)
  return decode(dtype, narrow(words, width), count)
}

/** The lowest `width` bytes of each number. */
function narrow(words: BigUint64Array, width: number): Uint8Array {
  const wide = bytesOf(words)
  if (width === 8) return wide
  const narrowed = new Uint8Array(words.length * width)
  for (let i = 0; i < words.length; i++) for (let j = 0; j < width; j++) narrowed[i * width + j] = wide[i * 8 + j]
  return narrowed
}

function stringTensor(proto: TensorProto, shape: readonly number[], where: string): Tensor {
  const count = sizeOf(shape)
  if (proto.stringData.length !== count)
    throw badInput(`there are ${proto.stringData.length} strings and shape [${shape}] needs ${count}`, { where })
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return new ArrayTensor(
    'string',
    shape,
    proto.stringData.map((bytes) => decoder.decode(bytes)),
  )
}

function bytesOfBlob(part: Blob): Promise<Uint8Array> | Uint8Array {
  return part instanceof Uint8Array ? part : part.read()
}
