import type { Tensor } from '../../ir/tensor.js'
import { integerGrid, type Layout } from '../../numbers/quantizer.js'
import { roundSignificant } from '../../numbers/rounding.js'
import { type BlockForm, halfBits, type WeightBlocks } from '../../numbers/weight-blocks.js'
import type { QuantizedConstant } from './apply.js'

/** The blocks that a pass would quantize a weight in. */
export interface WantedBlocks {
  readonly bits: 4 | 8
  /** The dimension that blocks divide. */
  readonly axis: number
  readonly blockSize: number
  /** Zero in the middle of the codes. */
  readonly symmetric: boolean
}

/**
 * The codes of a matrix that is quantized in such blocks already, as they are: scales and minimums stay, and every number is the same float32.
 * Null for all others.
 */
export async function presentBlocks(tensor: Tensor, { bits, axis, blockSize, symmetric }: WantedBlocks): Promise<QuantizedConstant | null> {
  const blocks = await tensor.blocks()
  if (!blocks || !isInBlocks(blocks, { bits, axis, blockSize }) || (symmetric && blocks.minimums)) return null
  const { scales: scale, minimums: minimum } = blocks
  const { codes, zeroPoint } = unsigned(blocks)
  const parameters = { scale, zeroPoint: new Int32Array(scale.length).fill(zeroPoint) }
  const whole: Required<Layout> = { shape: tensor.shape, axis, blockSize }
  return { codes, grid: integerGrid(bits === 4 ? 'uint4' : 'uint8'), layout: minimum ? dividedLayout(whole) : whole, parameters, minimum }
}

/** Whether a matrix is quantized in such blocks already. */
export function isInBlocks(form: BlockForm | null | undefined, { bits, axis, blockSize }: Omit<WantedBlocks, 'symmetric'>): boolean {
  return form?.dtype === (bits === 4 ? 'uint4' : 'int8') && form.axis === axis && form.blockSize === blockSize
}

/** Codes whose zero points are real numbers, as codes with a minimum for each block. */
export function withMinimums(quantized: QuantizedConstant, whole: Required<Layout>): QuantizedConstant {
  const { scale, zeroPoint } = quantized.parameters
  const parameters = { scale, zeroPoint: new Int32Array(scale.length) }
  return {
    ...quantized,
    layout: dividedLayout(whole),
    parameters,
    minimum: scale.map((step, i) => roundSignificant(-step * zeroPoint[i], halfBits)),
  }
}

/** Blocks as a dimension of their own, so that minimums, one for each, can be added. */
function dividedLayout({ shape, axis, blockSize }: Required<Layout>): Layout {
  const divided = shape.flatMap((dimension, i) => (i === axis ? [dimension / blockSize, blockSize] : [dimension]))
  return { shape: divided, axis: axis + 1, blockSize }
}

/** Kernels take unsigned codes, with the middle one for 0. */
function unsigned({ dtype, codes, zeroPoint }: WeightBlocks): { codes: Uint8Array; zeroPoint: number } {
  const shift = dtype === 'int8' ? 128 : 0
  const shifted = new Uint8Array(codes)
  for (let i = 0; i < shifted.length; i++) shifted[i] += shift
  return { codes: shifted, zeroPoint: zeroPoint + shift }
}
