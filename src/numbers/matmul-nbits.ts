import { badInput, unsupported } from '../base/errors.js'
import { packBits, unpackBits } from './storage.js'

/** Bits of a code that MatMulNBits and GatherBlockQuantized take. */
export type BlockBits = 2 | 4 | 8

/** Unsigned codes of a weight with scales for blocks along its columns, in memory one entry per code. */
export interface BlockCodes {
  /** Output channels of a linear, or entries of a vocabulary. */
  readonly rows: number
  /** Inputs of a linear, or width of an embedding: the dimension that blocks divide. */
  readonly columns: number
  readonly bits: BlockBits
  /** Elements of a block; the last block of a row may be shorter. */
  readonly blockSize: number
  /** [rows, columns], each below 2 ** bits. */
  readonly codes: Uint8Array
  /**
   * [rows, blocks]: codes in a Uint8Array (stored packed) or real numbers in a Float32Array (stored as they are). Absent:
   * 2 ** (bits - 1).
   */
  readonly zeroPoint?: Uint8Array | Float32Array
}

/** The data that a MatMulNBits node takes, besides its scales [rows, blocks], which stay as they are. */
export interface MatMulNBitsData {
  /** Input B: uint8 [rows, blocks, bytes of a block]. */
  readonly data: Uint8Array
  readonly shape: readonly [number, number, number]
  /** Input zero_points: packed uint8 [rows, ceil(blocks * bits / 8)], real [rows, blocks], or absent. */
  readonly zeroPoint?: Uint8Array | Float32Array
}

/**
 * Codes in the layout of com.microsoft.MatMulNBits: value i of a block sits in byte i / (8 / bits), the first in the lowest
 * bits; a short last block is filled up with its zero point, so that the filling means 0. Weight = (code - zeroPoint) * scale.
 *
 * The same data feeds GatherBlockQuantized with quantize_axis 2 and scales [rows, blocks, 1] (tied embeddings).
 *
 * Source: ONNX Runtime 1.30, contrib_ops/cpu/quantization/matmul_nbits.cc.
 *
 * @param weight codes; wrong sizes and codes out of range throw `bad-input`, block sizes other than a power of two from 16 on
 *   `unsupported`
 * @example
 * packMatMulNBits({ rows: 1, columns: 16, bits: 4, blockSize: 16, codes: new Uint8Array(16).fill(3) }).data // 8 times 0x33
 */
export function packMatMulNBits(weight: BlockCodes): MatMulNBitsData {
  const { rows, columns, bits, blockSize, codes, zeroPoint } = weight
  const blocks = checkBlocks(weight)
  if (blockSize < 16 || blockSize & (blockSize - 1))
    throw unsupported(`MatMulNBits has no blocks of ${blockSize}`, { hint: 'Use 16, 32, 64, 128 or 256.' })
  const width = blocks * blockSize
  const filled = width === columns ? codes : fillRows(weight, width)
  const blockBytes = (blockSize * bits) / 8
  return {
    data: packBits(filled, bits),
    shape: [rows, blocks, blockBytes],
    zeroPoint: zeroPoint instanceof Uint8Array ? packRows(zeroPoint, rows, blocks, bits) : zeroPoint,
  }
}

/**
 * Codes out of the layout of com.microsoft.MatMulNBits; inverse of `packMatMulNBits`.
 *
 * @param layout rows (N), columns (K), bits and blockSize (block_size) of the node
 * @param data input B
 * @param zeroPoint input zero_points: packed bytes or real numbers (decoded to float32), or absent
 * @example
 * unpackMatMulNBits({ rows: 1, columns: 16, bits: 4, blockSize: 16 }, new Uint8Array(8).fill(0x33)).codes // 16 times 3
 */
export function unpackMatMulNBits(
  layout: Pick<BlockCodes, 'rows' | 'columns' | 'bits' | 'blockSize'>,
  data: Uint8Array,
  zeroPoint?: Uint8Array | Float32Array,
): BlockCodes {
  const { rows, columns, bits, blockSize } = layout
  const blocks = Math.ceil(columns / blockSize)
  const width = blocks * blockSize
  if (data.length * 8 !== rows * width * bits)
    throw badInput(`${data.length} bytes are no [${rows}, ${blocks}, ${(blockSize * bits) / 8}] of MatMulNBits`)
  const filled = unpackBits(data, rows * width, bits)
  return {
    ...layout,
    codes: width === columns ? filled : cutRows(filled, rows, width, columns),
    zeroPoint: zeroPoint instanceof Uint8Array ? unpackZeroPoints(layout, zeroPoint) : zeroPoint,
  }
}

/** Zero points [rows, blocks] out of the layout of com.microsoft.MatMulNBits, one entry each. */
export function unpackZeroPoints(
  { rows, columns, bits, blockSize }: Pick<BlockCodes, 'rows' | 'columns' | 'bits' | 'blockSize'>,
  packed: Uint8Array,
): Uint8Array {
  return unpackRows(packed, rows, Math.ceil(columns / blockSize), bits)
}

/**
 * Codes in the layout of com.microsoft.GatherBlockQuantized with uint8 data and the last axis quantized: every row packed by
 * itself, the first code in the lowest bits. Scales [rows, blocks] stay as they are.
 *
 * Source: ONNX Runtime 1.30, contrib_ops/cpu/quantization/gather_block_quantized.cc.
 *
 * @returns data uint8 [rows, ceil(columns * bits / 8)], zero points packed likewise [rows, ceil(blocks * bits / 8)]
 * @example
 * packGatherBlockQuantized({ rows: 2, columns: 16, bits: 4, blockSize: 16, codes: new Uint8Array(32) }).shape // [2, 8]
 */
export function packGatherBlockQuantized(weight: BlockCodes): {
  data: Uint8Array
  shape: readonly [number, number]
  zeroPoint?: Uint8Array
} {
  const { rows, columns, bits, codes, zeroPoint } = weight
  const blocks = checkBlocks(weight)
  if (zeroPoint instanceof Float32Array) throw unsupported('GatherBlockQuantized takes no real zero points', { hint: 'Use integer ones.' })
  if ((columns * bits) % 8) throw unsupported(`rows of ${columns} codes of ${bits} bits do not fill whole bytes`)
  return {
    data: packRows(codes, rows, columns, bits),
    shape: [rows, (columns * bits) / 8],
    zeroPoint: zeroPoint && packRows(zeroPoint, rows, blocks, bits),
  }
}

/** Codes out of the layout of com.microsoft.GatherBlockQuantized; inverse of `packGatherBlockQuantized`. */
export function unpackGatherBlockQuantized(
  layout: Pick<BlockCodes, 'rows' | 'columns' | 'bits' | 'blockSize'>,
  data: Uint8Array,
  zeroPoint?: Uint8Array,
): BlockCodes {
  const { rows, columns, bits, blockSize } = layout
  const codes = unpackRows(data, rows, columns, bits)
  return { ...layout, codes, zeroPoint: zeroPoint && unpackRows(zeroPoint, rows, Math.ceil(columns / blockSize), bits) }
}

/**
 * The numbers of block codes: (code - zeroPoint) * scale in float32.
 *
 * @param scale [rows, blocks]
 * @returns [rows, columns]
 * @example
 * dequantizeBlocks({ rows: 1, columns: 2, bits: 4, blockSize: 16, codes: Uint8Array.of(8, 9) }, Float32Array.of(0.5)) // [0, 0.5]
 */
export function dequantizeBlocks(weight: BlockCodes, scale: Float32Array): Float32Array {
  const { rows, columns, bits, blockSize, codes, zeroPoint } = weight
  const blocks = checkBlocks(weight)
  if (scale.length !== rows * blocks) throw badInput(`${rows * blocks} blocks need as many scales, not ${scale.length}`)
  const values = new Float32Array(codes.length)
  const middle = 2 ** (bits - 1)
  for (let row = 0, at = 0; row < rows; row++)
    for (let block = 0; block < blocks; block++) {
      const s = scale[row * blocks + block]
      const z = zeroPoint ? zeroPoint[row * blocks + block] : middle
      const end = row * columns + Math.min((block + 1) * blockSize, columns)
      for (; at < end; at++) values[at] = Math.fround(codes[at] - z) * s
    }
  return values
}

/**
 * Every row packed by itself, filled up with 0 bits to whole bytes; so lie the zero points [rows, blocks] of both operators.
 *
 * @param codes [rows, columns], each below 2 ** bits
 */
export function packRows(codes: Uint8Array, rows: number, columns: number, bits: BlockBits): Uint8Array {
  if ((columns * bits) % 8 === 0) return packBits(codes, bits)
  const bytes = Math.ceil((columns * bits) / 8)
  const packed = new Uint8Array(rows * bytes)
  for (let row = 0; row < rows; row++) packed.set(packBits(codes.subarray(row * columns, (row + 1) * columns), bits), row * bytes)
  return packed
}

function unpackRows(packed: Uint8Array, rows: number, columns: number, bits: BlockBits): Uint8Array {
  const bytes = Math.ceil((columns * bits) / 8)
  if (packed.length !== rows * bytes) throw badInput(`${packed.length} bytes are no [${rows}, ${bytes}] of packed codes`)
  const width = (bytes * 8) / bits
  const codes = unpackBits(packed, rows * width, bits)
  return width === columns ? codes : cutRows(codes, rows, width, columns)
}

function cutRows(codes: Uint8Array, rows: number, width: number, columns: number): Uint8Array {
  const cut = new Uint8Array(rows * columns)
  for (let row = 0; row < rows; row++) cut.set(codes.subarray(row * width, row * width + columns), row * columns)
  return cut
}

function fillRows({ rows, columns, bits, blockSize, codes, zeroPoint }: BlockCodes, width: number): Uint8Array {
  const filled = new Uint8Array(rows * width)
  const blocks = width / blockSize
  for (let row = 0; row < rows; row++) {
    const filling = zeroPoint ? Math.round(zeroPoint[(row + 1) * blocks - 1]) : 2 ** (bits - 1)
    filled.set(codes.subarray(row * columns, (row + 1) * columns), row * width)
    filled.fill(Math.min(Math.max(filling, 0), 2 ** bits - 1), row * width + columns, (row + 1) * width)
  }
  return filled
}

/** The number of blocks in a row; throws where sizes or codes do not fit together. */
function checkBlocks({ rows, columns, bits, blockSize, codes, zeroPoint }: BlockCodes): number {
  const blocks = Math.ceil(columns / blockSize)
  if (codes.length !== rows * columns) throw badInput(`${codes.length} codes are no matrix [${rows}, ${columns}]`)
  if (zeroPoint && zeroPoint.length !== rows * blocks)
    throw badInput(`${rows * blocks} blocks need as many zero points, not ${zeroPoint.length}`)
  let union = 0
  for (let i = 0; i < codes.length; i++) union |= codes[i]
  if (zeroPoint instanceof Uint8Array) for (let i = 0; i < zeroPoint.length; i++) union |= zeroPoint[i]
  if (union >>> bits) throw badInput(`a code or zero point does not fit in ${bits} bits`)
  return blocks
}
