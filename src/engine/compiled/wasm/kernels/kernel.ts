import type { Buffer, View } from '../../plan/steps.js'
import type { StepKernel, Word } from '../../program.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import type { WasmFeatures } from '../module.js'
import { f32, f32x4, i32, i32x4, integers, type Statement, select, type Value, v128 } from '../values.js'

/** Writes the body of a kernel: a function of one parameter, the address of its words. */
export type KernelCode = (f: FunctionBuilder) => void

export type WasmKernel = StepKernel<KernelCode>

/** What rules know beside their step. */
export interface RuleContext {
  readonly features: WasmFeatures
  /** Most threads that share the work of a kernel. */
  readonly threads: number
  readonly constants: Constants
  /** The highest code in a buffer, by the step that writes it. */
  readonly highest: ReadonlyMap<Buffer, number>
}

export type Vector = Value<'v128'>
export type Address = Value<'i32'>

/** A kernel that gets its words, 32 bits each, as variables of the same names. */
export function kernel<Name extends string>(
  key: string,
  words: Readonly<Record<Name, Word>>,
  body: (f: FunctionBuilder, words: Readonly<Record<Name, Local<'i32'>>>) => void,
): WasmKernel {
  const names = Object.keys(words) as Name[]
  const code: KernelCode = (f) => {
    const block = f.parameters[0] as Local<'i32'>
    const locals = names.map((name, i) => [name, f.local('i32', i32.load(block, 4 * i))] as const)
    body(f, Object.fromEntries(locals) as Record<Name, Local<'i32'>>)
  }
  return { key, code: () => code, words: names.map((name) => words[name]) }
}

/** The words of a view whose rows a kernel walks along. */
export function rowsOf<Name extends string>(name: Name, view: View) {
  return { [name]: { address: view }, [`${name}Stride`]: { stride: view } } as Record<Name | `${Name}Stride`, Word>
}

/** A pointer, and how far it moves from one row, or from one column, to the next. */
export type Walk<Step> = readonly [pointer: Local<'i32'>, step: Step]

export const walk = <Step>(pointer: Local<'i32'>, step: Step): Walk<Step> => [pointer, step]

/** Runs the body for each row; the pointers move along. */
export function eachRow(f: FunctionBuilder, rows: Local<'i32'>, pointers: readonly Walk<Local<'i32'>>[], body: () => void): void {
  const left = f.local('i32', rows)
  f.while(left, () => {
    body()
    for (const [pointer, stride] of pointers) f.add(pointer, stride)
    f.add(left, -1)
  })
}

/** Runs the body for `width` columns at a time, then for the rest; the pointers, bytes a column, move along. */
export function eachChunk(
  f: FunctionBuilder,
  columns: number,
  width: number,
  pointers: readonly Walk<number>[],
  body: (count: number) => void,
): void {
  const whole = Math.floor(columns / width)
  const advance = () => {
    for (const [pointer, bytes] of pointers) f.add(pointer, width * bytes)
  }
  if (whole) {
    const left = f.local('i32', i32.const(whole))
    f.loop((again) => {
      body(width)
      advance()
      f.add(left, -1)
      again(left)
    })
  }
  if (columns % width) body(columns % width)
}

/** Copies of pointers, to walk along a row. */
export function copies(f: FunctionBuilder, ...pointers: readonly Address[]): Local<'i32'>[] {
  return pointers.map((pointer) => f.local('i32', pointer))
}

/** Writes the first `count` floats of a vector. */
export function storeFloats(address: Address, value: Local<'v128'>, count: number, offset = 0): Statement[] {
  if (count >= 4) return [v128.store(address, value, offset)]
  const pair = count & 2 ? [v128.store64_lane(address, value, offset, 0)] : []
  return count & 1 ? [...pair, v128.store32_lane(address, value, offset + 4 * (count - 1), count - 1)] : pair
}

/** Writes the first `count` bytes of a vector. */
export function storeBytes(address: Address, value: Local<'v128'>, count: number, offset = 0): Statement[] {
  if (count >= 16) return [v128.store(address, value, offset)]
  const statements: Statement[] = []
  let at = 0
  if (count & 8) statements.push(v128.store64_lane(address, value, offset + at, 0))
  at += count & 8
  if (count & 4) statements.push(v128.store32_lane(address, value, offset + at, at / 4))
  at += count & 4
  if (count & 2) statements.push(v128.store16_lane(address, value, offset + at, at / 2))
  at += count & 2
  if (count & 1) statements.push(v128.store8_lane(address, value, offset + at, at))
  return statements
}

/** The first `count` lanes of a vector, and zeros. */
export function firstLanes(value: Vector, count: number): Vector {
  return count >= 4 ? value : v128.and(value, integers(...[0, 1, 2, 3].map((lane) => (lane < count ? -1 : 0))))
}

/** Four floats as one, two at a time. */
export function reduce(
  f: FunctionBuilder,
  vector: Local<'v128'>,
  combine: (a: Value<'f32'>, b: Value<'f32'>) => Value<'f32'>,
): Local<'f32'> {
  const lane = (i: number) => f32x4.extract_lane(vector, i)
  return f.local('f32', combine(combine(lane(0), lane(2)), combine(lane(1), lane(3))))
}

/** The largest of four integers. */
export function largestLane(vector: Local<'v128'>): Address {
  const lane = (i: number) => i32x4.extract_lane(vector, i)
  return larger(larger(lane(0), lane(2)), larger(lane(1), lane(3)))
}

/** The float32 whose bits a word holds. */
export function floatOf(word: Local<'i32'>): Value<'f32'> {
  return f32.reinterpret_i32(word)
}

export const smaller = (a: Address, b: Address): Address => select(i32.lt_s(a, b), a, b)
export const larger = (a: Address, b: Address): Address => select(i32.gt_s(a, b), a, b)
