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
  if (dtype === 'int4') return [moved(codes, new Uint8Array(codes.length), 8), 8]
  return dtype === 'uint8' ? [moved(codes, new Int8Array(codes.length), -128), -128] : [codes, 0]
}

/** Codes plus a number, into an array of the other signedness. */
export function moved<A extends Uint8Array | Int8Array>(codes: Uint8Array | Int8Array, result: A, by: number): A {
  for (let i = 0; i < result.length; i++) result[i] = codes[i] + by
  return result
}
