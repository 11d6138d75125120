import { transposeMatrix } from '../../../../ir/tensor.js'
import type { Weight } from '../../plan/steps.js'

/** Inputs of a block as kernels see it; longer blocks repeat their factors. */
export const blockInputs = 32

export type BlockWeight = Extract<Weight, { kind: 'blocks' }>

/** How blocks are stored. */
export interface BlockFormat {
  readonly bits: 4 | 8
  /** Inputs of a column that stand side by side: 4 as bytes for `relaxed_dot`, 2 where bytes become words for `dot`. */
  readonly group: 4 | 2
  /** The code that stands for zero in all blocks; undefined where each block has a minimum. */
  readonly zero: number | undefined
}

/** Bytes of the codes of a block in four columns, and of the whole block. */
export function blockBytes({ bits, zero }: BlockFormat): { codes: number; all: number } {
  const codes = (4 * blockInputs * bits) / 8
  return { codes, all: codes + (zero === undefined ? 32 : 16) }
}

/** The code for zero, where all blocks have the same. */
export function zeroOf({ bits }: BlockWeight, scale: Float32Array, minimum: Float32Array): number | undefined {
  const middle = 2 ** (bits - 1)
  return minimum.every((value, i) => value === -middle * scale[i]) ? middle : undefined
}

/** Contents of a weight in blocks, and the bias. */
export interface BlockSource {
  readonly inputs: number
  readonly outputs: number
  /** Parts of the outputs whose panels take turns: 2 where the second half is multiplied with the first. */
  readonly parts: 1 | 2
  /** Inputs of a block as the factors count. */
  readonly block: number
  readonly codes: Uint8Array
  readonly scale: Float32Array
  readonly minimum: Float32Array
  readonly bias: Float32Array | undefined
}

/**
 * Packs weights into panels of four columns: the bias, then for each block codes, scales and minimums. Codes stand in vectors of
 * 16 / group groups; with 4 bits the low halves hold the codes of one vector and the high halves those of the next.
 */
export function packBlocks(source: BlockSource, format: BlockFormat): Uint8Array {
  const { inputs, outputs, parts, block, codes, scale, minimum, bias } = source
  const sizes = blockBytes(format)
  const blocks = inputs / blockInputs
  const stride = 16 + blocks * sizes.all
  const partColumns = outputs / parts
  const bytes = new Uint8Array(parts * Math.ceil(partColumns / 4) * stride)
  const view = new DataView(bytes.buffer)
  for (let n = 0; n < outputs; n++) {
    const [part, column] = [Math.floor(n / partColumns), n % partColumns]
    const [panel, lane] = [(Math.floor(column / 4) * parts + part) * stride, column % 4]
    view.setFloat32(panel + 4 * lane, bias?.[n] ?? 0, true)
    for (let b = 0; b < blocks; b++) {
      const at = panel + 16 + b * sizes.all
      for (let i = 0; i < blockInputs; i++) {
        const code = codes[n * inputs + b * blockInputs + i]
        const place = placeOf(i, lane, format)
        if (format.bits === 8) bytes[at + place] = code
        else bytes[at + 16 * Math.floor(place / 32) + (place % 16)] |= place % 32 < 16 ? code : code << 4
      }
      const factor = Math.floor((n * inputs + b * blockInputs) / block)
      view.setFloat32(at + sizes.codes + 4 * lane, scale[factor], true)
      if (format.zero === undefined) view.setFloat32(at + sizes.codes + 16 + 4 * lane, minimum[factor], true)
    }
  }
  return bytes
}

/** Where an input of a column stands among the codes of a block, in codes. */
function placeOf(input: number, lane: number, { group }: BlockFormat): number {
  return Math.floor(input / group) * 4 * group + lane * group + (input % group)
}

/** The numbers that blocks stand for [inputs, outputs]. */
export function floatsOfBlocks({ codes, scale, minimum, block, inputs, outputs }: BlockSource): Float32Array {
  const values = Float32Array.from(codes, (code, i) => scale[Math.floor(i / block)] * code + minimum[Math.floor(i / block)])
  return transposeMatrix(values, outputs, inputs)
}
