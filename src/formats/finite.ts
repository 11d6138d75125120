import { badInput } from '../base/errors.js'
import type { Tensor } from '../ir/tensor.js'
import { type DType, isFloat } from '../numbers/dtype.js'

type Codes = Uint8Array | Uint16Array | Uint32Array | Float32Array

/** A code is not finite where `code & mask >= least`: by width in bytes, mask without the sign bit, first code that is no number. */
const notFinite: Partial<Record<DType, { mask: number; least: number }>> = {
  float64: { mask: 0x7fffffff, least: 0x7ff00000 },
  float32: { mask: 0x7fffffff, least: 0x7f800000 },
  float16: { mask: 0x7fff, least: 0x7c00 },
  bfloat16: { mask: 0x7fff, least: 0x7f80 },
  float8e4m3fn: { mask: 0x7f, least: 0x7f },
  float8e5m2: { mask: 0x7f, least: 0x7c },
  float8e4m3fnuz: { mask: 0xff, least: 0x80 },
  float8e5m2fnuz: { mask: 0xff, least: 0x80 },
  float8e8m0: { mask: 0xff, least: 0xff },
}

/**
 * Refuses a tensor that holds NaN or an infinity.
 *
 * @param name of the tensor in its file, for the message
 * @throws TinsmithError `bad-input` naming the tensor and the index of the first such element
 * @example
 * await assertFinite('lm_head.weight', tensor)
 */
export async function assertFinite(name: string, tensor: Tensor): Promise<void> {
  if (!isFloat(tensor.dtype) || tensor.dtype === 'float4e2m1') return
  const { elements } = tensor
  const [dtype, bytes] = elements instanceof Float32Array ? (['float32', bytesOf(elements)] as const) : [tensor.dtype, await tensor.bytes()]
  if (dtype === 'float32' && allFinite(words(Float32Array, bytes))) return
  const at = firstIn(dtype, bytes)
  if (at < 0) return
  const value = ((await tensor.read()) as Float32Array | Float64Array)[at]
  throw badInput(`tensor ${name} holds ${Number.isNaN(value) ? 'NaN' : value} at [${indexOf(at, tensor.shape).join(', ')}]`, {
    hint: 'The checkpoint is damaged, or its training diverged.',
  })
}

function bytesOf(elements: Float32Array): Uint8Array {
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength)
}

/** Index of the first element that is not finite, else -1. */
function firstIn(dtype: DType, bytes: Uint8Array): number {
  const { mask, least } = notFinite[dtype]!
  if (dtype === 'float64') return firstOdd(words(Uint32Array, bytes), mask, least)
  if (dtype === 'float32') return first(words(Uint32Array, bytes), mask, least)
  if (dtype === 'float16' || dtype === 'bfloat16') return first(words(Uint16Array, bytes), mask, least)
  if (dtype.endsWith('fnuz')) return bytes.indexOf(least)
  return first(bytes, mask, least)
}

function words<T extends Codes>(
  array: { BYTES_PER_ELEMENT: number; new (buffer: ArrayBufferLike, offset: number, length: number): T },
  bytes: Uint8Array,
): T {
  const width = array.BYTES_PER_ELEMENT
  const aligned = bytes.byteOffset % width ? bytes.slice() : bytes
  return new array(aligned.buffer, aligned.byteOffset, aligned.length / width)
}

/** Zero times a number that is not finite is NaN, in all sums from there on. Four of them, for each addition waits for the one before. */
function allFinite(numbers: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = numbers.length - (numbers.length % 4)
  for (let i = 0; i < whole; i += 4) {
    a += numbers[i] * 0
    b += numbers[i + 1] * 0
    c += numbers[i + 2] * 0
    d += numbers[i + 3] * 0
  }
  for (let i = whole; i < numbers.length; i++) a += numbers[i] * 0
  return a + b + c + d === 0
}

function first(codes: Codes, mask: number, least: number): number {
  for (let i = 0; i < codes.length; i++) if ((codes[i] & mask) >= least) return i
  return -1
}

/** Over the high words of 64-bit numbers. */
function firstOdd(codes: Codes, mask: number, least: number): number {
  for (let i = 1; i < codes.length; i += 2) if ((codes[i] & mask) >= least) return i >> 1
  return -1
}

function indexOf(at: number, shape: readonly number[]): number[] {
  const index: number[] = []
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(at % shape[axis])
    at = Math.floor(at / shape[axis])
  }
  return index
}
