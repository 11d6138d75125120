import { badInput } from '../../../base/errors.js'
import { coupleGroups, groupListBytes } from '../coupled-groups.js'
import { type DotMachine, panelColumns, vectorBytes } from './dot-machine.js'

/** A linear in codes or in float32: what panels are packed from. */
export interface PanelSource {
  readonly inputs: number
  readonly outputs: number
  /** Parts of the outputs whose panels take turns: 2 where the second half is multiplied with the first, 1 unless given. */
  readonly parts?: 1 | 2
  /** [inputs, outputs], row major */
  readonly codes: Int8Array | Float32Array
  /** [outputs]: where sums begin; has bias and zero point in it where those are known beforehand. Zeros unless given. */
  readonly start?: Int32Array | Float32Array
  /** [outputs]: the sum of each column's codes, where it is known already. */
  readonly sums?: Int32Array
  /** [outputs]: what a sum is multiplied with. Ones unless given. */
  readonly scale?: Float32Array
  /** [outputs]: what is added after that. Zeros unless given. */
  readonly bias?: Float32Array
  /** [outputs]: what numbers are multiplied with before they are rounded to codes. Ones unless given. */
  readonly factor?: Float32Array
}

/** How panels are laid out. */
export interface PanelLayout {
  readonly machine: DotMachine
  /** `packed`: the order in which narrowing to bytes leaves columns in place; `natural` for 32-bit results. */
  readonly order: 'natural' | 'packed'
  /**
   * Where outputs do not fill the last panel, it starts earlier and computes some columns again (`repeat`), or leaves
   * them as they are by adding zero to them (`skip`, for sums that are added to what is there).
   */
  readonly overlap: 'repeat' | 'skip'
  /** Inputs are filled up with zeros to a multiple of this power of two, where the machine's step is smaller. */
  readonly inputMultiple?: number
  /** What inputs are at most, for machines that take groups in couples; 255 unless given. */
  readonly highest?: number
}

/** Gives memory for panels and does faster what this file does. */
export interface PanelPacker {
  /** Memory of zeros. */
  allocate(bytes: number): Uint8Array
  /** As {@link surveyOf}. */
  survey(codes: Int8Array, outputs: number): CodeSurvey
  /** Brings panels that lie side by side into fours of inputs, in couples where panels have such; false where it is made for others. */
  pack(panels: WholePanels): boolean
}

/** Panels of codes without columns that are left out. */
export interface WholePanels {
  /** [inputs, outputs], row major */
  readonly codes: Int8Array
  readonly outputs: number
  /** First column of the first, and how many there are. */
  readonly first: number
  readonly count: number
  /** For each place in a panel its column. */
  readonly places: Int32Array
  /** From where the codes of the first go, and bytes from one to the next. */
  readonly target: Uint8Array
  readonly stride: number
  /** Where groups are to be joined in couples: what inputs are at most. */
  readonly highest?: number
}

/** Weights in the order in which a kernel reads them. */
export interface Panels {
  readonly bytes: Uint8Array
  /** How many panels each part of the outputs has, and how many groups of inputs a panel has. */
  readonly count: number
  readonly groups: number
  /** Bytes from one panel to the next. */
  readonly stride: number
  /** First column of the last panel of a part. */
  readonly lastColumn: number
}

/** Words of a column in front of a panel's weights: start, scale, bias, sum of codes, factor. */
export const headerWords = 5

/**
 * Packs a linear into panels: `[start][scale][bias][sum of codes][factor]`, a word for each column, then `[groups][columns][group]`
 * codes, in bytes, words or float32 as the machine needs them, with a list in front where it takes groups in couples. The sum of codes is float32,
 * exact up to 2^24.
 */
export function packPanels(linear: PanelSource, layout: PanelLayout, packer?: PanelPacker): Panels {
  const { inputs, outputs, codes, parts = 1 } = linear
  const { machine, order, overlap } = layout
  if (codes.length !== inputs * outputs) throw badInput(`A linear of ${inputs} by ${outputs} cannot have ${codes.length} codes`)
  const columns = panelColumns(machine)
  const multiple = Math.max(machine.group, layout.inputMultiple ?? 1)
  const groups = (Math.ceil(inputs / multiple) * multiple) / machine.group
  const partColumns = outputs / parts
  const count = Math.ceil(partColumns / columns)
  const lastColumn = Math.max(0, partColumns - columns)
  const listBytes = machine.coupled ? groupListBytes(groups) : 0
  const stride = 4 * columns * (headerWords + groups) + listBytes
  const bytes = packer?.allocate(parts * count * stride) ?? new Uint8Array(parts * count * stride)
  const places = Int32Array.from(columnOrder(machine, order))
  const sums = codes instanceof Float32Array ? undefined : (linear.sums ?? surveyOf(codes, outputs).sums)
  const weightsAt = (panel: number) => panel * stride + 4 * columns * headerWords + listBytes
  const highest = machine.coupled ? (layout.highest ?? 255) : undefined
  const packed = (place: number, column: number, count: number) => {
    if (!packer || !count || machine.group !== 4 || codes instanceof Float32Array) return false
    return Array.from({ length: parts }, (_, part) => {
      const target = bytes.subarray(weightsAt(place * parts + part))
      return packer.pack({ codes, outputs, first: part * partColumns + column, count, places, target, stride: parts * stride, highest })
    }).every(Boolean)
  }
  const side = Math.floor(partColumns / columns)
  const isSidePacked = packed(0, 0, side)
  const isLastPacked = overlap === 'repeat' && side > 0 && packed(side, lastColumn, count - side)
  const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const integers = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  for (let panel = 0; panel < parts * count; panel++) {
    const [place, before] = [Math.floor(panel / parts), (panel % parts) * partColumns]
    const first = Math.min(place * columns, lastColumn)
    const least = overlap === 'repeat' ? 0 : place * columns
    const from = places.map((lane) => (first + lane < partColumns && first + lane >= least ? before + first + lane : absent))
    const start = (panel * stride) / 4
    writeHeader(floats, machine.group === 1 ? floats : integers, start, linear, sums, from)
    if (place < side ? isSidePacked : isLastPacked) continue
    const [body, end] = [weightsAt(panel), (panel + 1) * stride]
    if (codes instanceof Float32Array) packFloats(floats.subarray(body / 4), codes, outputs, from)
    else if (machine.group === 4) packBytes(integers.subarray(body / 4), codes, outputs, from)
    else packWords(new Int16Array(bytes.buffer, bytes.byteOffset + body, (end - body) / 2), codes, outputs, from)
    if (highest) coupleGroups(bytes.subarray(body - listBytes, end), groups, highest)
  }
  return { bytes, count, groups, stride, lastColumn }
}

/** In place of a column that a panel leaves out. */
const absent = -1

/** The words in front of a panel that begins there, for the columns at its places. */
function writeHeader(
  floats: Float32Array,
  starts: Float32Array | Int32Array,
  at: number,
  { start, scale, bias, factor }: PanelSource,
  sums: Int32Array | undefined,
  from: Int32Array,
): void {
  const columns = from.length
  for (let place = 0; place < columns; place++) {
    const n = from[place]
    if (n === absent) continue
    starts[at + place] = start ? start[n] : 0
    floats[at + columns + place] = scale ? scale[n] : 1
    floats[at + 2 * columns + place] = bias ? bias[n] : 0
    floats[at + 3 * columns + place] = sums ? sums[n] : 0
    floats[at + 4 * columns + place] = factor ? factor[n] : 1
  }
}

/** The columns of codes to the places of a panel, one input after the other. */
function packFloats(weights: Float32Array, codes: Float32Array, outputs: number, from: Int32Array): void {
  const columns = from.length
  for (let row = 0, group = 0; row < codes.length; row += outputs, group += columns)
    for (let place = 0; place < columns; place++) if (from[place] !== absent) weights[group + place] = codes[row + from[place]]
}

/** The same, with two inputs side by side. */
function packWords(weights: Int16Array, codes: Int8Array, outputs: number, from: Int32Array): void {
  const columns = from.length
  for (let row = 0, group = 0; row < codes.length; row += 2 * outputs, group += 2 * columns) {
    const hasNext = row + outputs < codes.length
    for (let place = 0; place < columns; place++) {
      if (from[place] === absent) continue
      const at = row + from[place]
      weights[group + 2 * place] = codes[at]
      weights[group + 2 * place + 1] = hasNext ? codes[at + outputs] : 0
    }
  }
}

/** The same, with four inputs in each word of 32 bits; beyond the last input there is nothing, which counts as 0. */
function packBytes(words: Int32Array, codes: Int8Array, outputs: number, from: Int32Array): void {
  const columns = from.length
  for (let row = 0, group = 0; row < codes.length; row += 4 * outputs, group += columns)
    for (let place = 0; place < columns; place++) {
      if (from[place] === absent) continue
      const at = row + from[place]
      const low = (codes[at] & 255) | ((codes[at + outputs] & 255) << 8)
      words[group + place] = low | ((codes[at + 2 * outputs] & 255) << 16) | (codes[at + 3 * outputs] << 24)
    }
}

/** For each place in a panel its column. Narrowing works in lanes of 128 bits: lane t of all vectors becomes neighbours. */
function columnOrder(machine: DotMachine, order: PanelLayout['order']): number[] {
  const lanes = vectorBytes(machine) / 4
  return Array.from({ length: panelColumns(machine) }, (_, place) => {
    const [vector, lane] = [Math.floor(place / lanes), place % lanes]
    return order === 'natural' ? place : Math.floor(lane / 4) * 4 * machine.across + 4 * vector + (lane % 4)
  })
}

/** What is to be known of codes before they are packed. */
export interface CodeSurvey {
  /** [outputs]: the sum of each column. */
  readonly sums: Int32Array
  /** Least and greatest sum of the codes of inputs 2i and 2i + 1 in a column; 0 counts too. */
  readonly pairs: readonly [number, number]
}

/** Looks at codes [inputs, outputs]. */
export function surveyOf(codes: Int8Array, outputs: number): CodeSurvey {
  const sums = new Int32Array(outputs)
  const pairs: [number, number] = [0, 0]
  for (let row = 0; row < codes.length; row += 2 * outputs)
    for (let n = 0; n < outputs; n++) {
      // Beyond the last input there is nothing, which counts as 0.
      const sum = codes[row + n] + (codes[row + outputs + n] | 0)
      sums[n] += sum
      if (sum < pairs[0]) pairs[0] = sum
      if (sum > pairs[1]) pairs[1] = sum
    }
  return { sums, pairs }
}

/**
 * Whether two products of a column are sure to fit in 16 bits together, as `avx2Bytes` adds them.
 *
 * @param largest largest activation, 255 or 127
 */
export function pairsFit({ pairs: [least, greatest] }: CodeSurvey, largest: number): boolean {
  // Codes of different signs take from each other: alone each of them fits, and so does what is left.
  return least >= -Math.floor(32768 / largest) && greatest <= Math.floor(32767 / largest)
}
