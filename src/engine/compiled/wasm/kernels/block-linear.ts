import { partsOf, type StepOf, weightColumns } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, FunctionReference, Local } from '../function.js'
import type { ModuleBuilder, WasmFeatures } from '../module.js'
import { f32, f32x4, floats, i8x16, i16x8, i32, i32x4, integers, v128 } from '../values.js'
import { type BlockFormat, type BlockWeight, blockBytes, blockInputs, floatsOfBlocks, packBlocks, zeroOf } from './block-weights.js'
import { addDot, multiplyAdd } from './functions.js'
import { copies, eachRow, kernel, reduce, rowsOf, storeFloats, type Vector, type WasmKernel, walk } from './kernel.js'
import { floatLinear } from './linear.js'
import { linearKernel, type TileOptions, type TilePointers } from './panel-loop.js'

/** Rows of a tile. */
const tileRows = 4

/** Below this, a block of activations is written as zeros. */
const smallest = 2 ** -100

/** A block of activations: signed codes as bytes or words, then scale, sum of the codes, and scale * sum. */
function activationBlock({ group }: BlockFormat) {
  const codes = (blockInputs * 4) / group
  return { codes, scale: codes, sum: codes + 4, scaledSum: codes + 8, bytes: codes + 16 } as const
}

/**
 * The kernels of a linear with weights in blocks: activations are quantized to blocks of 8 bits, each row by itself, and multiplied as whole
 * numbers. Blocks that are not whole multiples of the kernels' own are products of floats.
 *
 * @param target words that say where rows are written, if not to the step's output
 */
export function blockLinear(
  step: StepOf<'linear'>,
  weight: BlockWeight,
  constants: Constants,
  { dot }: WasmFeatures,
  target: Readonly<Record<string, Word>> = {},
): WasmKernel[] {
  const { input, output, bias } = step
  const parts = partsOf(step)
  const { codes, scale, minimum, block } = weight
  const tensors = [codes, scale, minimum, ...(bias ? [bias] : [])]
  const source = () => ({
    ...{ inputs: input.columns, outputs: weightColumns(step), parts, block },
    codes: constants.elements(codes) as Uint8Array,
    scale: constants.elements(scale) as Float32Array,
    minimum: constants.elements(minimum) as Float32Array,
    bias: bias && (constants.elements(bias) as Float32Array),
  })
  if (block % blockInputs) return [floatLinear(step, tensors, () => floatsOfBlocks(source()), constants, target)]
  const zero = zeroOf(weight, constants.elements(scale) as Float32Array, constants.elements(minimum) as Float32Array)
  const format: BlockFormat = { bits: weight.bits, group: dot === 'none' ? 2 : 4, zero }
  const sizes = activationBlock(format)
  const blocks = input.columns / blockInputs
  const activations: Word = { scratch: blocks * sizes.bytes, per: output.buffer.per }
  const name = `${format.bits} bits in groups of ${format.group}${zero === undefined ? ' with minimums' : ''}`
  const product = linearKernel(step, {
    key: `linear ${name}`,
    columns: 4,
    tileRows,
    rowBytes: blocks * sizes.bytes,
    panels: constants.made(tensors, `blocks of ${name} in ${parts}`, () => packBlocks(source(), format)),
    words: { blocks, input: activations, inputStride: blocks * sizes.bytes, ...target },
    tile: (f, w, rows, columns, options, pointers) => callTile(f, { format, rows, columns, options }, w.blocks, pointers),
  })
  return [quantizeBlocks(step, format, blocks, activations), product]
}

/** Rows to blocks of signed codes: scale = max|x| / 127, code = round(x / scale), halves to even. */
function quantizeBlocks({ input }: StepOf<'linear'>, format: BlockFormat, blocks: number, output: Word): WasmKernel {
  const sizes = activationBlock(format)
  const words = { rows: { rows: input.buffer.per }, ...rowsOf('input', input), blocks, output } as const
  return kernel(`quantize blocks for groups of ${format.group}`, words, (f, w) => {
    const left = f.local('i32')
    const x = f.localsOf('v128', 8)
    const [largest, inverse] = f.localsOf('v128', 2)
    const zero = f.local('i32', i32.const(0))
    eachRow(f, w.rows, [walk(w.input, w.inputStride), walk(w.output, zero)], () => {
      const [from] = copies(f, w.input)
      f.set(left, w.blocks)
      f.while(left, () => {
        for (const [i, four] of x.entries()) {
          f.set(four, v128.load(from, 16 * i))
          f.set(largest, i ? f32x4.max(largest, f32x4.abs(four)) : f32x4.abs(four))
        }
        const most = f.local('f32', f32.max(reduce(f, largest, f32.max), smallest))
        const scale = f.local('f32', f32.div(most, 127))
        f.set(inverse, f32x4.splat(f32.div(f32.const(127), most)))
        for (const four of x) f.set(four, i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(four, inverse))))
        emitStore(f, format, w.output, x)
        f.set(
          largest,
          x.slice(1).reduce<Vector>((sum, four) => i32x4.add(sum, four), x[0]),
        )
        const lane = (i: number) => i32x4.extract_lane(largest, i)
        const sum = f.local('i32', i32.add(i32.add(lane(0), lane(1)), i32.add(lane(2), lane(3))))
        f.do(f32.store(w.output, scale, sizes.scale), i32.store(w.output, sum, sizes.sum))
        f.do(f32.store(w.output, f32.mul(scale, f32.convert_i32_s(sum)), sizes.scaledSum))
        f.add(from, 4 * blockInputs)
        f.add(w.output, sizes.bytes)
        f.add(left, -1)
      })
    })
  })
}

/** Writes 32 codes as bytes or as words. */
function emitStore(f: FunctionBuilder, { group }: BlockFormat, to: Local<'i32'>, x: readonly Local<'v128'>[]): void {
  const words = [0, 2, 4, 6].map((i) => i16x8.narrow_i32x4_s(x[i], x[i + 1]))
  if (group === 2) f.do(...words.map((eight, i) => v128.store(to, eight, 16 * i)))
  else f.do(...[0, 2].map((i) => v128.store(to, i8x16.narrow_i16x8_s(words[i], words[i + 1]), 8 * i)))
}

interface BlockTile {
  readonly format: BlockFormat
  readonly rows: number
  readonly columns: number
  readonly options: TileOptions
}

const parameterNames = ['blocks', 'input', 'inputStride', 'panel', 'output', 'outputStride', 'residual', 'residualStride'] as const
type TileArguments = Readonly<Record<(typeof parameterNames)[number], Local<'i32'>>>

function callTile(f: FunctionBuilder, tile: BlockTile, blocks: Local<'i32'>, pointers: TilePointers): void {
  const given: TileArguments = { blocks, ...pointers }
  const operands = parameterNames.map((name) => given[name])
  f.do(f.call(tileFunction(f.module, tile), operands))
}

function tileFunction(module: ModuleBuilder, tile: BlockTile): FunctionReference {
  const { format, rows, columns, options } = tile
  const name = `${format.bits}/${format.group}/${format.zero ?? 'minimums'}`
  const key = `block tile ${name} ${rows}x${columns}${options.residual ? ' residual' : ''}${options.relu ? ' relu' : ''}`
  const types = parameterNames.map(() => 'i32' as const)
  return module.function(key, types, [], (f) => {
    const t = Object.fromEntries(parameterNames.map((parameter, i) => [parameter, f.parameters[i]])) as TileArguments
    emitTile(f, tile, t)
  })
}

function emitTile(f: FunctionBuilder, { format, rows, columns, options }: BlockTile, t: TileArguments): void {
  const totals = f.localsOf('v128', rows)
  const sums = f.localsOf('v128', rows)
  const [scale, minimum] = f.localsOf('v128', 2)
  const sizes = activationBlock(format)
  const weights = blockBytes(format)
  const inputs = totals.map((_, row) => f.local('i32', i32.add(t.input, i32.mul(t.inputStride, row))))
  for (const total of totals) f.set(total, v128.load(t.panel))
  f.add(t.panel, 16)
  f.while(t.blocks, () => {
    for (const [row, sum] of sums.entries()) f.set(sum, startOf(format, inputs[row], sizes.sum))
    emitBlock(f, format, t.panel, inputs, sums)
    f.set(scale, v128.load(t.panel, weights.codes))
    if (format.zero === undefined) f.set(minimum, v128.load(t.panel, weights.codes + 16))
    for (const [row, total] of totals.entries()) {
      const factor = f32x4.mul(scale, v128.load32_splat(inputs[row], sizes.scale))
      f.set(total, multiplyAdd(f, f32x4.convert_i32x4_s(sums[row]), factor, total))
      if (format.zero === undefined) f.set(total, multiplyAdd(f, minimum, v128.load32_splat(inputs[row], sizes.scaledSum), total))
      f.add(inputs[row], sizes.bytes)
    }
    f.add(t.panel, weights.all)
    f.add(t.blocks, -1)
  })
  for (const total of totals) {
    if (options.relu) f.set(total, f32x4.pmax(total, floats(0)))
    if (options.residual) f.set(total, f32x4.add(total, v128.load(t.residual)))
    f.do(...storeFloats(t.output, total, columns))
    f.add(t.output, t.outputStride)
    f.add(t.residual, t.residualStride)
  }
}

/** Where the sum over a block begins: what the code for zero makes of all activations, away. */
function startOf({ zero }: BlockFormat, input: Local<'i32'>, offset: number): Vector {
  return zero ? i32x4.mul(v128.load32_splat(input, offset), integers(-zero)) : integers(0)
}

/** Sums of products over a block. */
function emitBlock(
  f: FunctionBuilder,
  format: BlockFormat,
  panel: Local<'i32'>,
  inputs: readonly Local<'i32'>[],
  sums: readonly Local<'v128'>[],
): void {
  if (format.group === 2) emitCodes(f, format, panel, (codes, at) => emitWords(f, codes, inputs, sums, 2 * at))
  else if (format.bits === 8) emitCodes(f, format, panel, (codes, at) => emitBytes(f, codes, inputs, sums, at))
  else if (f.module.features.dot === 'pairs') emitPairs(f, format, panel, inputs, sums)
  else
    emitCodes(f, format, panel, (codes, at) => {
      for (const [row, sum] of sums.entries()) f.set(sum, addDot(f, v128.load32_splat(inputs[row], at), codes, sum))
    })
}

/** Inputs of each column that a vector of codes holds. */
const vectorInputs = 4

/** Runs the body for each vector of codes, with the place of its first input. */
function emitCodes(f: FunctionBuilder, { bits }: BlockFormat, panel: Local<'i32'>, body: (codes: Local<'v128'>, at: number) => void): void {
  const [codes, packed] = f.localsOf('v128', 2)
  const nibbles = f.integers(0x0f0f0f0f)
  for (let at = 0; at < blockInputs; at += vectorInputs) {
    if (bits === 8) f.set(codes, v128.load(panel, 4 * at))
    else if (at % (2 * vectorInputs) === 0) {
      f.set(packed, v128.load(panel, 2 * at))
      f.set(codes, v128.and(packed, nibbles))
    } else f.set(codes, v128.and(i16x8.shr_u(packed, 4), nibbles))
    body(codes, at)
  }
}

/** Codes of 4 bits: sums of all pairs of a block fit in 16 bits (2 * 8 * 127 * 15), and are put together at its end. */
function emitPairs(
  f: FunctionBuilder,
  format: BlockFormat,
  panel: Local<'i32'>,
  inputs: readonly Local<'i32'>[],
  sums: readonly Local<'v128'>[],
): void {
  const words = sums.map(() => f.local('v128'))
  emitCodes(f, format, panel, (codes, at) => {
    for (const [row, word] of words.entries()) {
      const products = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load32_splat(inputs[row], at), codes)
      f.set(word, at ? i16x8.add(word, products) : products)
    }
  })
  for (const [row, sum] of sums.entries()) f.set(sum, i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(words[row])))
}

/** Codes of 8 bits in two parts, for the second operand of products has 7. */
function emitBytes(
  f: FunctionBuilder,
  codes: Local<'v128'>,
  inputs: readonly Local<'i32'>[],
  sums: readonly Local<'v128'>[],
  at: number,
): void {
  const high = f.local('v128', v128.and(i16x8.shr_u(codes, 7), f.integers(0x01010101)))
  f.set(codes, v128.and(codes, f.integers(0x7f7f7f7f)))
  for (const [row, sum] of sums.entries()) {
    const activations = v128.load32_splat(inputs[row], at)
    f.set(sum, addDot(f, activations, codes, sum))
    f.set(sum, i32x4.add(sum, i32x4.shl(addDot(f, activations, high, f.integers(0)), 7)))
  }
}

/** Codes as two vectors of words. */
function emitWords(
  f: FunctionBuilder,
  codes: Local<'v128'>,
  inputs: readonly Local<'i32'>[],
  sums: readonly Local<'v128'>[],
  at: number,
): void {
  const words = f.local('v128')
  for (const [half, extend] of [i16x8.extend_low_i8x16_u, i16x8.extend_high_i8x16_u].entries()) {
    f.set(words, extend(codes))
    for (const [row, sum] of sums.entries()) {
      f.set(sum, i32x4.add(sum, i32x4.dot_i16x8_s(words, v128.load32_splat(inputs[row], at + vectorInputs * half))))
    }
  }
}
