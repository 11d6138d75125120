import { badInput } from '../../../base/errors.js'
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
  /** [outputs, inputs], unsigned; two of 4 bits in a byte, the first one in the low half. */
  readonly codes: Uint8Array
  /** [outputs, inputs / 32] as they are stored: numbers, or the bits of float16 ones. */
  readonly scales: Float32Array | Uint16Array
  /** The same; present exactly where the format has minimums. */
  readonly minimums?: Float32Array | Uint16Array
  /** [outputs] */
  readonly bias?: Float32Array
}

/** How blocks are stored: what a kernel is made for. */
export interface BlockFormat {
  readonly bits: 4 | 8
  /** Subtracted from codes: for 4 bits 8, or 0 where a minimum is stored; for 8 bits 128. */
  readonly zero: 0 | 8 | 128
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
  const pack = codePacker(linear, format, machine, new Int32Array(bytes.buffer))
  const stored = format.halfScales ? new Uint16Array(bytes.buffer) : floats
  const factors = [linear.scales, ...(format.minimums ? [linear.minimums!] : [])].map((values, i) => ({
    values,
    place: (4 * columns + sizes.codes + i * sizes.scales) / stored.BYTES_PER_ELEMENT,
  }))
  for (let panel = 0; panel < parts * count; panel++) {
    const [place, part] = [Math.floor(panel / parts), panel % parts]
    const inPart = Math.min(place * columns, lastColumn)
    const first = part * partColumns + inPart
    const start = panel * stride
    const done = overlap === 'skip' ? place * columns - inPart : 0
    for (let column = done; column < Math.min(columns, partColumns); column++) {
      const output = first + column
      if (linear.bias) floats[start / 4 + column] = linear.bias[output]
      pack(output * blocks, (start + 4 * columns) / 4 + column)
      for (const { values, place } of factors) {
        const [first, step] = [start / stored.BYTES_PER_ELEMENT + place + column, sizes.all / stored.BYTES_PER_ELEMENT]
        for (let block = 0; block < blocks; block++) stored[first + block * step] = values[output * blocks + block]
      }
    }
  }
  return { bytes, count, blocks, stride, lastColumn }
}

/** What puts the codes of an output's blocks, four at a time, into its column of a panel, from a place in words on. */
function codePacker(
  { codes, inputs }: BlockSource,
  format: BlockFormat,
  { columns, byteOffset }: BlockMachine,
  target: Int32Array,
): (block: number, to: number) => void {
  const aligned = codes.byteOffset % 4 ? new Uint8Array(codes) : codes
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4)
  const blockWords = (blockInputs * format.bits) / 32
  const sign = byteOffset === 128 ? 0 : 0x80808080
  const next = blockBytes(format, columns).all / 4
  return (block, to) => {
    const end = blockWords * (block + inputs / blockInputs)
    for (let word = blockWords * block; word < end; word += blockWords, to += next)
      for (let i = word, at = to; i < word + blockWords; i++, at += columns)
        target[at] = format.bits === 4 ? nibblesApart(words[i]) : words[i] ^ sign
  }
}

/** Of eight codes of 4 bits, the first four in the low halves of bytes, the others in the high ones. */
function nibblesApart(codes: number): number {
  return lowNibbles(codes & 0xffff) | (lowNibbles(codes >>> 16) << 4)
}

function lowNibbles(four: number): number {
  const pairs = (four | (four << 8)) & 0x00ff00ff
  return (pairs | (pairs << 4)) & 0x0f0f0f0f
}
