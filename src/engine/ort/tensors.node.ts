import koffi from 'koffi'
import { usage } from '../../base/errors.js'
import { allocate, type DType, type Elements, type NDArray, sizeOf, storageBytes } from '../../numbers/dtype.js'
import { decode, encode } from '../../numbers/storage.js'
import type { Output } from '../session.js'
import { check, ort, type Pointer, receive } from './c-api.node.js'
import { elementType, elementTypeCode } from './element-types.js'

/** An OrtValue with the number of those who need it. */
export class Value {
  private owners = 1

  /** @param memory JavaScript memory that the value lies over; kept alive with it */
  constructor(
    readonly pointer: Pointer,
    readonly memory?: Uint8Array,
  ) {}

  /** One owner more. */
  retain(): this {
    this.owners++
    return this
  }

  /** One owner less; the last one's release frees the value. */
  release(): void {
    if (--this.owners === 0) ort().api.ReleaseValue(this.pointer)
  }
}

const forgotten = new FinalizationRegistry<Value>((value) => value.release())

/** Memory of outputs beyond which V8 is told, so that its garbage collector hurries. */
const worthTelling = 4096

/** An output of ONNX Runtime in its own memory; the first use of `data` copies it out and frees that memory. */
export class OrtOutput implements Output {
  readonly dtype: DType
  readonly shape: readonly number[]
  private value: Value | undefined
  /** Never leaves this object. It counts as memory of V8's too. */
  private memory: ArrayBuffer | undefined
  private elements: Elements | undefined

  constructor(value: Value, dtype: DType, shape: readonly number[]) {
    this.dtype = dtype
    this.shape = shape
    this.value = value
    forgotten.register(this, value, this)
    if (dtype !== 'string' && storageBytes(dtype, sizeOf(shape)) >= worthTelling) this.memory = this.open(value)
  }

  /** The elements in JavaScript's memory. Throws `usage` where `dispose` came before. */
  get data(): Elements {
    if (this.elements) return this.elements
    if (!this.value) throw usage('This output was disposed before its data was read')
    this.elements = this.read(this.value)
    this.dispose()
    return this.elements
  }

  dispose(): void {
    if (!this.value) return
    forgotten.unregister(this)
    this.value.release()
    this.value = undefined
    this.memory = undefined
  }

  /** The value as long as it is in the engine's memory. */
  get native(): Value | undefined {
    return this.value
  }

  private read(value: Value): Elements {
    const count = sizeOf(this.shape)
    if (!count) return allocate(this.dtype, 0)
    if (this.dtype === 'string') return readStrings(value.pointer, count)
    const bytes = new Uint8Array(this.memory ?? this.open(value))
    // Minifloats are converted into memory of their own; all else is a view of what it is given.
    const copied = decode(this.dtype, bytes, count)
    return Array.isArray(copied) || copied.buffer !== bytes.buffer ? copied : decode(this.dtype, bytes.slice(), count)
  }

  private open(value: Value): ArrayBuffer {
    const pointer = receive((out) => ort().api.GetTensorMutableData(value.pointer, out))
    return koffi.view(pointer, storageBytes(this.dtype, sizeOf(this.shape)))
  }
}

/** The value of an array that is still in ONNX Runtime's memory. */
export function nativeValue(array: NDArray): Value | undefined {
  return array instanceof OrtOutput ? array.native : undefined
}

/** Memory for what has no elements: ONNX Runtime wants an address. */
const nothing = new Uint8Array(16)

/**
 * An OrtValue of an array: its own where it is still in ONNX Runtime's memory, else over the array's memory. Only
 * strings and what has fewer than 8 bits or is a float of 16 or fewer bits are copied. The caller releases it.
 */
export function toValue(array: NDArray): Value {
  const native = nativeValue(array)
  if (native) return native.retain()
  const { dtype, shape } = array
  if (dtype === 'string') {
    const { api, allocator } = ort()
    const dims = BigInt64Array.from(shape, BigInt)
    const type = elementTypeCode(dtype)
    const value = new Value(receive((out) => api.CreateTensorAsOrtValue(allocator, dims, dims.length, type, out)))
    try {
      check(api.FillStringTensor(value.pointer, array.data as string[], array.data.length))
    } catch (error) {
      value.release()
      throw error
    }
    return value
  }
  return valueOver(dtype, shape, encode(dtype, array.data))
}

/** An OrtValue over elements in storage form. The caller releases it. */
export function valueOver(dtype: DType, shape: readonly number[], bytes: Uint8Array): Value {
  const { api, memory } = ort()
  const dims = BigInt64Array.from(shape, BigInt)
  const address = koffi.address(bytes.length ? bytes : nothing)
  const create = (out: BigUint64Array) => {
    return api.CreateTensorWithDataAsOrtValue(memory, address, bytes.length, dims, dims.length, elementTypeCode(dtype), out)
  }
  return new Value(receive(create), bytes)
}

/** True where an OrtValue over the array's memory holds its elements themselves, not a converted copy. */
export function isShared(value: Value, array: NDArray): boolean {
  return !Array.isArray(array.data) && value.memory?.buffer === array.data.buffer
}

/** Copies elements out of a value into an array of the same type and shape. */
export function copyOut(value: Value, array: NDArray): void {
  const count = sizeOf(array.shape)
  if (array.dtype === 'string') {
    const strings = readStrings(value.pointer, count)
    for (let i = 0; i < count; i++) (array.data as string[])[i] = strings[i]
  } else if (value.memory) {
    ;(array.data as Float32Array).set(decode(array.dtype, value.memory, count) as Float32Array)
  }
}

/** An output from a value that a run made; takes over its ownership. */
export function outputOf(value: Value): OrtOutput {
  const result = new BigUint64Array(3)
  const address = koffi.address(result)
  try {
    check(ort().api.GetTensorElementTypeAndShapeDataReference(value.pointer, address, address + 8n, address + 16n))
    const dtype = elementType(Number(BigInt.asUintN(32, result[0])))
    if (!dtype) throw usage(`ONNX Runtime gave an element type that is not known here: ${result[0]}`)
    const rank = Number(result[2])
    const shape = rank ? Array.from(new BigInt64Array(koffi.view(result[1], 8 * rank)), Number) : []
    return new OrtOutput(value, dtype, shape)
  } catch (error) {
    value.release()
    throw error
  }
}

function readStrings(value: Pointer, count: number): string[] {
  const { api } = ort()
  const length = Number(receive((out) => api.GetStringTensorDataLength(value, out)))
  const bytes = new Uint8Array(Math.max(1, length))
  const offsets = new BigUint64Array(count)
  check(api.GetStringTensorContent(value, bytes, length, offsets, count))
  const decoder = new TextDecoder()
  return Array.from(offsets, (offset, i) => {
    return decoder.decode(bytes.subarray(Number(offset), i + 1 < count ? Number(offsets[i + 1]) : length))
  })
}
