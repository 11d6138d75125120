import type { Quantizer, StaticQuantizer, StepOf, View } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import { smallestScale } from '../reference/quantize.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { as, at, eax, type General, k, Label, type Memory, r9, r10, rax, rcx, rsi, rsp, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { type ColumnVector, emitColumns, emitReduce, emitRows, mayOverrun, rowPointer, rowWords } from './rows.js'
import { emitInOrder, VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * `input`: float32 [rows, columns]; `output`: uint8 like it, strides in bytes; `factors`: float32 [columns], what a column is multiplied with (divided by the scale where that is static);
 * `parameters`: two float32 for each row: scale and minus the zero point.
 */
export const quantizeParameters = new Parameters([
  'input',
  'inputStride',
  'rows',
  'output',
  'outputStride',
  'factors',
  'parameters',
  'parametersStride',
])

/** What the code of a quantization depends on. */
export interface QuantizeShape {
  readonly vectors: VectorMachine['name']
  readonly columns: number
  readonly highest: 127 | 255
  readonly factors: boolean
  /** Of a whole buffer; where undefined, scale and zero point of each row are found. */
  readonly static?: { readonly inverseScale: number; readonly zeroPoint: number }
  /** Whether the last codes of a row may be written together with others behind them. */
  readonly overrun: boolean
}

/** Vectors that are packed together. */
const together = 4

/** Where the row, its codes, the factors and the parameters of the row are. */
export interface QuantizeRegisters {
  readonly input: General
  readonly output: General
  readonly factors: General
  readonly parameters: General
}

/** Code of quantization to uint8, one multiplication and one rounding each. NaN becomes 0. Called with `quantizeParameters`. */
export function quantize(machine: VectorMachine, shape: QuantizeShape): Uint8Array {
  const p = quantizeParameters
  const constants = new VectorConstants(machine)
  const registers = { input: rsi, output: rcx, factors: r9, parameters: r10 }
  const pointers = [
    rowPointer(p, 'input', registers.input),
    rowPointer(p, 'output', registers.output),
    ...(shape.static ? [] : [rowPointer(p, 'parameters', registers.parameters)]),
  ]
  const body = (a: Assembler) => {
    a.mov(registers.factors, p.at('factors'))
    const { emitRow } = quantizeRows(a, machine, shape, registers, constants)
    emitRows(a, p.at('rows'), pointers, emitRow)
  }
  return kernel(quantizeLocals, body, (a) => constants.place(a))
}

/** Bytes on the stack that quantization needs. */
export const quantizeLocals = 64

/** What emits the codes of a row. */
export interface RowCodes {
  /** Of the whole row in memory. */
  emitRow(): void
  /** Of columns that are in registers below 12, which are overwritten; where the range is static. */
  emitVectors?(vectors: readonly ColumnVector[], values: readonly Vector[]): void
}

/** Emits what is the same for all rows: the machine's registers from 12 to 15 stay between them where the range is static. May use rax and r8. */
export function quantizeRows(
  a: Assembler,
  machine: VectorMachine,
  shape: QuantizeShape,
  registers: QuantizeRegisters,
  constants: VectorConstants,
): RowCodes {
  const range = rangeOf(machine, shape.highest, constants)
  const values = machine.registers.slice(0, together)
  const emitVectors = (vectors: readonly ColumnVector[], from: readonly Vector[]) =>
    emitCodes(a, machine, shape, registers, range, vectors, from)
  const emitRow = () =>
    emitColumns(a, machine, shape.columns, together, (vectors) => {
      for (const { place, of } of vectors) a.vmovups(values[place], of(registers.input))
      emitVectors(vectors, values)
    })
  emitFixed(a, range, constants)
  if (shape.static) {
    emitStaticRange(a, shape.static, range, constants)
    return { emitRow, emitVectors }
  }
  return {
    emitRow() {
      emitRowRange(a, machine, shape, registers, range, constants)
      emitRow()
    },
  }
}

/** What numbers become codes with. */
interface Range {
  /** What they are multiplied with. */
  readonly inverse: Vector
  /** 2^30, beyond which conversion to integers would turn over. */
  readonly ceiling: Vector
  /** In words. */
  readonly zeroPoint: Vector
  /** Of pieces of 32 bits after packing, which works in lanes of 128 bits. */
  readonly order: Vector
  /** The highest code in bytes. */
  readonly high: Memory
}

function rangeOf({ registers }: VectorMachine, highest: number, constants: VectorConstants): Range {
  const [inverse, ceiling, zeroPoint, order] = registers.slice(12)
  return { inverse, ceiling, zeroPoint, order, high: constants.word(highest * 0x1010101) }
}

/** Sets what does not depend on the row. */
function emitFixed(a: Assembler, { ceiling, order }: Range, constants: VectorConstants): void {
  a.vmovups(order, constants.packedOrder())
  a.vmovups(ceiling, constants.float(2 ** 30))
}

function emitStaticRange(
  a: Assembler,
  { inverseScale, zeroPoint }: NonNullable<QuantizeShape['static']>,
  range: Range,
  constants: VectorConstants,
): void {
  a.vmovups(range.inverse, constants.float(inverseScale))
  a.vmovups(range.zeroPoint, constants.word(zeroPoint * 0x10001))
}

/** Finds the range of a row, 0 included, and writes its scale and minus its zero point. */
function emitRowRange(
  a: Assembler,
  machine: VectorMachine,
  { columns, factors, highest }: QuantizeShape,
  registers: QuantizeRegisters,
  range: Range,
  constants: VectorConstants,
): void {
  const [values, lows, highs] = [0, 1, 2].map((i) => machine.registers.slice(i * together, (i + 1) * together))
  for (const register of [...lows, ...highs]) a.vxorps(register, register, register)
  emitColumns(a, machine, columns, together, (vectors) => {
    for (const { place, of, part } of vectors) {
      const value = values[place]
      a.vmovups(value, of(registers.input))
      if (factors) a.vmulps(value, value, of(registers.factors))
      if (part !== undefined) a.vandps(value, value, constants.firstLanes(part))
      a.vminps(lows[place], lows[place], value)
      a.vmaxps(highs[place], highs[place], value)
    }
  })
  for (const [ends, combine] of [
    [lows, (to: Vector, left: Vector, right: Vector) => a.vminps(to, left, right)],
    [highs, (to: Vector, left: Vector, right: Vector) => a.vmaxps(to, left, right)],
  ] as const) {
    for (const other of ends.slice(1)) combine(ends[0], ends[0], other)
    emitReduce(a, ends[0], values[0], combine)
  }
  const [low, width, one, scale] = [lows[0], highs[0], values[0], values[1]].map((register) => as('xmm', register))
  const wide = new Label()
  a.vsubss(scale, width, low)
  a.vmovss(one, constants.float(highest))
  a.vdivss(scale, scale, one)
  a.vmovss(one, constants.float(1))
  a.vcomiss(scale, constants.float(smallestScale))
  a.jae(wide)
  a.vmovaps(scale, one)
  a.bind(wide)
  a.vdivss(one, one, scale)
  a.vbroadcastss(range.inverse, one)
  a.vmulss(low, low, one)
  a.vcvtps2dq(low, low)
  a.vcvtdq2ps(low, low)
  a.vmovss(at(registers.parameters), scale)
  a.vmovss(at(registers.parameters, 4), low)
  a.vbroadcastss(range.zeroPoint, low)
  a.vcvtps2dq(range.zeroPoint, range.zeroPoint)
  a.vxorps(values[2], values[2], values[2])
  a.vpsubd(range.zeroPoint, values[2], range.zeroPoint)
  a.vpackssdw(range.zeroPoint, range.zeroPoint, range.zeroPoint)
}

/** Emits the codes of some columns of a row, up to 32 or 64. */
function emitCodes(
  a: Assembler,
  machine: VectorMachine,
  shape: QuantizeShape,
  { output, factors }: QuantizeRegisters,
  range: Range,
  vectors: readonly ColumnVector[],
  values: readonly Vector[],
): void {
  for (const { place, of } of vectors) {
    const value = values[place]
    if (shape.factors) a.vmulps(value, value, of(factors))
    if (!shape.static || !shape.factors) a.vmulps(value, value, range.inverse)
    a.vminps(value, range.ceiling, value)
    a.vcvtps2dq(value, value)
  }
  const [first, second, third, fourth] = values
  for (const [low, high] of [
    [first, second],
    [third, fourth],
  ]) {
    a.vpackssdw(low, low, high)
    a.vpaddsw(low, low, range.zeroPoint)
  }
  a.vpackuswb(first, first, third)
  if (shape.highest < 255) a.vpminub(first, first, range.high)
  emitInOrder(a, first, range.order)
  emitStoreCodes(a, machine, shape, vectors, output, first)
}

/** Stores the codes of some vectors; may use eax, k1 and the stack. */
function emitStoreCodes(
  a: Assembler,
  { lanes, bytes }: VectorMachine,
  { overrun }: QuantizeShape,
  vectors: readonly ColumnVector[],
  output: General,
  codes: Vector,
): void {
  const to = vectors[0].of(output, 1)
  const count = lanes * (vectors.length - 1) + (vectors[vectors.length - 1].part ?? lanes)
  if (count === bytes || overrun) {
    a.vmovups(to, codes)
  } else if (codes.kind === 'zmm') {
    a.mov(rax, (1n << BigInt(count)) - 1n)
    a.kmovq(k[1], rax)
    a.vmovdqu8(to.masked(k[1]), codes)
  } else {
    a.vmovups(at(rsp), codes)
    for (let i = 0; i < count; i++) {
      a.movzx(eax, at(rsp, i))
      a.mov(to.plus(i), as('r8', eax))
    }
  }
}

/** What each column is multiplied with before it is rounded. */
export async function multipliersOf({ factors, quantization: { scale } }: StaticQuantizer, columns: number): Promise<Float32Array> {
  const values = factors && ((await factors.read()) as Float32Array)
  return Float32Array.from({ length: columns }, (_, column) => (values?.[column] ?? 1) / scale)
}

/** What the code of a quantization depends on, and words of its own parameters beside those of rows. */
export async function quantizeCall(
  { factors, quantization, highest }: Quantizer,
  output: View,
  { vectors }: X64Context,
): Promise<{ shape: QuantizeShape; words: Record<'factors' | 'parameters' | 'parametersStride', Word> }> {
  const values = factors && ((await factors.read()) as Float32Array)
  const isStatic = quantization.kind === 'static'
  const multipliers = isStatic ? values?.map((factor) => factor / quantization.scale) : values
  return {
    shape: {
      vectors: vectors.name,
      columns: output.columns,
      highest,
      factors: values !== undefined,
      ...(isStatic && { static: { inverseScale: 1 / quantization.scale, zeroPoint: quantization.zeroPoint } }),
      overrun: mayOverrun(output, 4 * vectors.lanes),
    },
    words: {
      factors: multipliers ? { constant: multipliers } : 0,
      ...rowWords('parameters', isStatic ? undefined : quantization.parameters),
    },
  }
}

/** The kernel of a quantization. */
export async function quantizeKernels(step: StepOf<'quantize'>, context: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const { input, output } = step
  const { shape, words } = await quantizeCall(step, output, context)
  return [
    stepKernel({
      name: 'quantize',
      shape,
      code: () => quantize(context.vectors, shape),
      parameters: quantizeParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: output.buffer.per },
        ...rowWords('output', output),
        ...words,
      },
    }),
  ]
}
