import type { Rotation, StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, i32, v128 } from '../values.js'
import { copies, eachChunk, eachRow, kernel, rowsOf, storeFloats, type WasmKernel, walk } from './kernel.js'

export function rotary(step: StepOf<'rotary'>, constants: Constants): WasmKernel {
  const { input, headSize, output } = step
  const heads = input.columns / headSize
  const words = {
    rows: { rows: 'token' },
    ...rowsOf('input', input),
    ...rowsOf('output', output),
    ...rotationWords(step, constants),
  } as const
  return kernel(`rotary ${heads} of ${headSize}${rotationName(step)}`, words, (f, w) =>
    rotateRows(f, { ...step, heads, headSize }, w, {
      rows: w.rows,
      numbers: w.numbers,
      from: w.input,
      fromStride: w.inputStride,
      to: w.output,
      toStride: w.outputStride,
    }),
  )
}

export type RotationWords = Readonly<Record<'numbers' | 'cos' | 'sin', Word>>

/** Where tokens have their numbers, and the tables of cosines and sines. */
export function rotationWords({ numbers, cos, sin }: Rotation, constants: Constants): RotationWords {
  return { numbers: { address: numbers }, cos: { constant: constants.of(cos) }, sin: { constant: constants.of(sin) } }
}

/** What the code of a rotation depends on, for the names of kernels. */
export function rotationName(rotation: Pick<Rotation, 'rotary' | 'interleaved'> | undefined): string {
  return rotation ? ` rotary ${rotation.rotary}${rotation.interleaved ? ' interleaved' : ''}` : ''
}

/** Heads side by side, whose first columns are rotated. */
export interface RotatedHeads extends Pick<Rotation, 'rotary' | 'interleaved'> {
  readonly heads: number
  readonly headSize: number
}

/** So many heads of an attention's queries or keys. */
export function rotatedHeads({ rotation, query, heads: all }: StepOf<'attention'>, heads: number): RotatedHeads | undefined {
  return rotation && { ...rotation, heads, headSize: query.columns / all }
}

/** Variables of a kernel, of which `cos` and `sin` are needed. */
type Tables = Readonly<Record<string, Local<'i32'>>>

/** Rotates heads of rows by their numbers; all pointers move along. */
export function rotateRows(
  f: FunctionBuilder,
  heads: RotatedHeads,
  tables: Tables,
  { rows, ...w }: Readonly<Record<'rows' | 'numbers' | 'from' | 'fromStride' | 'to' | 'toStride', Local<'i32'>>>,
): void {
  const four = f.local('i32', i32.const(4))
  eachRow(f, rows, [walk(w.numbers, four), walk(w.from, w.fromStride), walk(w.to, w.toStride)], () => rotateRow(f, heads, tables, w))
}

/** Rotates heads of a row by its number. */
export function rotateRow(
  f: FunctionBuilder,
  { heads, headSize, rotary, interleaved }: RotatedHeads,
  tables: Tables,
  row: Readonly<Record<'numbers' | 'from' | 'to', Local<'i32'>>>,
): void {
  const half = rotary / 2
  const place = f.local('i32', i32.mul(i32.load(row.numbers), 4 * half))
  const [from, to, left, cos, sin] = copies(f, row.from, row.to, i32.const(heads), tables.cos, tables.sin)
  const x = f.local('v128')
  f.while(left, () => {
    f.set(cos, i32.add(tables.cos, place))
    f.set(sin, i32.add(tables.sin, place))
    if (interleaved) turnNeighbours(f, half, { from, to, cos, sin })
    else turnHalves(f, half, { from, to, cos, sin })
    const [rest, target] = copies(f, i32.add(from, 4 * rotary), i32.add(to, 4 * rotary))
    eachChunk(f, headSize - rotary, 4, [walk(rest, 4), walk(target, 4)], (count) => {
      f.set(x, v128.load(rest))
      f.do(...storeFloats(target, x, count))
    })
    f.add(from, 4 * headSize)
    f.add(to, 4 * headSize)
    f.add(left, -1)
  })
}

type Turn = Readonly<Record<'from' | 'to' | 'cos' | 'sin', Local<'i32'>>>

function turnHalves(f: FunctionBuilder, half: number, { from, to, cos, sin }: Turn): void {
  const [a, b, first, second] = f.localsOf('v128', 4)
  const [read, write] = copies(f, from, to)
  eachChunk(f, half, 4, [walk(read, 4), walk(write, 4), walk(cos, 4), walk(sin, 4)], (count) => {
    f.set(a, v128.load(read))
    f.set(b, v128.load(read, 4 * half))
    f.set(first, f32x4.sub(f32x4.mul(a, v128.load(cos)), f32x4.mul(b, v128.load(sin))))
    f.set(second, f32x4.add(f32x4.mul(a, v128.load(sin)), f32x4.mul(b, v128.load(cos))))
    f.do(...storeFloats(write, first, count), ...storeFloats(write, second, count, 4 * half))
  })
}

function turnNeighbours(f: FunctionBuilder, half: number, { from, to, cos, sin }: Turn): void {
  const [a, b, c, s] = f.localsOf('f32', 4)
  const [read, write] = copies(f, from, to)
  eachChunk(f, half, 1, [walk(read, 8), walk(write, 8), walk(cos, 4), walk(sin, 4)], () => {
    f.set(a, f32.load(read))
    f.set(b, f32.load(read, 4))
    f.set(c, f32.load(cos))
    f.set(s, f32.load(sin))
    f.do(f32.store(write, f32.sub(f32.mul(a, c), f32.mul(b, s))), f32.store(write, f32.add(f32.mul(a, s), f32.mul(b, c)), 4))
  })
}
