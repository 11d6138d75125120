import { badInput } from '../../../base/errors.js'
import { type DotMachine, panelColumns, vectorBytes } from './dot-machine.js'

/** A linear in codes or in float32: what panels are packed from. */
export interface PanelSource {
  readonly inputs: number
  readonly outputs: number
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
}

/** Weights in the order in which a kernel reads them. */
export interface Panels {
  readonly bytes: Uint8Array
  /** How many panels, and how many groups of inputs each has. */
  readonly count: number
  readonly groups: number
  /** Bytes from one panel to the next. */
  readonly stride: number
  /** First column of the last panel. */
  readonly lastColumn: number
}

const codeTypes = { 1: Float32Array, 2: Int16Array, 4: Int8Array }

/** Words of a column in front of a panel's weights: start, scale, bias, sum of codes, factor. */
export const headerWords = 5

/**
 * Packs a linear into panels: `[start][scale][bias][sum of codes][factor]`, a word for each column, then `[groups][columns][group]`
 * codes, in bytes, words or float32 as the machine needs them. The sum of codes is float32, exact up to 2^24.
 */
export function packPanels(linear: PanelSource, layout: PanelLayout): Panels {
  const { inputs, outputs, codes } = linear
  const { machine, order, overlap } = layout
  if (codes.length !== inputs * outputs) throw badInput(`A linear of ${inputs} by ${outputs} cannot have ${codes.length} codes`)
  const columns = panelColumns(machine)
  const multiple = Math.max(machine.group * machine.depth, layout.inputMultiple ?? 1)
  const groups = (Math.ceil(inputs / multiple) * multiple) / machine.group
  const count = Math.ceil(outputs / columns)
  const lastColumn = Math.max(0, outputs - columns)
  const stride = 4 * columns * (headerWords + groups)
  const bytes = new Uint8Array(count * stride)
  const places = columnOrder(machine, order)
  const sums = codes instanceof Float32Array ? undefined : (linear.sums ?? surveyOf(codes, outputs).sums)
  for (let panel = 0; panel < count; panel++) {
    const first = Math.min(panel * columns, lastColumn)
    const body = bytes.subarray(panel * stride, (panel + 1) * stride)
    const header = new DataView(body.buffer, body.byteOffset)
    const words = new codeTypes[machine.group](body.buffer, body.byteOffset)
    const weights = words.subarray((4 * columns * headerWords) / words.BYTES_PER_ELEMENT)
    const filled = [...places.keys()].filter((place) => {
      const n = first + places[place]
      return n < outputs && (overlap === 'repeat' || n >= panel * columns)
    })
    for (const place of filled) {
      const n = first + places[place]
      if (machine.group === 1) header.setFloat32(4 * place, linear.start?.[n] ?? 0, true)
      else header.setInt32(4 * place, linear.start?.[n] ?? 0, true)
      header.setFloat32(4 * (columns + place), linear.scale?.[n] ?? 1, true)
      header.setFloat32(4 * (2 * columns + place), linear.bias?.[n] ?? 0, true)
      header.setFloat32(4 * (3 * columns + place), sums?.[n] ?? 0, true)
      header.setFloat32(4 * (4 * columns + place), linear.factor?.[n] ?? 1, true)
    }
    const to = Int32Array.from(filled)
    const from = Int32Array.from(filled, (place) => first + places[place])
    if (codes instanceof Float32Array) packFloats(weights as Float32Array, codes, outputs, columns, to, from)
    else if (machine.group === 4) packBytes(new Int32Array(weights.buffer, weights.byteOffset), codes, outputs, columns, to, from)
    else packWords(weights as Int16Array, codes, outputs, columns, to, from)
  }
  return { bytes, count, groups, stride, lastColumn }
}

/** The columns `from` of the rows of codes to the places `to`, one input after the other. */
function packFloats(weights: Float32Array, codes: Float32Array, outputs: number, columns: number, to: Int32Array, from: Int32Array): void {
  for (let row = 0, group = 0; row < codes.length; row += outputs, group += columns)
    for (let i = 0; i < to.length; i++) weights[group + to[i]] = codes[row + from[i]]
}

/** The same, with two inputs side by side. */
function packWords(weights: Int16Array, codes: Int8Array, outputs: number, columns: number, to: Int32Array, from: Int32Array): void {
  for (let row = 0, group = 0; row < codes.length; row += 2 * outputs, group += 2 * columns) {
    const hasNext = row + outputs < codes.length
    for (let i = 0; i < to.length; i++) {
      const at = row + from[i]
      weights[group + 2 * to[i]] = codes[at]
      weights[group + 2 * to[i] + 1] = hasNext ? codes[at + outputs] : 0
    }
  }
}

/** The same, with four inputs in each word of 32 bits. */
function packBytes(words: Int32Array, codes: Int8Array, outputs: number, columns: number, to: Int32Array, from: Int32Array): void {
  const whole = codes.length - (codes.length % (4 * outputs))
  if (whole && isInFours(to, from) && outputs % 4 === 0 && codes.byteOffset % 4 === 0)
    packFours(words, new Int32Array(codes.buffer, codes.byteOffset, whole / 4), outputs / 4, columns, to, from)
  else packEach(words, codes.subarray(0, whole), outputs, columns, to, from)
  if (whole < codes.length) {
    const last = new Int8Array(4 * outputs)
    last.set(codes.subarray(whole))
    packEach(words.subarray((whole / 4 / outputs) * columns), last, outputs, columns, to, from)
  }
}

function packEach(words: Int32Array, codes: Int8Array, outputs: number, columns: number, to: Int32Array, from: Int32Array): void {
  for (let row = 0, group = 0; row < codes.length; row += 4 * outputs, group += columns)
    for (let i = 0; i < to.length; i++) {
      const at = row + from[i]
      const low = (codes[at] & 255) | ((codes[at + outputs] & 255) << 8)
      words[group + to[i]] = low | ((codes[at + 2 * outputs] & 255) << 16) | (codes[at + 3 * outputs] << 24)
    }
}

/** Whether columns come in fours, side by side here and there. */
function isInFours(to: Int32Array, from: Int32Array): boolean {
  const isNext = (places: Int32Array, i: number) => places[i] === places[i - (i % 4)] + (i % 4)
  return to.length % 4 === 0 && to.every((_, i) => isNext(to, i) && isNext(from, i) && (i % 4 || from[i] % 4 === 0))
}

/** Four columns of four inputs at a time: a transposition of 4 x 4 bytes in words. */
function packFours(words: Int32Array, fours: Int32Array, outputs: number, columns: number, to: Int32Array, from: Int32Array): void {
  for (let row = 0, group = 0; row < fours.length; row += 4 * outputs, group += columns)
    for (let i = 0; i < to.length; i += 4) {
      const at = row + (from[i] >> 2)
      const place = group + to[i]
      const a = fours[at]
      const b = fours[at + outputs]
      const c = fours[at + 2 * outputs]
      const d = fours[at + 3 * outputs]
      const abEven = (a & 0x00ff00ff) | ((b & 0x00ff00ff) << 8)
      const abOdd = ((a >>> 8) & 0x00ff00ff) | (b & 0xff00ff00)
      const cdEven = (c & 0x00ff00ff) | ((d & 0x00ff00ff) << 8)
      const cdOdd = ((c >>> 8) & 0x00ff00ff) | (d & 0xff00ff00)
      words[place] = (abEven & 0xffff) | (cdEven << 16)
      words[place + 1] = (abOdd & 0xffff) | (cdOdd << 16)
      words[place + 2] = (abEven >>> 16) | (cdEven & 0xffff0000)
      words[place + 3] = (abOdd >>> 16) | (cdOdd & 0xffff0000)
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
  /** Least and greatest sum of the codes of inputs 2i and 2i + 1 in a column. */
  readonly pairs: readonly [number, number]
}

/** Looks at each code once. */
export function surveyOf(codes: Int8Array, outputs: number): CodeSurvey {
  const sums = new Int32Array(outputs)
  let [least, greatest] = [0, 0]
  const paired = codes.length - (codes.length % (2 * outputs))
  for (let row = 0; row < paired; row += 2 * outputs)
    for (let n = 0; n < outputs; n++) {
      const sum = codes[row + n] + codes[row + outputs + n]
      sums[n] += sum
      if (sum > greatest) greatest = sum
      else if (sum < least) least = sum
    }
  for (let n = 0; paired < codes.length && n < outputs; n++) sums[n] += codes[paired + n]
  return { sums, pairs: [least, greatest] }
}

/**
 * How many products of a column are sure to fit in 16 bits together: four as `avx2Quads` adds them, two as `avx2Bytes`
 * does, or one.
 *
 * @param largest largest activation, 255 or 127
 */
export function productsThatFit(
  { codes, outputs }: { readonly codes: Int8Array; readonly outputs: number },
  largest: number,
  { pairs } = surveyOf(codes, outputs),
): 1 | 2 | 4 {
  const [highest, lowest] = [Math.floor(32767 / largest), -Math.floor(32768 / largest)]
  // Codes of different signs take from each other: alone each of them fits, and so does what is left.
  if (pairs[0] < lowest || pairs[1] > highest) return 1
  return foursFit(codes, outputs, [0, 1, 4, 5], highest, lowest) && foursFit(codes, outputs, [2, 3, 6, 7], highest, lowest) ? 4 : 2
}

function foursFit(codes: Int8Array, outputs: number, offsets: readonly number[], highest: number, lowest: number): boolean {
  const high = (code: number) => (code > 0 ? code : 0)
  for (let row = 0; row < codes.length; row += 8 * outputs) {
    const [a, b, c, d] = offsets.map((offset) => codes.subarray(row + offset * outputs, row + (offset + 1) * outputs))
    for (let n = 0; n < outputs; n++) {
      // Beyond the last input there is nothing, which counts as 0.
      const p = a[n] | 0
      const q = b[n] | 0
      const r = c[n] | 0
      const s = d[n] | 0
      const most = high(p) + high(q) + high(r) + high(s)
      if (most > highest || p + q + r + s - most < lowest) return false
    }
  }
  return true
}
