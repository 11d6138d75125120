import type { StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import { smallestScale } from '../../reference/quantize.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, floats, i8x16, i16x8, i32x4, select, type Value, v128 } from '../values.js'
import {
  copies,
  eachChunk,
  eachRow,
  firstLanes,
  floatOf,
  kernel,
  reduce,
  storeBytes,
  type Vector,
  type WasmKernel,
  walk,
} from './kernel.js'
import { rowsOf } from './rows.js'

/** Added to a float that is a small whole number, it leaves that one in the lowest bits. */
const integral = 2 ** 23
const integralBits = new Int32Array(Float32Array.of(integral).buffer)[0]

/** Turns rows of floats into codes. */
export function quantize(step: StepOf<'quantize'>, constants: Constants): WasmKernel {
  return step.quantization.kind === 'static' ? quantizeStatic(step, constants) : quantizeRows(step, constants)
}

function quantizeStatic(step: StepOf<'quantize'>, constants: Constants): WasmKernel {
  const { input, factors, quantization, highest, output } = step
  if (quantization.kind !== 'static') throw new Error('Only static quantization has its scale in the plan')
  const { scale, zeroPoint } = quantization
  const words: Record<string, Word> = {
    rows: { rows: input.buffer.per },
    ...rowsOf('input', input),
    ...rowsOf('output', output),
    zeroPoint: { float: zeroPoint },
    ...(factors
      ? { factors: { constant: constants.made([factors], `over ${scale}`, ([values]) => Float32Array.from(values, (x) => x / scale)) } }
      : { inverse: { float: 1 / scale } }),
  }
  return kernel(`quantize static ${input.columns} ${highest}${factors ? ' factors' : ''}`, words, (f, w) => {
    const zero = f.local('v128', f32x4.splat(floatOf(w.zeroPoint)))
    const inverse = f.local('v128')
    if (!factors) f.set(inverse, f32x4.splat(floatOf(w.inverse)))
    eachRow(f, w.rows, [walk(w.input, w.inputStride), walk(w.output, w.outputStride)], () => {
      const [from, to, factor] = copies(f, w.input, w.output, w.factors ?? w.input)
      const multiplied = (offset: number) => f32x4.mul(v128.load(from, offset), factors ? v128.load(factor, offset) : inverse)
      emitCodes(f, { columns: input.columns, from, to, factor, zero, highest, multiplied })
    })
  })
}

interface CodesOf {
  readonly columns: number
  readonly from: Local<'i32'>
  readonly to: Local<'i32'>
  readonly factor: Local<'i32'>
  readonly zero: Local<'v128'>
  readonly highest: number
  /** Four numbers, in units of the scale. */
  readonly multiplied: (offset: number) => Vector
}

/** Rounds, moves by the zero point and clamps a row; NaN becomes 0. */
function emitCodes(f: FunctionBuilder, { columns, from, to, factor, zero, highest, multiplied }: CodesOf): void {
  const codes = f.localsOf('v128', 4)
  eachChunk(f, columns, 16, [walk(from, 4), walk(to, 1), walk(factor, 4)], (count) => {
    const used = codes.slice(0, Math.ceil(count / 4))
    for (const [i, code] of used.entries()) {
      f.set(code, f32x4.add(f32x4.nearest(multiplied(16 * i)), zero))
      f.set(code, f32x4.pmin(f.floats(highest), f32x4.pmax(f.floats(0), code)))
      f.set(code, i32x4.sub(f32x4.add(code, f.floats(integral)), f.integers(integralBits)))
    }
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => used[i] ?? used[0])
    f.set(codes[0], i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)))
    f.do(...storeBytes(to, codes[0], count))
  })
}

function quantizeRows(step: StepOf<'quantize'>, constants: Constants): WasmKernel {
  const { input, factors, quantization, highest, output } = step
  if (quantization.kind !== 'rows') throw new Error('A plan with a scale does not look for one in each row')
  const words: Record<string, Word> = {
    rows: { rows: input.buffer.per },
    ...rowsOf('input', input),
    ...rowsOf('output', output),
    ...rowsOf('parameters', quantization.parameters),
    ...(factors && { factors: { constant: constants.of(factors) } }),
  }
  return kernel(`quantize rows ${input.columns} ${highest}${factors ? ' factors' : ''}`, words, (f, w) => {
    const [inverse, zero] = f.localsOf('v128', 2)
    const walks = [walk(w.input, w.inputStride), walk(w.output, w.outputStride), walk(w.parameters, w.parametersStride)] as const
    eachRow(f, w.rows, walks, () => {
      const scaled = (from: Local<'i32'>, factor: Local<'i32'>, offset: number) =>
        factors ? f32x4.mul(v128.load(from, offset), v128.load(factor, offset)) : v128.load(from, offset)
      const [low, high] = emitRange(f, input.columns, w.input, w.factors ?? w.input, scaled)
      const scale = f.local('f32', f32.div(f32.sub(high, low), highest))
      f.set(scale, select(f32.ge(scale, smallestScale), scale, f32.const(1)))
      const reciprocal = f.local('f32', f32.div(f32.const(1), scale))
      const zeroPoint = f.local('f32', f32.nearest(f32.mul(f32.neg(low), reciprocal)))
      f.do(f32.store(w.parameters, scale), f32.store(w.parameters, f32.neg(zeroPoint), 4))
      f.set(inverse, f32x4.splat(reciprocal))
      f.set(zero, f32x4.splat(zeroPoint))
      const [from, to, factor] = copies(f, w.input, w.output, w.factors ?? w.input)
      const multiplied = (offset: number) => f32x4.mul(scaled(from, factor, offset), inverse)
      emitCodes(f, { columns: input.columns, from, to, factor, zero, highest, multiplied })
    })
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
