import { badInput } from '../../../base/errors.js'
import { toCodes } from '../../../numbers/minifloat.js'
import type { BlockMachine } from './block-machine.js'

/** Inputs that share a scale. */
export const blockInputs = 32

/** A linear in blocks of 32 inputs: weight = scale * (code - zero) + minimum. */
export interface BlockSource {
  /** A multiple of 32. */
  readonly inputs: number
  readonly outputs: number
  /** Parts of the outputs whose panels take turns: 2 where the second half is multiplied with the first, 1 unless given. */
  readonly parts?: 1 | 2
  /** [inputs, outputs]: 0..15 for 4 bits, -128..127 for 8 bits (`zero` is 0 then). */
  readonly codes: Uint8Array | Int8Array
  /** [inputs / 32, outputs]; for `halfScales`, representable in 16 bits */
  readonly scales: Float32Array
  /** [inputs / 32, outputs]; present exactly where the format has minimums */
  readonly minimums?: Float32Array
  /** [outputs] */
  readonly bias?: Float32Array
}

/** How blocks are stored: what a kernel is made for. */
export interface BlockFormat {
  readonly bits: 4 | 8
  /** Subtracted from 4-bit codes: 8 for symmetric ones, 0 where a minimum is stored. */
  readonly zero: 0 | 8
  readonly minimums: boolean
  /** Scales and minimums in float16: half the bytes. */
  readonly halfScales: boolean
}

/** Weights in the order in which a kernel reads them. */
export interface BlockPanels {
  readonly bytes: Uint8Array
  /** Of each part of the outputs. */
  readonly count: number
  readonly blocks: number
  /** Bytes from one panel to the next. */
  readonly stride: number
  /** First column of the last panel of a part. */
  readonly lastColumn: number
}

/** Bytes of a block of a panel: codes, scales, minimums. */
export function blockBytes({ bits, minimums, halfScales }: BlockFormat, columns: number): { codes: number; scales: number; all: number } {
  const codes = (columns * blockInputs * bits) / 8
  const scales = columns * (halfScales ? 2 : 4)
  return { codes, scales, all: codes + scales * (minimums ? 2 : 1) }
}

/**
 * Packs a linear into panels: `[bias]`, a float32 for each column, then for each block codes, scales and minimums. Codes
 * stand as [groups of 4 inputs][columns][4]; of 4 bits, group 2i is in the low and 2i + 1 in the high halves of bytes.
 *
 * Where outputs do not fill the last panel, it starts earlier and computes some columns again (`repeat`), or leaves them as they are by adding
 * zero to them (`skip`, for sums that are added to what is there).
 *
 * @throws TinsmithError `bad-input` when the inputs are no multiple of 32
 */
export function packBlocks(
  linear: BlockSource,
  format: BlockFormat,
  machine: BlockMachine,
  overlap: 'repeat' | 'skip' = 'repeat',
): BlockPanels {
  const { inputs, outputs, parts = 1 } = linear
  const { columns } = machine
  if (inputs % blockInputs) throw badInput(`Block weights need a multiple of ${blockInputs} inputs, not ${inputs}`)
  const blocks = inputs / blockInputs
  const sizes = blockBytes(format, columns)
  const stride = 4 * columns + blocks * sizes.all
  const partColumns = outputs / parts
  const count = Math.ceil(partColumns / columns)
  const lastColumn = Math.max(0, partColumns - columns)
  const bytes = new Uint8Array(parts * count * stride)
  const floats = new Float32Array(bytes.buffer)
  const factors = [linear.scales, ...(format.minimums ? [linear.minimums!] : [])].map((values) => storedFactors(values, format))
  const stored = format.halfScales ? new Uint16Array(bytes.buffer) : floats
  for (let panel = 0; panel < parts * count; panel++) {
    const [place, part] = [Math.floor(panel / parts), panel % parts]
    const inPart = Math.min(place * columns, lastColumn)
    const first = part * partColumns + inPart
    const done = overlap === 'skip' ? place * columns - inPart : 0
    const end = Math.min(columns, partColumns)
    const start = panel * stride
    if (linear.bias) for (let column = done; column < end; column++) floats[start / 4 + column] = linear.bias[first + column]
    for (let block = 0; block < blocks; block++) {
      const at = start + 4 * columns + block * sizes.all
      packCodes(bytes.subarray(at, at + sizes.codes), format, machine, linear, block, first, done, end)
      for (const [i, values] of factors.entries()) {
        const place = (at + sizes.codes + i * sizes.scales) / stored.BYTES_PER_ELEMENT
        for (let column = done; column < end; column++) stored[place + column] = values[block * outputs + first + column]
      }
    }
  }
  return { bytes, count, blocks, stride, lastColumn }
}

/** Scales or minimums as they are stored: bits of float16, or float32. */
function storedFactors(values: Float32Array, { halfScales }: BlockFormat): Uint16Array | Float32Array {
  return halfScales ? (toCodes('float16', values) as Uint16Array) : values
}

/** Writes the codes of a block of a panel, from column `done` up to `end`. */
function packCodes(
  bytes: Uint8Array,
  { bits }: BlockFormat,
  { columns, byteOffset }: BlockMachine,
  { codes, outputs }: BlockSource,
  block: number,
  first: number,
  done: number,
  end: number,
): void {
  const rows = (blockInputs * bits) / 8
  for (let i = 0; i < rows; i++) {
    const [group, place] = [i >> 2, i & 3]
    const low = (block * blockInputs + (bits === 8 ? i : 8 * group + place)) * outputs + first
    const high = low + 4 * outputs
    const to = 4 * group * columns + place
    if (bits === 8) for (let column = done; column < end; column++) bytes[to + 4 * column] = codes[low + column] + byteOffset
    else for (let column = done; column < end; column++) bytes[to + 4 * column] = codes[low + column] | (codes[high + column] << 4)
  }
}
