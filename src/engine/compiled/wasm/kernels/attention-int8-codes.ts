import { highestCode, leastScoreFactor } from '../../reference/attention-int8.js'
import { smallestScale } from '../../reference/quantize.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, i8x16, i16x8, i32, i32x4, integers, select, type Value, v128 } from '../values.js'
import { transposed } from './attention-panels.js'
import { copies, eachChunk, eachRow, firstLanes, largestLane, smaller, storeFloats, type Vector, type Walk, walk } from './kernel.js'
import { nearestIntegers } from './quantize.js'
import type { ProductForm } from './tile.js'

/** Keys of a panel, and columns of values. */
export const panelColumns = 16

/** Where sums of products are bytes': added to the codes of queries, so that they are not negative. */
const queryOffset = highestCode.query + 1

/** Whether codes are bytes; else they are words of 16 bits. Those of `form.group` columns, or keys, make a unit of 32 bits. */
const isBytes = (form: ProductForm) => form.inputBytes === 1

/** Bytes of a panel of keys: what sums begin with, where queries have an offset; then units [groups of columns, keys]. */
export function keyPanelBytes(form: ProductForm, size: number): number {
  return 4 * panelColumns * (Math.ceil(size / form.group) + Number(isBytes(form)))
}

/** The columns of a head in the rows of a sequence. */
export interface HeadRows {
  readonly from: Value<'i32'>
  readonly stride: Local<'i32'>
  readonly rows: Local<'i32'>
  readonly columns: number
}

/** Runs the body for up to `width` columns at a time, with their largest magnitudes: the bits of floats; what is not finite comes last. */
function eachMagnitudes(
  f: FunctionBuilder,
  { from, stride, rows, columns }: HeadRows,
  width: number,
  pointers: readonly Walk<number>[],
  body: (magnitudes: readonly Local<'v128'>[], count: number, column: Local<'i32'>) => void,
): void {
  const all = f.localsOf('v128', width / 4)
  const [column] = copies(f, from)
  eachChunk(f, columns, width, [walk(column, 4), ...pointers], (count) => {
    const magnitudes = all.slice(0, Math.ceil(count / 4))
    for (const magnitude of magnitudes) f.set(magnitude, integers(0))
    const [row] = copies(f, column)
    eachRow(f, rows, [walk(row, stride)], () => {
      for (const [i, magnitude] of magnitudes.entries())
        f.set(magnitude, i32x4.max_s(magnitude, v128.and(v128.load(row, 16 * i), f.integers(0x7fffffff))))
    })
    body(magnitudes, count, column)
  })
}

/** The scale of codes of up to `highest`. */
function scaleOf(f: FunctionBuilder, magnitude: Vector, highest: number): Local<'v128'> {
  return f.local('v128', f32x4.pmax(f32x4.div(magnitude, f.floats(highest)), f.floats(smallestScale)))
}

const codesOf = (f: FunctionBuilder, x: Vector, multiplier: Vector) => nearestIntegers(f, f32x4.mul(x, multiplier))

/** Vectors of integers of 32 bits as one of codes: four of bytes, or two of words. What is missing is anything. */
function narrowed(form: ProductForm, [a, b = a, c = a, d = c]: readonly Vector[]): Vector {
  const words = i16x8.narrow_i32x4_s(a, b)
  return isBytes(form) ? i8x16.narrow_i16x8_s(words, i16x8.narrow_i32x4_s(c, d)) : words
}

/** Pointers to so many rows from this one on; the last that there is stands for those that are not. */
function rowsFrom(f: FunctionBuilder, row: Local<'i32'>, stride: Local<'i32'>, left: Local<'i32'>, count: number): Local<'i32'>[] {
  return Array.from({ length: count }, (_, i) => f.local('i32', i32.add(row, i32.mul(stride, smaller(i32.const(i), i32.sub(left, 1))))))
}

/**
 * Codes of the keys of a head, in panels.
 *
 * @param unit exponents for a unit of a score
 * @param factors where exponents for a unit of each column's codes go
 */
export function packKeys(
  f: FunctionBuilder,
  form: ProductForm,
  head: HeadRows,
  { unit, factors, panels }: Readonly<Record<'factors' | 'panels', Local<'i32'>>> & { readonly unit: Value<'f32'> },
): void {
  const width = 4 * form.group
  const panelBytes = keyPanelBytes(form, head.columns)
  const [factor, target] = copies(f, factors, isBytes(form) ? i32.add(panels, 4 * panelColumns) : panels)
  const vectors = f.localsOf('v128', 4)
  eachMagnitudes(f, head, width, [walk(factor, 4), walk(target, (4 * panelColumns) / form.group)], (magnitudes, count, column) => {
    const multipliers = magnitudes.map((magnitude, i) => {
      const scale = scaleOf(f, magnitude, highestCode.key)
      f.do(v128.store(factor, f32x4.mul(scale, f32x4.splat(unit)), 16 * i))
      return f.local('v128', f32x4.div(f.floats(1), scale))
    })
    const [row, place, left] = copies(f, column, target, head.rows)
    const end = f.local('i32', i32.add(target, 4 * panelColumns))
    f.while(i32.gt_s(left, 0), () => {
      for (const [i, from] of rowsFrom(f, row, head.stride, left, 4).entries()) {
        const codes = multipliers.map((multiplier, v) => codesOf(f, v128.load(from, 16 * v), multiplier))
        f.set(vectors[i], narrowed(form, codes))
      }
      const units = transposed(f, vectors).slice(0, Math.ceil(count / form.group))
      for (const [i, four] of units.entries()) f.do(v128.store(place, four, 4 * panelColumns * i))
      f.add(row, i32.shl(head.stride, 2))
      f.add(place, 16)
      f.if(i32.eq(place, end), () => {
        f.add(place, panelBytes - 4 * panelColumns)
        f.add(end, panelBytes)
      })
      f.add(left, -4)
    })
  })
  if (isBytes(form)) emitStarts(f, form, head, panels)
}

/** What sums begin with: less what the offset of queries adds. */
function emitStarts(f: FunctionBuilder, form: ProductForm, { rows, columns }: HeadRows, panels: Local<'i32'>): void {
  const [panel, left, at] = copies(f, panels, rows, panels)
  const sums = f.localsOf('v128', panelColumns / 4)
  const groups = f.local('i32')
  f.while(i32.gt_s(left, 0), () => {
    for (const sum of sums) f.set(sum, integers(0))
    f.set(at, panel)
    f.set(groups, i32.const(Math.ceil(columns / form.group)))
    f.while(groups, () => {
      f.add(at, 4 * panelColumns)
      for (const [v, sum] of sums.entries()) f.set(sum, form.multiply(f, f.integers(queryOffset * 0x01010101), v128.load(at, 16 * v), sum))
      f.add(groups, -1)
    })
    f.do(...sums.map((sum, v) => v128.store(panel, i32x4.neg(sum), 16 * v)))
    f.add(panel, keyPanelBytes(form, columns))
    f.add(left, -panelColumns)
  })
}

/** Codes of the values of a head, in panels of columns, each of units [groups of keys, columns]; and the scales of columns. */
export function packValues(
  f: FunctionBuilder,
  form: ProductForm,
  head: HeadRows,
  { scales, panels, panelBytes }: Readonly<Record<'scales' | 'panels' | 'panelBytes', Local<'i32'>>>,
): void {
  const [scaleAt, panel] = copies(f, scales, panels)
  eachMagnitudes(f, head, panelColumns, [walk(scaleAt, 4)], (magnitudes, _, column) => {
    const multipliers = magnitudes.map((magnitude, i) => {
      const scale = scaleOf(f, magnitude, highestCode.value)
      f.do(v128.store(scaleAt, scale, 16 * i))
      return f.local('v128', f32x4.div(f.floats(1), scale))
    })
    const [row, place, left] = copies(f, column, panel, head.rows)
    f.while(i32.gt_s(left, 0), () => {
      const rows = rowsFrom(f, row, head.stride, left, form.group)
      for (const [v, multiplier] of multipliers.entries()) {
        const codes = f.local(
          'v128',
          narrowed(
            form,
            rows.map((from) => codesOf(f, v128.load(from, 16 * v), multiplier)),
          ),
        )
        f.do(v128.store(place, i8x16.shuffle(codes, codes, unitsOfColumns(form)), 16 * v))
      }
      f.add(row, i32.mul(head.stride, form.group))
      f.add(place, 16 * multipliers.length)
      f.add(left, -form.group)
    })
    f.add(panel, panelBytes)
  })
}

/** Bytes of codes [keys, 4 columns] in the order [4 columns, keys]. */
function unitsOfColumns({ group, inputBytes }: ProductForm): number[] {
  return Array.from({ length: 16 }, (_, i) => {
    const [column, key, byte] = [Math.floor(i / 4), Math.floor((i % 4) / inputBytes), i % inputBytes]
    return inputBytes * ((4 * key + column) % (4 * group)) + byte
  })
}

/** What queries of a head are multiplied with for their codes; gives the exponents for a unit of their scores. */
export function scaleQueries(f: FunctionBuilder, head: HeadRows, factors: Local<'i32'>, multipliers: Local<'i32'>): Local<'f32'> {
  const most = f.local('v128', integers(0))
  const [factor] = copies(f, factors)
  eachMagnitudes(f, head, 16, [walk(factor, 4)], (magnitudes, count) => {
    for (const [i, magnitude] of magnitudes.entries())
      f.set(most, i32x4.max_s(most, firstLanes(f32x4.mul(magnitude, v128.load(factor, 16 * i)), count - 4 * i)))
  })
  const scale = f.local('f32', f32.div(f32.reinterpret_i32(largestLane(most)), highestCode.query))
  const scoreFactor = f.local('f32', select(f32.lt(scale, leastScoreFactor), f32.const(leastScoreFactor), scale))
  const inverse = f.local('v128', f32x4.splat(f32.div(1, scoreFactor)))
  const x = f.local('v128')
  const [from, to] = copies(f, factors, multipliers)
  eachChunk(f, head.columns, 4, [walk(from, 4), walk(to, 4)], (count) => {
    f.set(x, f32x4.mul(v128.load(from), inverse))
    f.do(...storeFloats(to, x, count))
  })
  return scoreFactor
}

/** Codes of a query's columns, and zeros (or the offset) up to a whole vector. */
export function packQuery(
  f: FunctionBuilder,
  form: ProductForm,
  size: number,
  query: Value<'i32'>,
  multipliers: Local<'i32'>,
  codes: Value<'i32'>,
): void {
  const [from, factor, to] = copies(f, query, multipliers, codes)
  eachChunk(f, size, 4 * form.group, [walk(from, 4), walk(factor, 4), walk(to, form.inputBytes)], (count) => {
    const vectors = Array.from({ length: form.group }, (_, i) =>
      4 * i < count ? firstLanes(codesOf(f, v128.load(from, 16 * i), v128.load(factor, 16 * i)), count - 4 * i) : integers(0),
    )
    const signed = narrowed(form, vectors)
    f.do(v128.store(to, isBytes(form) ? i8x16.add(signed, f.integers(queryOffset * 0x01010101)) : signed))
  })
}

/** Bytes of a query's codes. */
export function queryBytes(form: ProductForm, size: number): number {
  return 16 * Math.ceil(size / (4 * form.group))
}
