import { badInput } from '../base/errors.js'
import { allocate, dtypes, sizeOf } from './dtype.js'
import { roundHalfEven, roundSmall } from './rounding.js'

/** Integer types whose codes stand for real numbers by a scale and a zero point. */
export type CodeDType = 'int2' | 'uint2' | 'int4' | 'uint4' | 'int8' | 'uint8' | 'int16' | 'uint16'

/** Codes in memory, one entry each. */
export type Codes = Int8Array | Uint8Array | Int16Array | Uint16Array

/** The integers that a quantizer may use: a type, or a reduced range of it. */
export interface IntegerGrid {
  readonly dtype: CodeDType
  readonly min: number
  readonly max: number
}

/**
 * The codes of an integer type, or fewer of them.
 *
 * @param dtype type that stores the codes
 * @param options.bits use only the range of this many bits: 7 of int8 are -64..63, which cannot saturate 16-bit sums of
 *   u8 x s8 products; 3 of uint4 are 0..7
 * @param options.symmetric leave out the lowest code of a signed type, so that the range is symmetric: -127..127
 * @example
 * integerGrid('int8', { symmetric: true }) // { dtype: 'int8', min: -127, max: 127 }
 */
export function integerGrid(dtype: CodeDType, options: { bits?: number; symmetric?: boolean } = {}): IntegerGrid {
  const bits = options.bits ?? dtypes[dtype].bits
  if (!Number.isInteger(bits) || bits < 2 || bits > dtypes[dtype].bits)
    throw badInput(`a grid of ${bits} bits does not fit in ${dtype}`, { hint: `Use 2 to ${dtypes[dtype].bits} bits.` })
  if (dtypes[dtype].kind === 'uint') return { dtype, min: 0, max: 2 ** bits - 1 }
  return { dtype, min: -(2 ** (bits - 1)) + (options.symmetric ? 1 : 0), max: 2 ** (bits - 1) - 1 }
}

/** One scale and the code of zero. */
export interface ScaleAndZeroPoint {
  /** Real distance of neighbouring codes; a float32 number. */
  readonly scale: number
  /** The code (or, for weight-only blocks, the real number) that stands for 0. */
  readonly zeroPoint: number
}

/**
 * Scale and integer zero point that map a range of numbers onto a whole grid. The range is first extended to hold 0, so
 * that 0 has a code. Computed in float32 as DynamicQuantizeLinear does it: for uint8 the results are the same bits.
 *
 * Source: ONNX DynamicQuantizeLinear; an empty range gives scale 1.
 *
 * @param min smallest number; throws `bad-input` where the range is not finite
 * @param max largest number
 * @example
 * affineFromRange(-1, 1.55, integerGrid('uint8')) // { scale: 0.01 (as float32), zeroPoint: 100 }
 */
export function affineFromRange(min: number, max: number, grid: IntegerGrid): ScaleAndZeroPoint {
  const low = Math.fround(Math.min(min, 0))
  const high = Math.fround(Math.max(max, 0))
  const width = Math.fround(high - low)
  checkFinite(width, min, max)
  const scale = Math.fround(width / (grid.max - grid.min))
  if (scale === 0) return { scale: 1, zeroPoint: Math.max(grid.min, 0) }
  return { scale, zeroPoint: clamp(roundHalfEven(Math.fround(grid.min - Math.fround(low / scale))), grid.min, grid.max) }
}

/**
 * Scale and real zero point that map a range of numbers, with or without 0 in it, onto a whole grid exactly. For
 * weight-only blocks (MatMulNBits takes such zero points, GGUF's Q4_1 has them as minima).
 *
 * @example
 * affineFromRangeFloat(2, 3.5, integerGrid('uint4')) // { scale: 0.1, zeroPoint: -20 } (as float32)
 */
export function affineFromRangeFloat(min: number, max: number, grid: IntegerGrid): ScaleAndZeroPoint {
  const width = Math.fround(max - min)
  checkFinite(width, min, max)
  const scale = Math.fround(width / (grid.max - grid.min))
  if (scale > 0) return { scale, zeroPoint: Math.fround(grid.min - min / scale) }
  // One number only: it becomes one step from the zero point.
  const magnitude = Math.fround(Math.abs(min))
  return magnitude === 0 ? { scale: 1, zeroPoint: grid.min } : { scale: magnitude, zeroPoint: grid.min - Math.sign(min) }
}

/**
 * Scale that maps numbers up to `absmax` in magnitude onto a grid around its middle. The zero point is 0 for signed
 * grids and the middle code for unsigned ones (8 for uint4, as MatMulNBits assumes it).
 *
 * @param absmax largest magnitude; 0 gives scale 1, not finite throws `bad-input`
 * @example
 * symmetricFromMax(12.7, integerGrid('int8')) // { scale: 0.1 (as float32), zeroPoint: 0 }
 */
export function symmetricFromMax(absmax: number, grid: IntegerGrid): ScaleAndZeroPoint {
  checkFinite(absmax, -absmax, absmax)
  const zeroPoint = middleOf(grid)
  const scale = Math.fround(Math.fround(absmax) / (grid.max - zeroPoint))
  return { scale: scale === 0 ? 1 : scale, zeroPoint }
}

/** The code that stands for 0 on a symmetric grid. */
export function middleOf(grid: IntegerGrid): number {
  return grid.min < 0 ? 0 : (grid.max + 1) / 2
}

/**
 * How scales are laid over a row-major array. Without `axis` there is one scale for all; with `axis` one for each index
 * of that dimension; with `blockSize` too, one for each run of that many elements along the dimension (the last run may
 * be shorter), so the scales have the shape of the array with that dimension divided by the block size, rounded up. The
 * meaning is that of `axis` and `block_size` of ONNX's QuantizeLinear.
 */
export interface Layout {
  readonly shape: readonly number[]
  /** Negative counts from the last dimension. */
  readonly axis?: number
  readonly blockSize?: number
}

/** Scales and zero points of an array, one each for every group of its layout. */
export interface QuantizationParameters {
  readonly scale: Float32Array
  /** Int32Array: codes, added after rounding. Float32Array: real numbers, added before (weight-only blocks). */
  readonly zeroPoint: Int32Array | Float32Array
}

interface Extents {
  readonly outer: number
  readonly axis: number
  readonly inner: number
  readonly blocks: number
}

function extentsOf({ shape, axis, blockSize }: Layout): Extents {
  if (axis === undefined) return { outer: 1, axis: 1, inner: sizeOf(shape), blocks: 1 }
  const index = axis < 0 ? axis + shape.length : axis
  if (!(index >= 0 && index < shape.length)) throw badInput(`axis ${axis} does not exist in the shape [${shape.join(', ')}]`)
  if (blockSize !== undefined && !(Number.isInteger(blockSize) && blockSize > 0)) throw badInput(`a block of ${blockSize} elements is none`)
  return {
    outer: sizeOf(shape.slice(0, index)),
    axis: shape[index],
    inner: sizeOf(shape.slice(index + 1)),
    blocks: blockSize ? Math.ceil(shape[index] / blockSize) : shape[index],
  }
}

/**
 * The number of scales of a layout.
 *
 * @example
 * groupCount({ shape: [3, 70], axis: 1, blockSize: 32 }) // 9
 */
export function groupCount(layout: Layout): number {
  const { outer, inner, blocks } = extentsOf(layout)
  return layout.axis === undefined ? 1 : layout.blockSize ? outer * blocks * inner : blocks
}

/** The shape of the scales of a layout, as ONNX has it: [], [axis] or the array's with one dimension divided. */
export function scaleShape({ shape, axis, blockSize }: Layout): number[] {
  if (axis === undefined) return []
  const index = axis < 0 ? axis + shape.length : axis
  return blockSize ? shape.map((dim, i) => (i === index ? Math.ceil(dim / blockSize) : dim)) : [shape[index]]
}

/**
 * Walks an array in memory order in runs. Within a run, element i belongs to group `group + step * (i - start)`, step
 * being 0 or 1. What loops over elements with their scales is written inside the visitor.
 */
export function walk(layout: Layout, visit: (start: number, end: number, group: number, step: 0 | 1) => void): void {
  const { outer, axis, inner, blocks } = extentsOf(layout)
  if (layout.axis === undefined) visit(0, inner, 0, 0)
  else if (!layout.blockSize) {
    if (inner === 1) for (let o = 0; o < outer; o++) visit(o * axis, (o + 1) * axis, 0, 1)
    else for (let r = 0; r < outer * axis; r++) visit(r * inner, (r + 1) * inner, r % axis, 0)
  } else if (inner === 1) {
    const size = layout.blockSize
    for (let o = 0, group = 0; o < outer; o++)
      for (let a = 0; a < axis; a += size) visit(o * axis + a, o * axis + Math.min(a + size, axis), group++, 0)
  } else {
    const size = layout.blockSize
    for (let o = 0; o < outer; o++)
      for (let a = 0; a < axis; a++) {
        const start = (o * axis + a) * inner
        visit(start, start + inner, (o * blocks + Math.floor(a / size)) * inner, 1)
      }
  }
}

/** Where the elements of one group lie: `count` runs of `length` neighbours, `stride` apart, from `start`. */
export interface Group {
  readonly start: number
  readonly count: number
  readonly stride: number
  readonly length: number
}

/** The place of a group; for methods that look at one group at a time. */
export function groupAt(layout: Layout, group: number): Group {
  const { outer, axis, inner, blocks } = extentsOf(layout)
  if (layout.axis === undefined) return { start: 0, count: 1, stride: 0, length: inner }
  if (!layout.blockSize) return { start: group * inner, count: outer, stride: axis * inner, length: inner }
  const column = group % inner
  const block = Math.floor(group / inner) % blocks
  const o = Math.floor(group / (inner * blocks))
  const first = block * layout.blockSize
  const count = Math.min(layout.blockSize, axis - first)
  const start = (o * axis + first) * inner + column
  return inner === 1 ? { start, count: 1, stride: 0, length: count } : { start, count, stride: inner, length: 1 }
}

/**
 * Smallest and largest element of every group. NaN and infinities throw `bad-input`; the caller names the tensor.
 *
 * @example
 * groupRanges(Float32Array.of(1, -2, 3, 4), { shape: [2, 2], axis: 0 }) // { min: [-2, 3], max: [1, 4] }
 */
export function groupRanges(x: Float32Array, layout: Layout): { min: Float32Array; max: Float32Array } {
  checkSize(x, layout)
  const groups = groupCount(layout)
  const min = new Float32Array(groups).fill(Number.POSITIVE_INFINITY)
  const max = new Float32Array(groups).fill(Number.NEGATIVE_INFINITY)
  let notFinite = 0
  walk(layout, (start, end, group, step) => {
    for (let i = start; i < end; i++, group += step) {
      const v = x[i]
      if (v < min[group]) min[group] = v
      if (v > max[group]) max[group] = v
      notFinite += v - v
    }
  })
  if (notFinite !== 0) throw badInput(`element ${x.findIndex((v) => !Number.isFinite(v))} is no finite number`)
  if (x.length === 0) return { min: min.fill(0), max: max.fill(0) }
  return { min, max }
}

export interface ParameterOptions {
  /** Scales around 0 from the largest magnitude of each group (default), or from its range. */
  symmetric?: boolean
  /** For asymmetric ones: zero points stay real numbers, and ranges need not hold 0. */
  floatZeroPoint?: boolean
}

/**
 * Scales and zero points from the smallest and largest element of each group: round-to-nearest's choice.
 *
 * @example
 * minMaxParameters(weights, { shape: [768, 3072], axis: 1 }, integerGrid('int8')) // one scale per output channel
 */
export function minMaxParameters(
  x: Float32Array,
  layout: Layout,
  grid: IntegerGrid,
  options: ParameterOptions = {},
): QuantizationParameters {
  const { min, max } = groupRanges(x, layout)
  const { symmetric = true, floatZeroPoint = false } = options
  const scale = new Float32Array(min.length)
  const zeroPoint = floatZeroPoint && !symmetric ? new Float32Array(min.length) : new Int32Array(min.length)
  for (let group = 0; group < scale.length; group++) {
    const chosen = symmetric
      ? symmetricFromMax(Math.max(-min[group], max[group]), grid)
      : floatZeroPoint
        ? affineFromRangeFloat(min[group], max[group], grid)
        : affineFromRange(min[group], max[group], grid)
    scale[group] = chosen.scale
    zeroPoint[group] = chosen.zeroPoint
  }
  return { scale, zeroPoint }
}

/** One scale and zero point for a whole array, in the form that `quantize` takes. */
export function wholeTensor({ scale, zeroPoint }: ScaleAndZeroPoint): QuantizationParameters {
  return { scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zeroPoint) }
}

/**
 * Numbers to codes: clamp(roundHalfEven(x / scale) + zeroPoint), with the quotient rounded to float32, which is what
 * runtimes compute, code for code. A real zero point is added before rounding.
 *
 * Source: ONNX QuantizeLinear.
 *
 * @param x row-major numbers, finite
 * @param parameters groupCount(layout) scales and zero points, else `bad-input`
 * @returns one code per element in the grid's type (sub-byte codes unpacked; `encode` packs them)
 * @example
 * quantize(Float32Array.of(-1, 0.25, 9), wholeTensor({ scale: 0.5, zeroPoint: 0 }), integerGrid('int4')) // [-2, 0, 7]
 */
export function quantize(
  x: Float32Array,
  parameters: QuantizationParameters,
  grid: IntegerGrid,
  layout: Layout = { shape: [x.length] },
): Codes {
  checkSize(x, layout)
  checkParameters(parameters, layout)
  const { scale, zeroPoint } = parameters
  const { min, max } = grid
  const codes = allocate(grid.dtype, x.length) as Codes
  const real = zeroPoint instanceof Float32Array
  walk(layout, (start, end, group, step) => {
    for (let i = start; i < end; i++, group += step) {
      const z = zeroPoint[group]
      const shift = real ? z : 0
      let q = Math.fround(x[i] / scale[group]) + shift
      // The bounds are integers, so clamping may come before rounding.
      if (q > max - z + shift) q = max - z + shift
      else if (q < min - z + shift) q = min - z + shift
      codes[i] = roundSmall(q) + z - shift
    }
  })
  return codes
}

/**
 * Codes to numbers: (code - zeroPoint) * scale in float32.
 *
 * Source: ONNX DequantizeLinear.
 *
 * @example
 * dequantize(Int8Array.of(-2, 7), wholeTensor({ scale: 0.5, zeroPoint: 0 })) // Float32Array [-1, 3.5]
 */
export function dequantize(codes: Codes, parameters: QuantizationParameters, layout: Layout = { shape: [codes.length] }): Float32Array {
  checkSize(codes, layout)
  checkParameters(parameters, layout)
  const { scale, zeroPoint } = parameters
  const x = new Float32Array(codes.length)
  walk(layout, (start, end, group, step) => {
    for (let i = start; i < end; i++, group += step) x[i] = Math.fround(codes[i] - zeroPoint[group]) * scale[group]
  })
  return x
}

/**
 * The numbers that are left after quantizing and dequantizing; the same bits as `dequantize(quantize(x))`.
 *
 * @example
 * fakeQuantize(Float32Array.of(-1.1, 9), wholeTensor({ scale: 0.5, zeroPoint: 0 }), integerGrid('int4')) // [-1, 3.5]
 */
export function fakeQuantize(
  x: Float32Array,
  parameters: QuantizationParameters,
  grid: IntegerGrid,
  layout: Layout = { shape: [x.length] },
): Float32Array {
  return dequantize(quantize(x, parameters, grid, layout), parameters, layout)
}

/**
 * A bias in the accumulator's unit: roundHalfEven(bias / (activationScale * weightScale)), clamped to int32.
 *
 * @param bias [columns], float32
 * @param weightScale one scale, or one per column
 * @example
 * quantizeBias(Float32Array.of(1), 0.5, Float32Array.of(0.25)) // Int32Array [8]
 */
export function quantizeBias(bias: Float32Array, activationScale: number, weightScale: Float32Array): Int32Array {
  if (weightScale.length !== 1 && weightScale.length !== bias.length)
    throw badInput(`${weightScale.length} weight scales do not fit a bias of ${bias.length} elements`)
  const codes = new Int32Array(bias.length)
  for (let i = 0; i < bias.length; i++) {
    const scale = Math.fround(activationScale * weightScale[weightScale.length === 1 ? 0 : i])
    codes[i] = clamp(roundHalfEven(bias[i] / scale), -2147483648, 2147483647)
  }
  return codes
}

function clamp(x: number, min: number, max: number): number {
  return Math.min(Math.max(x, min), max)
}

function checkFinite(width: number, min: number, max: number): void {
  if (!Number.isFinite(width))
    throw badInput(`the range ${min} to ${max} is not finite in float32`, { hint: 'Leave masks and infinities out of what is quantized.' })
}

function checkSize(x: { readonly length: number }, { shape }: Layout): void {
  if (x.length !== sizeOf(shape)) throw badInput(`${x.length} elements do not fill the shape [${shape.join(', ')}]`)
}

function checkParameters({ scale, zeroPoint }: QuantizationParameters, layout: Layout): void {
  const groups = groupCount(layout)
  if (scale.length !== groups || zeroPoint.length !== groups)
    throw badInput(`${groups} groups need as many scales and zero points, not ${scale.length} and ${zeroPoint.length}`)
}
