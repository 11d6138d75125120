import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, i8x16, i32, i32x4, type Value, v128 } from '../values.js'
import { copies, eachChunk, smaller, type Vector } from './kernel.js'

/** Keys of a panel: whole ones, and what the rest is rounded up to. */
export const keyWidths = [24, 16, 8] as const

/** Runs the body for each panel of a number of keys: wide ones, then a last one that is as narrow as it may be. */
export function eachKeyPanel(f: FunctionBuilder, keys: Value<'i32'>, body: (columns: number) => void): void {
  const left = f.local('i32', keys)
  const [widest, ...narrower] = keyWidths
  f.while(i32.gt_s(left, narrower[0]), () => {
    body(widest)
    f.add(left, -widest)
  })
  for (const [i, width] of narrower.entries()) {
    f.if(i32.gt_s(left, narrower[i + 1] ?? 0), () => {
      body(width)
      f.add(left, -width)
    })
  }
}

interface Rows {
  readonly from: Value<'i32'>
  /** Where the rows are codes: the scales of the keys, one behind the other. */
  readonly scales?: Value<'i32'>
  readonly stride: Local<'i32'>
  readonly keys: Local<'i32'>
  /** Columns of the head. */
  readonly size: number
  readonly panels: Local<'i32'>
}

/** Four columns of a row: float32, or codes that are multiplied with their scale. */
function fourColumns(row: Value<'i32'>, scale: Local<'v128'> | undefined, offset = 0): Vector {
  if (!scale) return v128.load(row, offset)
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v128.load8x8_s(row, offset / 4))), scale)
}

/** Keys [keys, size] as panels [size, keys of the panel]; behind the last key anything may stand. */
export function packKeys(f: FunctionBuilder, { from, scales, stride, keys, size, panels }: Rows): void {
  const [row, target, left] = copies(f, from, panels, keys)
  const scale = scales && f.local('i32', scales)
  const [column, end] = f.localsOf('i32', 2)
  eachKeyPanel(f, keys, (width) => {
    f.set(column, target)
    f.set(end, i32.add(target, 4 * width))
    f.while(i32.and(i32.gt_s(left, 0), i32.lt_s(column, end)), () => {
      // The last key stands for those that are not there.
      const places = [0, 1, 2, 3].map((i) => smaller(i32.const(i), i32.sub(left, 1)))
      const rows = places.map((place) => i32.add(row, i32.mul(stride, place)))
      const factors = scale && places.map((place) => f.local('v128', f32x4.splat(f32.load(i32.add(scale, i32.shl(place, 2))))))
      transpose(f, { rows, scales: factors }, size, column, 4 * width)
      f.add(column, 16)
      f.add(row, i32.shl(stride, 2))
      if (scale) f.add(scale, 16)
      f.add(left, -4)
    })
    f.add(target, 4 * width * size)
  })
}

const bytesOfWords = (words: readonly number[]) => words.flatMap((word) => [0, 1, 2, 3].map((byte) => 4 * word + byte))

interface FourRows {
  readonly rows: readonly Value<'i32'>[]
  readonly scales: readonly Local<'v128'>[] | undefined
}

/** Four rows of `size` columns as rows of four, `bytes` apart. */
function transpose(f: FunctionBuilder, from: FourRows, size: number, to: Local<'i32'>, bytes: number): void {
  const rows = copies(f, ...from.rows)
  const elementBytes = from.scales ? 1 : 4
  const [target] = copies(f, to)
  const four = f.localsOf('v128', 4)
  eachChunk(f, size, 4, [...rows.map((row) => [row, elementBytes] as const), [target, bytes]], (count) => {
    for (const [i, vector] of four.entries()) f.set(vector, fourColumns(rows[i], from.scales?.[i]))
    const columns = transposed(f, four)
    for (let column = 0; column < count; column++) f.do(v128.store(target, columns[column], column * bytes))
  })
}

/** The columns of four rows of words of 32 bits. */
export function transposed(f: FunctionBuilder, [a, b, c, d]: readonly Local<'v128'>[]): Vector[] {
  const shuffle = (x: Vector, y: Vector, words: readonly number[]) => i8x16.shuffle(x, y, bytesOfWords(words))
  const pairs = [
    [0, 4, 1, 5],
    [2, 6, 3, 7],
  ].map((words) => [shuffle(a, b, words), shuffle(c, d, words)].map((pair) => f.local('v128', pair)))
  return pairs.flatMap(([ab, cd]) => [shuffle(ab, cd, [0, 1, 4, 5]), shuffle(ab, cd, [2, 3, 6, 7])])
}

/** Columns of a panel of values: as many as give tiles without a narrow rest. */
export function valueWidth(size: number): number {
  return size % 24 && size % 16 === 0 ? 16 : Math.min(24, 4 * Math.ceil(size / 4))
}

/** Values [keys, size] as panels [keys, width], each with room for `room` keys. */
export function packValues(f: FunctionBuilder, { from, scales, stride, keys, size, panels, room }: Rows & { readonly room: number }): void {
  const width = valueWidth(size)
  const start = f.local('i32', from)
  for (let first = 0; first < size; first += width) {
    const columns = Math.min(width, size - first)
    const vectors = Math.ceil(columns / 4)
    const [row, target, left] = copies(f, i32.add(start, (scales ? 1 : 4) * first), i32.add(panels, 4 * room * first), keys)
    const [scale, factor] = scales ? [f.local('i32', scales), f.local('v128')] : []
    f.while(left, () => {
      if (scale && factor) f.set(factor, f32x4.splat(f32.load(scale)))
      f.do(...Array.from({ length: vectors }, (_, v) => v128.store(target, fourColumns(row, factor, 16 * v), 16 * v)))
      if (scale) f.add(scale, 4)
      f.add(row, stride)
      f.add(target, 16 * vectors)
      f.add(left, -1)
    })
  }
}
