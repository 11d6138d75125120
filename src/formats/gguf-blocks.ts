import type { DType } from '../numbers/dtype.js'
import { fromCodes } from '../numbers/minifloat.js'
import type { WeightBlocks } from '../numbers/weight-blocks.js'

/** How a GGUF file holds the numbers of a tensor. */
export interface GgufFormat {
  /** ggml's name. */
  readonly name: string
  /** Numbers in a block; rows are whole blocks. */
  readonly size: number
  /** Bytes of a block. */
  readonly bytes: number
  /** What the numbers are once read: `float32` for quantized blocks. */
  readonly dtype: DType
  /** Quantized blocks: writes the `size` numbers of the block at byte `at` to `to`. */
  readonly decode?: (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void
}

/** ggml's formats by number, as far as Tinsmith reads them. Source: ggml-common.h and ggml-quants.c of ggml. */
export const ggufFormats: Readonly<Record<number, GgufFormat>> = {
  0: { name: 'F32', size: 1, bytes: 4, dtype: 'float32' },
  1: { name: 'F16', size: 1, bytes: 2, dtype: 'float16' },
  2: { name: 'Q4_0', size: 32, bytes: 18, dtype: 'float32', decode: q4_0 },
  3: { name: 'Q4_1', size: 32, bytes: 20, dtype: 'float32', decode: q4_1 },
  6: { name: 'Q5_0', size: 32, bytes: 22, dtype: 'float32', decode: q5_0 },
  7: { name: 'Q5_1', size: 32, bytes: 24, dtype: 'float32', decode: q5_1 },
  8: { name: 'Q8_0', size: 32, bytes: 34, dtype: 'float32', decode: q8_0 },
  10: { name: 'Q2_K', size: 256, bytes: 84, dtype: 'float32', decode: q2_K },
  11: { name: 'Q3_K', size: 256, bytes: 110, dtype: 'float32', decode: q3_K },
  12: { name: 'Q4_K', size: 256, bytes: 144, dtype: 'float32', decode: q4_K },
  13: { name: 'Q5_K', size: 256, bytes: 176, dtype: 'float32', decode: q5_K },
  14: { name: 'Q6_K', size: 256, bytes: 210, dtype: 'float32', decode: q6_K },
  20: { name: 'IQ4_NL', size: 32, bytes: 18, dtype: 'float32', decode: iq4_nl },
  23: { name: 'IQ4_XS', size: 256, bytes: 136, dtype: 'float32', decode: iq4_xs },
  24: { name: 'I8', size: 1, bytes: 1, dtype: 'int8' },
  25: { name: 'I16', size: 1, bytes: 2, dtype: 'int16' },
  26: { name: 'I32', size: 1, bytes: 4, dtype: 'int32' },
  27: { name: 'I64', size: 1, bytes: 8, dtype: 'int64' },
  28: { name: 'F64', size: 1, bytes: 8, dtype: 'float64' },
  30: { name: 'BF16', size: 1, bytes: 2, dtype: 'bfloat16' },
}

/** Formats that exist and that Tinsmith does not read. */
export const foreignFormats: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
  40: 'NVFP4',
}

/**
 * The numbers of quantized blocks. Every product of scales and codes fits into a double without rounding, so that the one rounding to
 * float32 gives what ggml's float32 arithmetic gives, bit for bit.
 *
 * @param bytes whole blocks
 */
export function decodeBlocks({ size, bytes: blockBytes, decode }: GgufFormat, bytes: Uint8Array): Float32Array {
  const blocks = bytes.length / blockBytes
  const out = new Float32Array(blocks * size)
  for (let block = 0; block < blocks; block++) decode!(bytes, block * blockBytes, out, block * size)
  return out
}

/** What the codes of Q4_0, Q4_1 and Q8_0 blocks are; null for formats without such a form. */
export function blockDtype({ name }: GgufFormat): 'uint4' | 'int8' | null {
  if (name === 'Q8_0') return 'int8'
  return name === 'Q4_0' || name === 'Q4_1' ? 'uint4' : null
}

/** The codes of Q4_0, Q4_1 and Q8_0 blocks as they are, scales and minimums being float16 numbers; null for formats without such a form. */
export function blockCodes(format: GgufFormat, bytes: Uint8Array): Omit<WeightBlocks, 'axis'> | null {
  const { name, size, bytes: blockBytes } = format
  if (!blockDtype(format)) return null
  const blocks = bytes.length / blockBytes
  const every = (at: number) => {
    const factors = new Float32Array(blocks)
    for (let block = 0; block < blocks; block++) factors[block] = half(bytes, block * blockBytes + at)
    return factors
  }
  const common = { blockSize: size, scales: every(0), minimums: name === 'Q4_1' ? every(2) : null }
  if (name === 'Q4_0') return { dtype: 'uint4', codes: nibbles(bytes, blockBytes, 2), zeroPoint: 8, ...common }
  if (name === 'Q4_1') return { dtype: 'uint4', codes: nibbles(bytes, blockBytes, 4), zeroPoint: 0, ...common }
  const codes = new Int8Array(blocks * size)
  for (let block = 0; block < blocks; block++) for (let i = 0; i < size; i++) codes[block * size + i] = bytes[block * blockBytes + 2 + i]
  return { dtype: 'int8', codes, zeroPoint: 0, ...common }
}

/** Blocks of 32: the low halves of 16 bytes, then the high ones. */
function nibbles(bytes: Uint8Array, blockBytes: number, first: number): Uint8Array {
  const codes = new Uint8Array((bytes.length / blockBytes) * 32)
  for (let block = 0; block < codes.length / 32; block++)
    for (let i = 0; i < 16; i++) {
      const byte = bytes[block * blockBytes + first + i]
      codes[block * 32 + i] = byte & 15
      codes[block * 32 + 16 + i] = byte >> 4
    }
  return codes
}

let halves: Float32Array | undefined

function half(bytes: Uint8Array, at: number): number {
  halves ??= fromCodes(
    'float16',
    Uint16Array.from({ length: 65536 }, (_, code) => code),
  )
  return halves[bytes[at] | (bytes[at + 1] << 8)]
}

function signed(byte: number): number {
  return (byte << 24) >> 24
}

function q4_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = half(bytes, at)
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i]
    out[to + i] = scale * ((byte & 15) - 8)
    out[to + 16 + i] = scale * ((byte >> 4) - 8)
  }
}

function q4_1(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [scale, minimum] = [half(bytes, at), half(bytes, at + 2)]
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 4 + i]
    out[to + i] = scale * (byte & 15) + minimum
    out[to + 16 + i] = scale * (byte >> 4) + minimum
  }
}

function q5_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = half(bytes, at)
  for (let i = 0; i < 32; i++) out[to + i] = scale * (fiveBits(bytes, at + 2, i) - 16)
}

function q5_1(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [scale, minimum] = [half(bytes, at), half(bytes, at + 2)]
  for (let i = 0; i < 32; i++) out[to + i] = scale * fiveBits(bytes, at + 4, i) + minimum
}

/** Code `i` of 32: its fifth bit in four bytes at `at`, the others in the sixteen that follow. */
function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  const high = (bytes[at + (i >> 3)] >> (i & 7)) & 1
  return (high << 4) | ((bytes[at + 4 + (i & 15)] >> (i & 16 ? 4 : 0)) & 15)
}

function q8_0(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = half(bytes, at)
  for (let i = 0; i < 32; i++) out[to + i] = scale * signed(bytes[at + 2 + i])
}

/** Sixteen groups of 16, each with a scale and a minimum of 4 bits. */
function q2_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [scale, minimum] = [half(bytes, at + 80), half(bytes, at + 82)]
  for (let group = 0; group < 16; group++) {
    const factors = bytes[at + group]
    const [step, offset] = [scale * (factors & 15), minimum * (factors >> 4)]
    for (let i = 0; i < 16; i++) out[to + group * 16 + i] = step * twoBits(bytes, at + 16, group, i) - offset
  }
}

/** Sixteen groups of 16, each with a scale of 6 bits; a set bit of the mask is worth 4. */
function q3_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [codes, scales] = [at + 32, at + 96]
  const scale = half(bytes, at + 108)
  for (let group = 0; group < 16; group++) {
    const low = (bytes[scales + (group & 7)] >> (group & 8 ? 4 : 0)) & 15
    const high = (bytes[scales + 8 + (group & 3)] >> (2 * (group >> 2))) & 3
    const step = scale * ((low | (high << 4)) - 32)
    for (let i = 0; i < 16; i++) {
      const above = (bytes[at + (group & 1) * 16 + i] >> (group >> 1)) & 1
      out[to + group * 16 + i] = step * (twoBits(bytes, codes, group, i) - (above ? 0 : 4))
    }
  }
}

/** Code `i` of a group of 16: 32 bytes hold four times 32 codes, two bits each. */
function twoBits(bytes: Uint8Array, at: number, group: number, i: number): number {
  return (bytes[at + (group >> 3) * 32 + (group & 1) * 16 + i] >> (2 * ((group >> 1) & 3))) & 3
}

function q4_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [scale, minimum] = [half(bytes, at), half(bytes, at + 2)]
  for (let group = 0; group < 8; group++) {
    const [step, offset] = [scale * sixBitScale(bytes, at + 4, group), minimum * sixBitMinimum(bytes, at + 4, group)]
    for (let i = 0; i < 32; i++) out[to + group * 32 + i] = step * nibble(bytes, at + 16, group, i) - offset
  }
}

function q5_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [scale, minimum] = [half(bytes, at), half(bytes, at + 2)]
  for (let group = 0; group < 8; group++) {
    const [step, offset] = [scale * sixBitScale(bytes, at + 4, group), minimum * sixBitMinimum(bytes, at + 4, group)]
    for (let i = 0; i < 32; i++) {
      const high = (bytes[at + 16 + i] >> group) & 1
      out[to + group * 32 + i] = step * (nibble(bytes, at + 48, group, i) | (high << 4)) - offset
    }
  }
}

/** Code `i` of a group of 32: low halves of 32 bytes for even groups, high ones for odd. */
function nibble(bytes: Uint8Array, at: number, group: number, i: number): number {
  return (bytes[at + (group >> 1) * 32 + i] >> (group & 1 ? 4 : 0)) & 15
}

/** Twelve bytes hold eight scales and eight minimums of 6 bits. */
function sixBitScale(bytes: Uint8Array, at: number, group: number): number {
  return group < 4 ? bytes[at + group] & 63 : (bytes[at + group + 4] & 15) | ((bytes[at + group - 4] >> 6) << 4)
}

function sixBitMinimum(bytes: Uint8Array, at: number, group: number): number {
  return group < 4 ? bytes[at + group + 4] & 63 : (bytes[at + group + 4] >> 4) | ((bytes[at + group] >> 6) << 4)
}

/** Sixteen groups of 16 with scales of 8 bits; codes of 6 bits, 4 in one place and 2 in another. */
function q6_K(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const [high, scales] = [at + 128, at + 192]
  const scale = half(bytes, at + 208)
  for (let i = 0; i < 256; i++) {
    const [part, quarter, place] = [i >> 7, (i >> 5) & 3, i & 31]
    const low = (bytes[at + part * 64 + (quarter & 1) * 32 + place] >> (quarter & 2 ? 4 : 0)) & 15
    const top = (bytes[high + part * 32 + place] >> (2 * quarter)) & 3
    out[to + i] = scale * signed(bytes[scales + (i >> 4)]) * ((low | (top << 4)) - 32)
  }
}

/** The sixteen levels of the non-linear 4-bit formats. */
const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

function iq4_nl(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = half(bytes, at)
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i]
    out[to + i] = scale * levels[byte & 15]
    out[to + 16 + i] = scale * levels[byte >> 4]
  }
}

/** Eight groups of 32, each with a scale of 6 bits. */
function iq4_xs(bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  const scale = half(bytes, at)
  const high = bytes[at + 2] | (bytes[at + 3] << 8)
  for (let group = 0; group < 8; group++) {
    const low = (bytes[at + 4 + (group >> 1)] >> (group & 1 ? 4 : 0)) & 15
    const step = scale * ((low | (((high >> (2 * group)) & 3) << 4)) - 32)
    for (let i = 0; i < 16; i++) {
      const byte = bytes[at + 8 + group * 16 + i]
      out[to + group * 32 + i] = step * levels[byte & 15]
      out[to + group * 32 + 16 + i] = step * levels[byte >> 4]
    }
  }
}
