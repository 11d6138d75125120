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
  const sums = machine.group === 1 ? undefined : columnSums(linear)
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
  for (let row = 0, group = 0; row < codes.length; row += 4 * outputs, group += columns) {
    const left = (codes.length - row) / outputs
    for (let i = 0; i < to.length; i++) {
      const at = row + from[i]
      let word = codes[at] & 255
      if (left > 1) word |= (codes[at + outputs] & 255) << 8
      if (left > 2) word |= (codes[at + 2 * outputs] & 255) << 16
      if (left > 3) word |= codes[at + 3 * outputs] << 24
      words[group + to[i]] = word
    }
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

function columnSums({ inputs, outputs, codes }: PanelSource): Float64Array {
  const sums = new Float64Array(outputs)
  for (let i = 0; i < inputs; i++) for (let n = 0; n < outputs; n++) sums[n] += codes[i * outputs + n]
  return sums
}

/**
 * How many products of a column are sure to fit in 16 bits together: four as `avx2Quads` adds them, two as `avx2Bytes`
 * does, or one.
 *
 * @param largest largest activation, 255 or 127
 */
export function productsThatFit({ inputs, outputs, codes }: PanelSource, largest: number): 1 | 2 | 4 {
  const fits = (offsets: readonly number[], step: number) => {
    for (let first = 0; first < inputs; first += step) {
      for (let n = 0; n < outputs; n++) {
        let [high, low] = [0, 0]
        for (const offset of offsets) {
          const code = first + offset < inputs ? codes[(first + offset) * outputs + n] : 0
          if (code > 0) high += code
          else low += code
        }
        if (high * largest > 32767 || low * largest < -32768) return false
      }
    }
    return true
  }
  if (fits([0, 1, 4, 5], 8) && fits([2, 3, 6, 7], 8)) return 4
  return fits([0, 1], 2) ? 2 : 1
}
