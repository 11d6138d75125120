import { Tensor } from '../../../ir/tensor.js'
import type { BlockForm, WeightBlocks } from '../../../numbers/weight-blocks.js'

/** A constant matrix made of codes in blocks along its rows, [rows, columns / block] scales: what DequantizeLinear of constants computes. */
export class BlockTensor extends Tensor {
  constructor(
    readonly codes: Tensor,
    readonly scale: Tensor,
    readonly zeroPoint: Tensor | undefined,
    readonly block: number,
  ) {
    super('float32', codes.shape)
  }

  async read(): Promise<Float32Array> {
    const { codes, scales, zeroPoint, minimums } = await this.blocks()
    const result = new Float32Array(codes.length)
    for (let i = 0; i < result.length; i++) {
      const at = Math.floor(i / this.block)
      result[i] = scales[at] * (codes[i] - zeroPoint) + (minimums ? minimums[at] : 0)
    }
    return result
  }

  override get blockForm(): BlockForm {
    return { dtype: this.codes.dtype.endsWith('int4') ? 'uint4' : 'int8', axis: 1, blockSize: this.block }
  }

  override async blocks(): Promise<WeightBlocks> {
    const bytes = (await this.codes.read()) as Uint8Array | Int8Array
    const scales = (await this.scale.read()) as Float32Array
    const zeros = this.zeroPoint && ((await this.zeroPoint.read()) as Uint8Array | Int8Array)
    // Bytes and signed codes count from the middle of their range: int8 is the one form of 8 bits.
    const [codes, shift] = signed(this.codes.dtype, bytes)
    const first = Number(zeros?.[0] ?? 0)
    const isOne = !zeros || zeros.every((zero) => zero === first)
    return {
      ...this.blockForm,
      codes,
      scales,
      zeroPoint: isOne ? first + shift : 0,
      minimums: isOne ? null : scales.map((scale, i) => -scale * (Number(zeros[i]) + shift)),
    }
  }
}

/** Codes as uint4 or int8, and what was added to them. */
function signed(dtype: Tensor['dtype'], codes: Uint8Array | Int8Array): [Uint8Array | Int8Array, number] {
  if (dtype === 'int4') return [raised(codes as Int8Array, 4), 8]
  return dtype === 'uint8' ? [lowered(codes as Uint8Array), -128] : [codes, 0]
}

/** Signed codes of so many bits, raised by half of their range. */
export function raised(codes: Int8Array, bits: 4 | 8): Uint8Array {
  const result = new Uint8Array(codes)
  flip(result, bits)
  return result
}

/** Codes of 8 bits, lowered by half of their range. */
export function lowered(codes: Uint8Array): Int8Array {
  const result = new Int8Array(codes)
  flip(result, 8)
  return result
}

/** Turns over the highest of so many bits of every byte, and clears those above. */
function flip({ buffer, length }: Uint8Array | Int8Array, bits: 4 | 8): void {
  const [half, mask] = bits === 4 ? [0x08, 0x0f] : [0x80, 0xff]
  const [words, bytes] = [new Int32Array(buffer, 0, length >> 2), new Uint8Array(buffer)]
  const [halves, masks] = [half * 0x01010101, mask * 0x01010101]
  for (let i = 0; i < words.length; i++) words[i] = (words[i] ^ halves) & masks
  for (let i = 4 * words.length; i < length; i++) bytes[i] = (bytes[i] ^ half) & mask
}
