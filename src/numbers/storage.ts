import { badInput, unsupported } from '../base/errors.js'
import { type DType, dtypes, type Elements, storageBytes } from './dtype.js'
import { fromCodes, isMinifloat, type MinifloatOptions, toCodes } from './minifloat.js'

type PlainElements = Exclude<Elements, string[]>
interface PlainArray {
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBufferLike, offset: number, length: number): PlainElements
}

/**
 * Elements from their bytes in storage (ONNX raw_data, safetensors, GGUF plain types): little-endian, sub-byte types
 * packed with the first element in the lowest bits.
 *
 * The result is a view of `bytes` wherever type and alignment permit, so treat it as read-only; floats of 16 bits and
 * less, sub-byte integers and misaligned bytes are copied.
 *
 * Source: ONNX onnx.proto (TensorProto.raw_data).
 *
 * @param dtype element type; strings throw `unsupported`, for their bytes are not laid out as raw data
 * @param bytes exactly storageBytes(dtype, count) bytes, else `bad-input`
 * @param count number of elements; complex types give 2 * count entries
 * @example
 * decode('int4', Uint8Array.of(0xf1), 2) // Int8Array [1, -1]
 */
export function decode(dtype: DType, bytes: Uint8Array, count: number): Elements {
  refuseString(dtype)
  const expected = storageBytes(dtype, count)
  if (bytes.length !== expected) throw badInput(`${count} elements of ${dtype} take ${expected} bytes, not ${bytes.length}`)
  const { bits, kind } = dtypes[dtype]
  if (isMinifloat(dtype)) {
    if (bits === 16) return fromCodes(dtype, view(Uint16Array, bytes, count) as Uint16Array)
    return fromCodes(dtype, bits === 8 ? bytes : unpackBits(bytes, count, bits))
  }
  if (bits < 8) return kind === 'int' ? unpackSignedBits(bytes, count, bits) : unpackBits(bytes, count, bits)
  if (kind === 'bool') return booleans(bytes)
  return view(dtypes[dtype].array as unknown as PlainArray, bytes, kind === 'complex' ? 2 * count : count)
}

/**
 * The bytes of elements in storage; inverse of `decode`.
 *
 * Plain types give a view of the elements' memory, not a copy. Floats of 16 bits and less are rounded half to even,
 * as ONNX's Cast does it; `options` tells float8 types what to do beyond their range.
 *
 * @param dtype element type; strings throw `unsupported`
 * @param elements of the class that `dtypes` names for the type, within the range of sub-byte types; else `bad-input`
 * @returns storageBytes(dtype, count) bytes; unused bits of the last byte are 0
 * @example
 * encode('float16', Float32Array.of(1)) // Uint8Array [0x00, 0x3c]
 */
export function encode(dtype: DType, elements: Elements, options: MinifloatOptions = {}): Uint8Array {
  refuseString(dtype)
  const { bits, kind, array } = dtypes[dtype]
  if (!(elements instanceof array) || Array.isArray(elements))
    throw badInput(`elements of ${dtype} live in a ${array.name}, not in a ${elements.constructor.name}`)
  if (isMinifloat(dtype)) {
    const codes = toCodes(dtype, elements as Float32Array, options)
    return bits < 8 ? packBits(codes as Uint8Array, bits) : bytesOf(codes)
  }
  if (bits < 8) {
    checkSubByte(dtype, elements as Int8Array | Uint8Array, bits, kind === 'int')
    return packBits(elements as Int8Array | Uint8Array, bits)
  }
  return bytesOf(elements)
}

/**
 * Codes of 2 or 4 bits (or whole bytes) put together, the first in the lowest bits of a byte; signed codes as two's
 * complement. Higher bits of a code are dropped.
 *
 * @example
 * packBits(Uint8Array.of(1, 2, 3), 4) // Uint8Array [0x21, 0x03]
 */
export function packBits(codes: Uint8Array | Int8Array, bits: number): Uint8Array {
  const { length } = codes
  const packed = new Uint8Array(Math.ceil((length * bits) / 8))
  if (bits === 8) packed.set(codes)
  else if (bits === 4) {
    const whole = length >> 1
    for (let i = 0, j = 0; i < whole; i++, j += 2) packed[i] = (codes[j] & 15) | (codes[j + 1] << 4)
    if (length & 1) packed[whole] = codes[length - 1] & 15
  } else if (bits === 2) {
    const whole = length >> 2
    for (let i = 0, j = 0; i < whole; i++, j += 4)
      packed[i] = (codes[j] & 3) | ((codes[j + 1] & 3) << 2) | ((codes[j + 2] & 3) << 4) | (codes[j + 3] << 6)
    for (let j = whole * 4; j < length; j++) packed[whole] |= (codes[j] & 3) << (2 * (j & 3))
  } else throw unsupported(`codes of ${bits} bits have no packed form`, { hint: 'Use 2, 4 or 8 bits.' })
  return packed
}

/** The two codes of 4 bits in a byte, as two bytes in memory. */
const nibblePairs = new Uint16Array(Uint8Array.from({ length: 512 }, (_, i) => ((i >> 1) >>> (4 * (i & 1))) & 15).buffer)

/**
 * Unsigned codes out of packed bytes; inverse of `packBits`.
 *
 * @param count number of codes
 * @example
 * unpackBits(Uint8Array.of(0x21, 0x03), 3, 4) // Uint8Array [1, 2, 3]
 */
export function unpackBits(packed: Uint8Array, count: number, bits: number): Uint8Array {
  const codes = new Uint8Array(count)
  if (bits === 8) codes.set(packed.subarray(0, count))
  else if (bits === 4) {
    const pairs = new Uint16Array(codes.buffer, 0, count >> 1)
    for (let i = 0; i < pairs.length; i++) pairs[i] = nibblePairs[packed[i]]
    if (count & 1) codes[count - 1] = packed[count >> 1] & 15
  } else if (bits === 2) for (let i = 0; i < count; i++) codes[i] = (packed[i >> 2] >>> ((i & 3) << 1)) & 3
  else throw unsupported(`codes of ${bits} bits have no packed form`, { hint: 'Use 2, 4 or 8 bits.' })
  return codes
}

/**
 * Signed codes (two's complement) out of packed bytes; inverse of `packBits` for Int8Array.
 *
 * @example
 * unpackSignedBits(Uint8Array.of(0b11_10_01_00), 4, 2) // Int8Array [0, 1, -2, -1]
 */
export function unpackSignedBits(packed: Uint8Array, count: number, bits: number): Int8Array {
  const codes = new Int8Array(unpackBits(packed, count, bits).buffer)
  const shift = 32 - bits
  for (let i = 0; i < count; i++) codes[i] = (codes[i] << shift) >> shift
  return codes
}

/** The memory of a typed array as bytes (no copy). */
export function bytesOf(elements: Exclude<Elements, string[]>): Uint8Array {
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength)
}

function view(array: PlainArray, bytes: Uint8Array, length: number): PlainElements {
  if (bytes.byteOffset % array.BYTES_PER_ELEMENT === 0) return new array(bytes.buffer, bytes.byteOffset, length)
  return new array(new Uint8Array(bytes).buffer, 0, length)
}

function booleans(bytes: Uint8Array): Uint8Array {
  let union = 0
  for (let i = 0; i < bytes.length; i++) union |= bytes[i]
  return union > 1 ? Uint8Array.from(bytes, (byte) => (byte ? 1 : 0)) : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}

function refuseString(dtype: DType): void {
  if (dtype === 'string')
    throw unsupported('strings have no raw bytes: ONNX keeps them in string_data', { hint: 'Read or write TensorProto.string_data.' })
}

function checkSubByte(dtype: DType, elements: Int8Array | Uint8Array, bits: number, signed: boolean): void {
  const shift = 32 - bits
  let lost = 0
  if (signed) for (let i = 0; i < elements.length; i++) lost |= elements[i] ^ ((elements[i] << shift) >> shift)
  else for (let i = 0; i < elements.length; i++) lost |= elements[i] >>> bits
  if (lost) {
    const at = elements.findIndex((x) => x !== (signed ? (x << shift) >> shift : (x << shift) >>> shift))
    throw badInput(`element ${at} is ${elements[at]}, which ${dtype} cannot hold`)
  }
}
