import type { DType } from './dtype.js'

/** Floating-point types of 16 bits and less, whose elements live in a Float32Array. */
export type Minifloat = Extract<DType, 'float16' | 'bfloat16' | 'float4e2m1' | `float8${string}`>

export interface MinifloatOptions {
  /**
   * For float8 types, what becomes of numbers beyond the largest finite one and of infinities: true (default) gives the
   * largest finite number of the same sign, false the type's infinity, or NaN where it has none. float4e2m1 always
   * saturates, float16 and bfloat16 always overflow to infinity.
   */
  saturate?: boolean
  /** For float8e8m0 only: to the next power of two upwards (default), downwards, or to the nearest one, ties upwards. */
  roundMode?: 'up' | 'down' | 'nearest'
}

/**
 * Layout of a sign-exponent-mantissa code. `special` says which codes are no finite number:
 * ieee: infinity and NaN at the top exponent; fn: NaN only where all bits are set; fnuz: NaN in place of -0; none.
 */
interface Layout {
  readonly exponentBits: number
  readonly mantissaBits: number
  readonly bias: number
  /** Code of the largest finite number. */
  readonly max: number
  readonly special: 'ieee' | 'fn' | 'fnuz' | 'none'
}

const layouts: Record<Exclude<Minifloat, 'float8e8m0'>, Layout> = {
  float16: { exponentBits: 5, mantissaBits: 10, bias: 15, max: 0x7bff, special: 'ieee' },
  bfloat16: { exponentBits: 8, mantissaBits: 7, bias: 127, max: 0x7f7f, special: 'ieee' },
  float8e4m3fn: { exponentBits: 4, mantissaBits: 3, bias: 7, max: 0x7e, special: 'fn' },
  float8e4m3fnuz: { exponentBits: 4, mantissaBits: 3, bias: 8, max: 0x7f, special: 'fnuz' },
  float8e5m2: { exponentBits: 5, mantissaBits: 2, bias: 15, max: 0x7b, special: 'ieee' },
  float8e5m2fnuz: { exponentBits: 5, mantissaBits: 2, bias: 16, max: 0x7f, special: 'fnuz' },
  float4e2m1: { exponentBits: 2, mantissaBits: 1, bias: 1, max: 0x7, special: 'none' },
}

const infinityBits = 0x7f800000
const nanBits = 0x7fc00000

/** Whether a type is one of the small floating-point types that this file converts. */
export function isMinifloat(dtype: DType): dtype is Minifloat {
  return dtype in layouts || dtype === 'float8e8m0'
}

/** float32 bits of every code of a type, made when first needed (256 KiB for float16). */
const tables = new Map<Minifloat, Uint32Array>()

function tableOf(dtype: Minifloat): Uint32Array {
  let table = tables.get(dtype)
  if (!table) {
    table = dtype === 'float8e8m0' ? e8m0Table() : layoutTable(layouts[dtype])
    tables.set(dtype, table)
  }
  return table
}

function layoutTable({ exponentBits, mantissaBits, bias, special }: Layout): Uint32Array {
  const half = 1 << (exponentBits + mantissaBits)
  const top = (1 << exponentBits) - 1
  const values = new Float32Array(2 * half)
  const bits = new Uint32Array(values.buffer)
  for (let code = 0; code < half; code++) {
    const exponent = code >>> mantissaBits
    const mantissa = code & ((1 << mantissaBits) - 1)
    const fraction = mantissa / 2 ** mantissaBits
    if (special === 'ieee' && exponent === top) bits[code] = infinityBits | (mantissa << (23 - mantissaBits))
    else if (special === 'fn' && code === half - 1) bits[code] = nanBits
    else values[code] = exponent ? 2 ** (exponent - bias) * (1 + fraction) : 2 ** (1 - bias) * fraction
    bits[half + code] = bits[code] | 0x80000000
  }
  if (special === 'fnuz') bits[half] = nanBits
  return bits
}

function e8m0Table(): Uint32Array {
  const values = Float32Array.from({ length: 256 }, (_, code) => (code === 255 ? Number.NaN : 2 ** (code - 127)))
  return new Uint32Array(values.buffer)
}

/**
 * Numbers of the codes of a small floating-point type; exact.
 *
 * Source: IEEE 754 (float16), ONNX "Float stored in 8 bits" and "Float stored in 4 bits", OCP Microscaling formats 1.0.
 *
 * @param dtype the type of the codes
 * @param codes one unsigned integer per element, so float4e2m1 unpacked
 * @returns float32 numbers, as many as there are codes
 * @example
 * fromCodes('float8e4m3fn', Uint8Array.of(0x38, 0x7e)) // Float32Array [1, 448]
 */
export function fromCodes(dtype: Minifloat, codes: Uint8Array | Uint16Array): Float32Array {
  const values = new Float32Array(codes.length)
  const bits = new Uint32Array(values.buffer)
  if (dtype === 'bfloat16') {
    for (let i = 0; i < codes.length; i++) bits[i] = codes[i] << 16
    return values
  }
  const table = tableOf(dtype)
  for (let i = 0; i < codes.length; i++) bits[i] = table[codes[i]]
  return values
}

/**
 * Codes of the numbers nearest to float32 numbers in a small floating-point type, ties to even, as ONNX's Cast defines
 * them. NaN keeps its sign and upper payload bits where the type has room, and becomes -0 in float4e2m1 (as ONNX's
 * own Cast cases have it).
 *
 * @param dtype the type of the codes
 * @param values float32 numbers
 * @returns one code per element: Uint16Array for the 16-bit types, else Uint8Array (float4e2m1 unpacked)
 * @example
 * toCodes('float16', Float32Array.of(1, 65520)) // Uint16Array [0x3c00, 0x7c00]
 */
export function toCodes(dtype: Minifloat, values: Float32Array, options: MinifloatOptions = {}): Uint8Array | Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  if (dtype === 'bfloat16') return bfloat16Codes(bits)
  if (dtype === 'float8e8m0') return e8m0Codes(bits, options)
  const codes = dtype === 'float16' ? new Uint16Array(bits.length) : new Uint8Array(bits.length)
  layoutCodes(layouts[dtype], bits, codes, options.saturate ?? true)
  return codes
}

/**
 * Numbers rounded to the nearest ones that a small floating-point type holds: what storing and reading them back gives.
 *
 * @example
 * roundToMinifloat('float8e5m2', Float32Array.of(1.1)) // Float32Array [1]
 */
export function roundToMinifloat(dtype: Minifloat, values: Float32Array, options: MinifloatOptions = {}): Float32Array {
  return fromCodes(dtype, toCodes(dtype, values, options))
}

function bfloat16Codes(bits: Uint32Array): Uint16Array {
  const codes = new Uint16Array(bits.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]
    if ((b & 0x7fffffff) > infinityBits) codes[i] = b & 0x7f0000 ? b >>> 16 : (b >>> 16) | 0x40
    else codes[i] = (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
  }
  return codes
}

function layoutCodes(layout: Layout, bits: Uint32Array, codes: Uint8Array | Uint16Array, saturate: boolean): void {
  const { exponentBits, mantissaBits, bias, max, special } = layout
  const shift = 23 - mantissaBits
  const signShift = 31 - exponentBits - mantissaBits
  const signBit = 1 << (exponentBits + mantissaBits)
  const firstNormal = 128 - bias
  const rebias = (127 - bias) << mantissaBits
  const roundUp = (1 << (shift - 1)) - 1
  const unsignedZero = special === 'fnuz'
  const saturates = special === 'none' || (saturate && exponentBits + mantissaBits < 8)
  const overflow = saturates ? max : special === 'fnuz' ? signBit : max + 1
  const mantissaMask = (1 << mantissaBits) - 1

  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]
    const magnitude = b & 0x7fffffff
    let code: number
    if (magnitude > infinityBits) {
      if (special === 'ieee') code = (max + 1) | ((magnitude >>> shift) & mantissaMask || (mantissaMask + 1) >>> 1)
      else if (special === 'fn') code = max + 1
      else {
        codes[i] = signBit
        continue
      }
    } else {
      const exponent = magnitude >>> 23
      if (exponent >= firstNormal) code = ((magnitude + roundUp + ((magnitude >>> shift) & 1)) >>> shift) - rebias
      else {
        const drop = shift + firstNormal - exponent
        if (drop > 24) code = 0
        else {
          const mantissa = (magnitude & 0x7fffff) | 0x800000
          code = mantissa >>> drop
          code = (mantissa + (1 << (drop - 1)) - 1 + (code & 1)) >>> drop
        }
      }
      if (code > max) code = overflow
    }
    codes[i] = unsignedZero && (code === 0 || code === signBit) ? code : code | ((b >>> signShift) & signBit)
  }
}

function e8m0Codes(bits: Uint32Array, { saturate = true, roundMode = 'up' }: MinifloatOptions): Uint8Array {
  const codes = new Uint8Array(bits.length)
  // Added before the mantissa is cut: what carries into the exponent is rounded up.
  const carry = roundMode === 'up' ? 0x7fffff : roundMode === 'nearest' ? 0x400000 : 0
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]
    const magnitude = b & 0x7fffffff
    let code: number
    if (magnitude > infinityBits || (b !== magnitude && magnitude !== 0)) code = 255
    else if (magnitude === infinityBits) code = saturate ? 254 : 255
    else if (magnitude < 0x800000) {
      // Below 2^-126 float32 is subnormal: 2^-127, the least number of this type, has mantissa 0x400000.
      if (magnitude < 0x400000) code = saturate ? 0 : 255
      else code = roundMode === 'down' ? 0 : magnitude > 0x400000 && (roundMode === 'up' || magnitude >= 0x600000) ? 1 : 0
    } else {
      code = (magnitude + carry) >>> 23
      if (code > 254) code = saturate ? 254 : 255
    }
    codes[i] = code
  }
  return codes
}
