import type { ActivationFunction } from '../../plan/steps.js'
import type { FunctionBuilder, FunctionReference, Local } from '../function.js'
import type { ModuleBuilder, WasmFeatures } from '../module.js'
import { f32, f32x4, i32, i32x4, integers, v128 } from '../values.js'
import { emitCoupledProducts } from './coupled-groups.js'
import { activationFunctions, addDot, coarseFunctions, multiplyAdd } from './functions.js'
import { storeBytes, storeFloats, type Vector } from './kernel.js'
import { codesOfFloats } from './quantize.js'

/** How sums of products are made: the widths of a tile, and one step along the inputs. */
export interface ProductForm {
  readonly name: 'float32' | 'bytes' | 'single bytes' | 'words' | 'word pairs'
  /** Rows and vectors of four columns of a tile: as many sums as the registers of x64 hold beside what they are made from. */
  readonly rows: number
  readonly vectors: number
  /** Inputs that one step takes, and bytes that an input has in an activation and in a weight. */
  readonly group: number
  readonly inputBytes: number
  readonly weightBytes: number
  /** Whether panels say in which order groups are taken, with couples whose products add up in 16 bits. */
  readonly coupled?: boolean
  /** The weights of a step for four columns. */
  load(address: Local<'i32'>, offset: number): Vector
  multiply(f: FunctionBuilder, activations: Vector, weights: Vector, sum: Local<'v128'>): Vector
}

/** Steps that one turn of the loop takes. */
const unrolled = 4

const bytesForm = {
  name: 'bytes',
  rows: 2,
  group: 4,
  inputBytes: 1,
  weightBytes: 1,
  load: v128.load,
  multiply: (f, activations, weights, sum) => addDot(f, weights, activations, sum),
} as const satisfies Partial<ProductForm>

const wordsForm = {
  name: 'words',
  rows: 2,
  vectors: 4,
  group: 2,
  inputBytes: 2,
  weightBytes: 1,
  load: v128.load8x8_s,
  multiply: (_, activations, weights, sum) => i32x4.add(sum, i32x4.dot_i16x8_s(weights, activations)),
} as const satisfies ProductForm

export const productForms = {
  float32: {
    name: 'float32',
    rows: 2,
    vectors: 6,
    group: 1,
    inputBytes: 4,
    weightBytes: 4,
    load: v128.load,
    multiply: (f, activations, weights, sum) => multiplyAdd(f, activations, weights, sum),
  },
  /** Where products are added up on their way, a register more is needed than where one instruction does all. */
  bytes: {
    pairs: { ...bytesForm, vectors: 4, coupled: true },
    quads: { ...bytesForm, vectors: 6 },
  },
  words: wordsForm,
  /** Both sides are codes that the kernel makes, those of one have 7 bits; by `WasmFeatures.dot`. */
  attention: {
    none: { ...wordsForm, name: 'word pairs', weightBytes: 2, load: v128.load },
    pairs: { ...bytesForm, name: 'single bytes', vectors: 4 },
    quads: { ...bytesForm, vectors: 4 },
  },
} as const satisfies Record<string, ProductForm | Record<string, ProductForm>>

/**
 * How codes of up to `highest` are multiplied with these weights: as bytes where that is exact.
 *
 * @param pairsFit whether two products side by side are sure to fit in 16 bits
 */
export function codeForm({ dot, largestCode, pairBits }: WasmFeatures, highest: number, pairsFit: () => boolean): ProductForm {
  const exact = dot !== 'none' && highest <= largestCode && (pairBits === 32 || pairsFit())
  return exact ? productForms.bytes[dot] : productForms.words
}

/**
 * What follows the sums. They begin with a bias, but for `bare`. Sums of codes are multiplied with the scales of columns; with `rows`, scale and
 * offset of rows take part. With `codes`, the highest one, results are written as codes.
 */
export interface Epilogue {
  readonly scale: 'bare' | 'none' | 'columns' | 'rows'
  readonly activation?: ActivationFunction
  /** Whether the activation may be off by `coarseError`. */
  readonly coarse?: boolean
  readonly residual: boolean
  readonly codes?: 127 | 255
}

/** Vectors of a panel's header in front of its weights, each so many times as the panel has vectors. */
const headerParts = { bare: [], none: ['start'], columns: ['start', 'scale', 'bias'], rows: ['sums', 'scale', 'bias'] } as const

/** More such vectors, where codes are written: what results are multiplied with, and `codeOffset` of the zero point. */
const codeParts = ['factor', 'offset'] as const

function partsOf({ scale, codes }: Epilogue): readonly string[] {
  return [...headerParts[scale], ...(codes ? codeParts : [])]
}

/** Bytes of scale and offset of a row. */
const rowParameters = { scale: 0, offset: 4 } as const

export interface Tile {
  readonly form: ProductForm
  readonly epilogue: Epilogue
  readonly rows: number
  /** Columns that are written; the last vector may be partly filled. */
  readonly columns: number
}

const tileParameters = [
  'groups',
  'input',
  'inputStride',
  'panel',
  'output',
  'outputStride',
  'residual',
  'residualStride',
  'row',
  'rowStride',
] as const
export type TileArguments = Readonly<Record<(typeof tileParameters)[number], Local<'i32'>>>

/** What a tile gets that has neither a residual nor anything of its rows. */
export function noEpilogueArguments(f: FunctionBuilder): Pick<TileArguments, 'residual' | 'residualStride' | 'row' | 'rowStride'> {
  const zero = f.local('i32', i32.const(0))
  return { residual: zero, residualStride: zero, row: zero, rowStride: zero }
}

/** Calls the function for a tile: `groups` steps along the inputs, then the epilogue. */
export function callTile(f: FunctionBuilder, tile: Tile, given: TileArguments): void {
  f.do(
    f.call(
      tileFunction(f.module, tile),
      tileParameters.map((name) => given[name]),
    ),
  )
}

function tileFunction(module: ModuleBuilder, tile: Tile): FunctionReference {
  const { form, epilogue, rows, columns } = tile
  const key = `tile ${form.name} ${rows}x${columns} ${epilogueName(epilogue)}`
  const types = tileParameters.map(() => 'i32' as const)
  return module.function(key, types, [], (f) => {
    const locals = Object.fromEntries(tileParameters.map((name, i) => [name, f.parameters[i]])) as TileArguments
    emitTile(f, tile, locals)
  })
}

/** Equal names stand for equal epilogues. */
export function epilogueName({ scale, activation, coarse, residual, codes }: Epilogue): string {
  return [scale, coarse ? 'coarse' : '', activation, residual ? 'residual' : '', codes ? `codes to ${codes}` : ''].filter(Boolean).join(' ')
}

function emitTile(f: FunctionBuilder, { form, epilogue, rows, columns }: Tile, t: TileArguments): void {
  const vectors = Math.ceil(columns / 4)
  const parts = partsOf(epilogue)
  const header = (part: string, v: number) => v128.load(t.panel, 16 * (parts.indexOf(part) * vectors + v))
  const sums = Array.from({ length: rows }, () => f.localsOf('v128', vectors))
  for (const row of sums) for (const [v, sum] of row.entries()) f.set(sum, parts.includes('start') ? header('start', v) : integers(0))
  const weights = f.local('i32', i32.add(t.panel, 16 * vectors * parts.length))
  emitProducts(f, form, sums, t, weights)
  for (const row of sums) {
    emitRow(f, epilogue, row, columns, t, header)
    f.add(t.output, t.outputStride)
    f.add(t.residual, t.residualStride)
    f.add(t.row, t.rowStride)
  }
}

function emitProducts(
  f: FunctionBuilder,
  form: ProductForm,
  sums: readonly (readonly Local<'v128'>[])[],
  t: TileArguments,
  weights: Local<'i32'>,
): void {
  const inputs = sums.map((_, row) => f.local('i32', i32.add(t.input, i32.mul(t.inputStride, row))))
  if (form.coupled) {
    emitCoupledProducts(f, sums, { inputs, panel: weights, groups: t.groups })
    return
  }
  const vectors = sums[0].length
  const [bytes, weightBytes] = [form.group * form.inputBytes, 4 * form.group * form.weightBytes]
  const activations = sums.map(() => f.local('v128'))
  const weight = f.local('v128')
  const step = (at: number) => {
    for (const [row, activation] of activations.entries()) f.set(activation, v128.load32_splat(inputs[row], at * bytes))
    for (let v = 0; v < vectors; v++) {
      f.set(weight, form.load(weights, weightBytes * (at * vectors + v)))
      for (const [row, activation] of activations.entries()) f.set(sums[row][v], form.multiply(f, activation, weight, sums[row][v]))
    }
  }
  const advance = (steps: number) => {
    for (const input of inputs) f.add(input, steps * bytes)
    f.add(weights, steps * vectors * weightBytes)
    f.add(t.groups, -steps)
  }
  if (f.module.features.multiplyAdd) {
    f.while(i32.ge_s(t.groups, unrolled), () => {
      for (let at = 0; at < unrolled; at++) step(at)
      advance(unrolled)
    })
    f.while(t.groups, () => {
      step(0)
      advance(1)
    })
    return
  }
  // Older compilers load all that a straight piece of code needs first, for more than there are registers: a way out ends each piece.
  f.block((leave) =>
    f.loop((again) => {
      for (let at = 0; at < unrolled; at++) {
        step(at)
        leave(i32.eq(t.groups, at + 1))
      }
      advance(unrolled)
      again()
    }),
  )
}

function emitRow(
  f: FunctionBuilder,
  { scale, activation, coarse, residual, codes }: Epilogue,
  sums: readonly Local<'v128'>[],
  columns: number,
  t: TileArguments,
  header: (part: string, v: number) => Vector,
): void {
  const activate = activation && ((coarse && coarseFunctions[activation]) || activationFunctions[activation])
  const [rowScale, rowOffset] = f.localsOf('v128', 2)
  if (scale === 'rows') {
    const offset = f.local('f32', f32.load(t.row, rowParameters.offset))
    f.set(rowOffset, i32x4.splat(i32.trunc_sat_f32_s(offset)))
    // An offset that is no number shall make the row none, though integers know nothing of it.
    f.set(rowScale, f32x4.splat(f32.add(f32.load(t.row, rowParameters.scale), f32.mul(offset, 0))))
  }
  for (const [v, sum] of sums.entries()) {
    if (scale === 'rows') f.set(sum, i32x4.add(sum, i32x4.mul(rowOffset, header('sums', v))))
    if (scale === 'columns' || scale === 'rows') {
      const factor = scale === 'rows' ? f32x4.mul(rowScale, header('scale', v)) : header('scale', v)
      f.set(sum, multiplyAdd(f, f32x4.convert_i32x4_s(sum), factor, header('bias', v)))
    }
    if (activate) f.set(sum, activate(f, sum))
    if (residual) f.set(sum, f32x4.add(sum, v128.load(t.residual, 16 * v)))
    if (codes) f.set(sum, f32x4.mul(sum, header('factor', v)))
    else f.do(...storeFloats(t.output, sum, Math.min(4, columns - 4 * v), 16 * v))
  }
  if (!codes) return
  for (let first = 0; 4 * first < columns; first += 4) {
    const four = sums.slice(first, first + 4)
    codesOfFloats(
      f,
      four,
      four.map((_, v) => header('offset', first + v)),
      codes,
    )
    f.do(...storeBytes(t.output, four[0], Math.min(16, columns - 4 * first), 4 * first))
  }
}
