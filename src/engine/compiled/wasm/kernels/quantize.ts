import type { Quantizer, StaticQuantizer, StepOf, View } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import { smallestScale } from '../../reference/quantize.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, floats, i8x16, i16x8, i32, i32x4, select, type Value, v128 } from '../values.js'
import {
  copies,
  eachChunk,
  eachRow,
  firstLanes,
  floatOf,
  kernel,
  reduce,
  rowsOf,
  storeBytes,
  type Vector,
  type Walk,
  type WasmKernel,
  walk,
} from './kernel.js'

/** Added to a float that is not too large, it leaves that one's nearest integer, halves to even, in the lowest bits. */
const rounding = 1.5 * 2 ** 23
const roundingBits = new Int32Array(Float32Array.of(rounding).buffer)[0]
const largestRounded = 2 ** 21

/** The nearest integers, halves to even, of numbers below 2^22. */
export function nearestIntegers(f: FunctionBuilder, x: Vector): Vector {
  return i32x4.sub(f32x4.add(x, f.floats(rounding)), f.integers(roundingBits))
}

/** What `codesOfFloats` takes off for a zero point. */
export function codeOffset(zeroPoint: number): number {
  return roundingBits - zeroPoint
}

/**
 * Rounds up to 16 numbers in units of the scale, moves them by the zero point, clamps them and leaves the codes in the first vector; NaN becomes 0.
 *
 * @param offsets for each vector: `codeOffset` of the zero point
 */
export function codesOfFloats(f: FunctionBuilder, vectors: readonly Local<'v128'>[], offsets: readonly Vector[], highest: 127 | 255): void {
  for (const [i, x] of vectors.entries()) {
    f.set(x, f32x4.pmin(f.floats(largestRounded), f32x4.pmax(f.floats(-largestRounded), x)))
    f.set(x, i32x4.sub(f32x4.add(x, f.floats(rounding)), offsets[i]))
  }
  const [a, b, c, d] = [0, 1, 2, 3].map((i) => vectors[i] ?? vectors[0])
  const codes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d))
  f.set(a, highest === 127 ? i8x16.min_u(codes, f.integers(0x7f7f7f7f)) : codes)
}

/** What numbers are multiplied with for the codes of a quantizer. */
export function multipliersOf({ factors, quantization: { scale } }: StaticQuantizer, columns: number, constants: Constants): Float32Array {
  if (!factors) return new Float32Array(columns).fill(1 / scale)
  return Float32Array.from(constants.elements(factors) as Float32Array, (x) => x / scale)
}

/** Turns rows of floats into codes. */
export function quantize(step: StepOf<'quantize'>, constants: Constants, input: RowWords = rowsOf('input', step.input)): WasmKernel {
  const codes = codesOfRows(step, step.output, constants)
  const words: Record<string, Word> = { rows: { rows: step.output.buffer.per }, ...input, ...codes.words }
  return kernel(`quantize ${codes.key}`, words, (f, w) => {
    const row = codes.begin(f, w)
    eachRow(f, w.rows, [walk(w.input, w.inputStride), ...row.walks], () => row.emit(w.input))
  })
}

type Words = Readonly<Record<string, Local<'i32'>>>
type RowWords = Readonly<Record<'input' | 'inputStride', Word>>

/** The part of a kernel that turns rows of floats into codes. */
export interface CodesOfRows {
  readonly key: string
  readonly words: Readonly<Record<string, Word>>
  /** In front of the loop over rows: what moves along, and the code for a row that lies somewhere. */
  begin(f: FunctionBuilder, w: Words): { readonly walks: readonly Walk<Local<'i32'>>[]; readonly emit: (row: Local<'i32'>) => void }
}

export function codesOfRows({ factors, quantization, highest }: Quantizer, output: View, constants: Constants): CodesOfRows {
  const { columns } = output
  const [key, words] = [`${columns} to ${highest}${factors ? ' factors' : ''}`, rowsOf('codes', output)]
  if (quantization.kind === 'static') {
    const { scale, zeroPoint } = quantization
    const multiplier: Record<string, Word> = factors
      ? { factors: { constant: constants.made([factors], `over ${scale}`, ([values]) => Float32Array.from(values, (x) => x / scale)) } }
      : { inverse: { float: 1 / scale } }
    return {
      key: `static ${key}`,
      words: { ...words, offset: codeOffset(zeroPoint), ...multiplier },
      begin(f, w) {
        const [offset, inverse] = [f.local('v128', i32x4.splat(w.offset)), f.local('v128')]
        if (!factors) f.set(inverse, f32x4.splat(floatOf(w.inverse)))
        const emit = (row: Local<'i32'>) => {
          const [from, to, factor] = copies(f, row, w.codes, w.factors ?? row)
          const multiplied = (at: number) => f32x4.mul(v128.load(from, at), factors ? v128.load(factor, at) : inverse)
          emitCodes(f, { columns, from, to, factor, offset, highest, multiplied })
        }
        return { walks: [walk(w.codes, w.codesStride)], emit }
      },
    }
  }
  return {
    key: `rows ${key}`,
    words: { ...words, ...rowsOf('parameters', quantization.parameters), ...(factors && { factors: { constant: constants.of(factors) } }) },
    begin(f, w) {
      const [inverse, offset] = f.localsOf('v128', 2)
      const scaled = (from: Local<'i32'>, factor: Local<'i32'>, at: number) =>
        factors ? f32x4.mul(v128.load(from, at), v128.load(factor, at)) : v128.load(from, at)
      const emit = (row: Local<'i32'>) => {
        const [low, high] = emitRange(f, columns, row, w.factors ?? row, scaled)
        const scale = f.local('f32', f32.div(f32.sub(high, low), highest))
        f.set(scale, select(f32.ge(scale, smallestScale), scale, f32.const(1)))
        const reciprocal = f.local('f32', f32.div(f32.const(1), scale))
        const zeroPoint = f.local('f32', f32.nearest(f32.mul(f32.neg(low), reciprocal)))
        f.do(f32.store(w.parameters, scale), f32.store(w.parameters, f32.neg(zeroPoint), 4))
        // A zero point that is no number shall make all codes 0, though integers know nothing of it.
        f.set(inverse, f32x4.splat(f32.add(reciprocal, f32.mul(zeroPoint, 0))))
        f.set(offset, i32x4.splat(i32.sub(roundingBits, i32.trunc_sat_f32_s(zeroPoint))))
        const [from, to, factor] = copies(f, row, w.codes, w.factors ?? row)
        const multiplied = (at: number) => f32x4.mul(scaled(from, factor, at), inverse)
        emitCodes(f, { columns, from, to, factor, offset, highest, multiplied })
      }
      return { walks: [walk(w.codes, w.codesStride), walk(w.parameters, w.parametersStride)], emit }
    },
  }
}

interface RowOfCodes {
  readonly columns: number
  readonly from: Local<'i32'>
  readonly to: Local<'i32'>
  readonly factor: Local<'i32'>
  readonly offset: Local<'v128'>
  readonly highest: 127 | 255
  /** Four numbers, in units of the scale. */
  readonly multiplied: (at: number) => Vector
}

function emitCodes(f: FunctionBuilder, { columns, from, to, factor, offset, highest, multiplied }: RowOfCodes): void {
  const codes = f.localsOf('v128', 4)
  eachChunk(f, columns, 16, [walk(from, 4), walk(to, 1), walk(factor, 4)], (count) => {
    const used = codes.slice(0, Math.ceil(count / 4))
    for (const [i, code] of used.entries()) f.set(code, multiplied(16 * i))
    codesOfFloats(
      f,
      used,
      used.map(() => offset),
      highest,
    )
    f.do(...storeBytes(to, codes[0], count))
  })
}

type Scaled = (from: Local<'i32'>, factor: Local<'i32'>, offset: number) => Vector

/** The smallest and the largest number of a row, with 0 among them. */
function emitRange(
  f: FunctionBuilder,
  columns: number,
  row: Value<'i32'>,
  factors: Value<'i32'>,
  scaled: Scaled,
): [Local<'f32'>, Local<'f32'>] {
  const [low, high, none, x] = f.localsOf('v128', 4)
  for (const local of [low, high, none]) f.set(local, floats(0))
  const [from, factor] = copies(f, row, factors)
  eachChunk(f, columns, 4, [walk(from, 4), walk(factor, 4)], (count) => {
    f.set(x, firstLanes(scaled(from, factor, 0), count))
    f.set(low, f32x4.pmin(low, x))
    f.set(high, f32x4.pmax(high, x))
    f.set(none, v128.or(none, f32x4.ne(x, x)))
  })
  // Minimum and maximum pass over what is no number; then nothing shall be one.
  f.if(v128.any_true(none), () => f.set(low, none))
  return [reduce(f, low, f32.min), reduce(f, high, f32.max)]
}
