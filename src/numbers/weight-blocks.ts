/** Significant bits of float16: kernels hold scales and minimums in it where it holds them exactly, in half of the bytes. */
export const halfBits = 11

/** In what blocks a weight is quantized already. */
export interface BlockForm {
  readonly dtype: 'uint4' | 'int8'
  /** The dimension along which neighbours share a scale. */
  readonly axis: number
  /** Numbers that share a scale; the dimension is a multiple of it. */
  readonly blockSize: number
}

/**
 * A weight that is quantized in blocks already: number = scale * (code - zeroPoint) + minimum. Scales have so few bits (those of float16) that
 * the product needs no rounding, and the sum is rounded once to float32.
 */
export interface WeightBlocks extends BlockForm {
  /** One entry a number, in the order of the tensor. */
  readonly codes: Uint8Array | Int8Array
  /** In the order of the tensor, with that dimension divided by the block size. */
  readonly scales: Float32Array
  readonly zeroPoint: number
  /** One for each scale; null where all are 0. */
  readonly minimums: Float32Array | null
}
