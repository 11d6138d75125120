import { roundUp, type StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, floats, i32, v128 } from '../values.js'
import { exponential } from './functions.js'
import { copies, eachChunk, kernel, larger, reduce, rowsOf, smaller, storeFloats, type Vector, type WasmKernel, walk } from './kernel.js'
import { eachSequence, sequenceTable } from './sequences.js'

/** Ranges of the keys of one query, which threads share; as many as a vector has lanes. What does not depend on the threads, results do not either. */
export const rangeCount = 4

/** Keys of a range are so many, or a multiple. */
const rangeKeys = 8

/** Bytes of a query's state: the largest score so far, and the sum of powers relative to it. */
export const state = { highest: 0, sum: 4, bytes: 8 } as const

/** What one query leaves of a range: of each head the sum of its values, and its state. */
export function rangeLayout(heads: number, valueSize: number) {
  const states = 4 * heads * valueSize
  return { states, bytes: roundUp(states + state.bytes * heads, 64) }
}

/** The memory for the sums of all ranges of each sequence. */
export function rangesWord(heads: number, valueSize: number): Word {
  return { scratch: rangeCount * rangeLayout(heads, valueSize).bytes, per: 'sequence', shared: true }
}

/** Leaves of the keys from `start` to `end` those of a range. */
export function emitRangeOfKeys(f: FunctionBuilder, range: Local<'i32'>, start: Local<'i32'>, end: Local<'i32'>): void {
  const share = i32.div_u(i32.add(i32.sub(end, start), rangeCount - 1), i32.const(rangeCount))
  const keys = f.local('i32', i32.and(i32.add(share, rangeKeys - 1), -rangeKeys))
  f.add(start, i32.mul(range, keys))
  f.set(end, smaller(i32.add(start, keys), end))
  f.set(end, larger(end, start))
}

/**
 * Puts together the sums of all ranges of each sequence with one query, and divides by those of the weights; threads share the heads.
 *
 * Source: Dao et al., Flash-Decoding for long-context inference (2023).
 */
export function joinRanges({ heads, keyValueHeads, value, output }: StepOf<'attention'>, ranges: Word): WasmKernel {
  const valueSize = value.columns / keyValueHeads
  const layout = rangeLayout(heads, valueSize)
  const wordsOf = (firstHead: number, endHead: number) => ({ ...sequenceTable, ...rowsOf('output', output), ranges, firstHead, endHead })
  const split = (part: number, parts: number) => {
    const [first, end] = [part, part + 1].map((one) => Math.floor((one * heads) / parts))
    return end > first ? Object.values(wordsOf(first, end)) : null
  }
  const whole = kernel(`attention-ranges ${heads} of ${valueSize}`, wordsOf(0, heads), (f, w) => {
    const [x, weights, largest] = f.localsOf('v128', 3)
    const head = f.local('i32')
    eachSequence(f, w.table, w.sequences, ({ first, rows }) => {
      f.if(i32.eq(rows, 1), () => {
        const to = f.local('i32', i32.add(i32.add(w.output, i32.mul(first, w.outputStride)), i32.mul(w.firstHead, 4 * valueSize)))
        f.set(head, w.firstHead)
        f.for(head, w.endHead, 1, () => {
          const states = f.local('i32', i32.add(i32.add(w.ranges, layout.states), i32.mul(head, state.bytes)))
          const ofRanges = (place: number) => {
            let lanes: Vector = floats(0)
            for (let range = 0; range < rangeCount; range++)
              lanes = f32x4.replace_lane(lanes, f32.load(states, range * layout.bytes + place), range)
            return lanes
          }
          f.set(weights, ofRanges(state.highest))
          f.set(largest, f32x4.splat(reduce(f, weights, f32.max)))
          f.set(weights, exponential(f, f32x4.sub(weights, largest)))
          f.set(x, f32x4.mul(weights, ofRanges(state.sum)))
          f.set(weights, f32x4.div(weights, f32x4.splat(reduce(f, x, f32.add))))
          const factors = Array.from({ length: rangeCount }, (_, range) => f.local('v128', f32x4.splat(f32x4.extract_lane(weights, range))))
          const [from, target] = copies(f, i32.add(w.ranges, i32.mul(head, 4 * valueSize)), to)
          eachChunk(f, valueSize, 4, [walk(from, 4), walk(target, 4)], (count) => {
            const products = factors.map((factor, range) => f32x4.mul(v128.load(from, range * layout.bytes), factor))
            f.set(
              x,
              products.reduce((sum, product) => f32x4.add(sum, product)),
            )
            f.do(...storeFloats(target, x, count))
          })
          f.add(to, 4 * valueSize)
        })
      })
      f.add(w.ranges, rangeCount * layout.bytes)
    })
  })
  return { ...whole, split }
}
