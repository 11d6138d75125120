import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, floats, i32, i32x4, type Value, v128 } from '../values.js'
import { multiplyAdd } from './functions.js'
import { copies, firstLanes, reduce, storeFloats, type Vector } from './kernel.js'

/** Keys or values of a head, one behind the other: floats, or codes with a scale for each key; and bytes from one to the next. */
export interface HeadRows {
  readonly from: Value<'i32'>
  readonly scales?: Value<'i32'>
  readonly stride: Local<'i32'>
  readonly keys: Local<'i32'>
  /** Columns of the head. */
  readonly size: number
}

/** Scores of the heads that share keys, a row each. */
export interface Scores {
  readonly scores: Value<'i32'>
  readonly rowBytes: number
  readonly group: number
}

/** Columns that are read at a time. */
const width = 8

/** Up to eight columns of a row, codes without their scale; behind the last column zeros. */
function columnsFrom(f: FunctionBuilder, row: Local<'i32'>, first: number, { size, scales }: HeadRows): Local<'v128'>[] {
  const vectors = [0, 4].slice(0, Math.ceil((size - first) / 4))
  const words = scales && f.local('v128', v128.load8x8_s(row, first))
  const read = (at: number) =>
    words
      ? f32x4.convert_i32x4_s(at ? i32x4.extend_high_i16x8_s(words) : i32x4.extend_low_i16x8_s(words))
      : v128.load(row, 4 * (first + at))
  return vectors.map((at) => f.local('v128', firstLanes(read(at), size - first - at)))
}

/** The products of one query's heads [group, size] with keys. */
export function scoresOfKeys(f: FunctionBuilder, query: Local<'i32'>, rows: HeadRows, { scores, rowBytes, group }: Scores): void {
  const [row, scale, target, left] = copies(f, rows.from, rows.scales ?? rows.from, scores, rows.keys)
  const sums = f.localsOf('v128', group)
  f.while(left, () => {
    for (const sum of sums) f.set(sum, floats(0))
    for (let first = 0; first < rows.size; first += width)
      for (const [i, x] of columnsFrom(f, row, first, rows).entries())
        for (const [member, sum] of sums.entries())
          f.set(
            sum,
            multiplyAdd(f, x, firstLanes(v128.load(query, 4 * (member * rows.size + first + 4 * i)), rows.size - first - 4 * i), sum),
          )
    for (const [member, sum] of sums.entries()) {
      const score = reduce(f, sum, f32.add)
      f.do(f32.store(target, rows.scales ? f32.mul(score, f32.load(scale)) : score, member * rowBytes))
    }
    f.add(row, rows.stride)
    f.add(scale, 4)
    f.add(target, 4)
    f.add(left, -1)
  })
}

/** Adds the values, weighed by the scores, to the outputs [group, size]; the scores become those of codes. */
export function addValues(f: FunctionBuilder, output: Local<'i32'>, rows: HeadRows, { scores, rowBytes, group }: Scores): void {
  const x = f.local('v128')
  const [start, end, scale] = copies(f, scores, i32.add(scores, i32.shl(rows.keys, 2)), rows.scales ?? scores)
  const at = f.local('i32', start)
  const members = Array.from({ length: group }, (_, member) => member * rowBytes)
  if (rows.scales) {
    f.for(at, end, 16, () => {
      f.set(x, v128.load(scale))
      for (const place of members) f.do(v128.store(at, f32x4.mul(x, v128.load(at, place)), place))
      f.add(scale, 16)
    })
  }
  for (let first = 0; first < rows.size; first += width) {
    const columns = Math.min(width, rows.size - first)
    const vectors = Array.from({ length: Math.ceil(columns / 4) }, (_, i) => first + 4 * i)
    const offset = (member: number, column: number) => 4 * (member * rows.size + column)
    const sums = members.map((_, member) => vectors.map((column) => f.local('v128', v128.load(output, offset(member, column)))))
    const [row] = copies(f, rows.from)
    f.set(at, start)
    f.for(at, end, 4, () => {
      const codes: Vector[] = columnsFrom(f, row, first, rows)
      for (const [member, place] of members.entries()) {
        f.set(x, v128.load32_splat(at, place))
        for (const [i, sum] of sums[member].entries()) f.set(sum, multiplyAdd(f, codes[i], x, sum))
      }
      f.add(row, rows.stride)
    })
    for (const [member, own] of sums.entries())
      for (const [i, sum] of own.entries())
        f.do(...storeFloats(output, sum, Math.min(4, rows.size - vectors[i]), offset(member, vectors[i])))
  }
}
