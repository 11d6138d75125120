import type { CachePart } from '../../plan/plan.js'
import { roundUp, type StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import { smallestScale } from '../../reference/quantize.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, i8x16, i16x8, i32, i32x4, integers, select, v128 } from '../values.js'
import { copies, eachChunk, eachRow, firstLanes, kernel, largestLane, rowsOf, storeBytes, type WasmKernel, walk } from './kernel.js'
import { type RotationWords, rotatedHeads, rotateRow, rotationName } from './rotary.js'
import { eachSequence, sequenceTable } from './sequences.js'

/** Quantizes the rows of keys or values, rotated where `tables` are given, behind what lies in each sequence's cache, as cache-bytes.ts has them. */
export function appendCodes(step: StepOf<'attention'>, layer: number, part: CachePart, tables?: RotationWords): WasmKernel {
  const { key, value, keyValueHeads } = step
  const view = part === 'keys' ? key : value
  const { columns } = view
  const size = columns / keyValueHeads
  const words: Record<string, Word> = {
    ...sequenceTable,
    ...rowsOf('input', view),
    unit: { cache: { layer, part } },
    ...tables,
    ...(tables && { rotated: { scratch: 4 * roundUp(size, 16) } }),
  }
  const rotated = tables && rotatedHeads(step, 1)
  return kernel(`append int8 ${keyValueHeads}x${size}${rotationName(rotated)}`, words, (f, w) => {
    const [head, four] = [f.local('i32'), f.local('i32', i32.const(4))]
    const rowBytes = f.local('i32', i32.const(columns))
    eachSequence(f, w.table, w.sequences, ({ first, rows, past, cache, capacity }) => {
      const row = f.local('i32', i32.add(w.input, i32.mul(first, w.inputStride)))
      const start = f.local('i32', i32.add(cache, i32.mul(capacity, w.unit)))
      const codes = f.local('i32', i32.add(start, i32.mul(past, columns)))
      const scales = f.local('i32', i32.add(i32.add(start, i32.mul(capacity, columns)), i32.shl(past, 2)))
      const numbers = f.local('i32', rotated ? i32.add(w.numbers, i32.shl(first, 2)) : first)
      eachRow(f, rows, [walk(row, w.inputStride), walk(codes, rowBytes), walk(scales, four), walk(numbers, four)], () => {
        const [from, to, scale] = copies(f, row, codes, scales)
        f.set(head, i32.const(keyValueHeads))
        f.while(head, () => {
          if (rotated) rotateRow(f, rotated, w, { numbers, from, to: w.rotated })
          emitHead(f, size, rotated ? w.rotated : from, to, scale)
          f.add(from, 4 * size)
          f.add(to, size)
          f.add(scale, i32.shl(capacity, 2))
          f.add(head, -1)
        })
      })
    })
  })
}

/** Quantizes the columns of a head. */
function emitHead(f: FunctionBuilder, size: number, from: Local<'i32'>, to: Local<'i32'>, scale: Local<'i32'>): void {
  const [largest, x, inverse] = f.localsOf('v128', 3)
  const vectors = f.localsOf('v128', 4)
  f.set(largest, integers(0))
  const [read] = copies(f, from)
  eachChunk(f, size, 4, [walk(read, 4)], (count) => {
    // Without their signs, numbers are in the order of their bits; what is not finite comes last.
    f.set(x, firstLanes(v128.and(v128.load(read), integers(0x7fffffff)), count))
    f.set(largest, i32x4.max_s(largest, x))
  })
  const step = f.local('f32', f32.div(f32.reinterpret_i32(largestLane(largest)), 127))
  f.set(step, select(f32.lt(step, smallestScale), f32.const(1), step))
  f.do(f32.store(scale, step))
  f.set(inverse, f32x4.splat(f32.div(f32.const(1), step)))
  const [again, codes] = copies(f, from, to)
  eachChunk(f, size, 16, [walk(again, 4), walk(codes, 1)], (count) => {
    for (const [i, vector] of vectors.entries())
      f.set(vector, i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(again, 16 * i), inverse))))
    const [a, b, c, d] = vectors
    f.set(x, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)))
    f.do(...storeBytes(codes, x, count))
  })
}
