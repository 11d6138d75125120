import type { Quantizer, StaticQuantizer, StepOf, View } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import { smallestScale } from '../reference/quantize.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { as, at, eax, type General, k, Label, r9, r10, rcx, rsi, rsp, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { type ColumnVector, emitColumns, emitReduce, emitRows, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

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
  /** Of columns that are in registers below 11, which are overwritten; where the range is static. */
  emitVectors?(vectors: readonly ColumnVector[], values: readonly Vector[]): void
}

/** Emits what is the same for all rows: the machine's registers from 11 to 15 stay between them where the range is static. May use rax and r8. */
export function quantizeRows(
  a: Assembler,
  machine: VectorMachine,
  shape: QuantizeShape,
  registers: QuantizeRegisters,
  constants: VectorConstants,
): RowCodes {
  const range = rangeRegisters(machine)
  const values = machine.registers.slice(0, together)
  const emitVectors = (vectors: readonly ColumnVector[], from: readonly Vector[]) =>
    emitCodes(a, machine, shape, registers, range, vectors, from)
  const emitRow = () =>
    emitColumns(a, machine, shape.columns, together, (vectors) => {
      for (const { place, of } of vectors) a.vmovups(values[place], of(registers.input))
      emitVectors(vectors, values)
    })
  if (shape.static) {
    emitStaticRange(a, shape.highest, shape.static, range, constants)
    emitOrder(a, machine, constants)
    return { emitRow, emitVectors }
  }
  return {
    emitRow() {
      emitRowRange(a, machine, shape, registers, range, constants)
      emitOrder(a, machine, constants)
      emitRow()
    },
  }
}

/** What numbers are multiplied with, the lowest and highest code less the zero point, and the zero point, an integer. */
interface Range {
  readonly inverse: Vector
  readonly low: Vector
  readonly high: Vector
  readonly zeroPoint: Vector
}

function rangeRegisters({ registers }: VectorMachine): Range {
  const [inverse, low, high, zeroPoint] = registers.slice(12)
  return { inverse, low, high, zeroPoint }
}

function emitStaticRange(
  a: Assembler,
  highest: number,
  { inverseScale, zeroPoint }: NonNullable<QuantizeShape['static']>,
  range: Range,
  constants: VectorConstants,
): void {
  a.vmovups(range.inverse, constants.float(inverseScale))
  a.vmovups(range.low, constants.float(-zeroPoint))
  a.vmovups(range.high, constants.float(highest - zeroPoint))
  a.vmovups(range.zeroPoint, constants.word(zeroPoint))
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
  a.vbroadcastss(range.low, low)
  a.vaddps(range.high, range.low, constants.float(highest))
  a.vcvtps2dq(range.zeroPoint, range.low)
  a.vxorps(values[2], values[2], values[2])
  a.vpsubd(range.zeroPoint, values[2], range.zeroPoint)
}

/** How 32-bit pieces are put in order after packing, which works in lanes of 128 bits. */
function emitOrder(a: Assembler, machine: VectorMachine, constants: VectorConstants): void {
  if (machine.name !== 'avx2') return
  const order = constants.words((lane) => [0, 4, 1, 5, 2, 6, 3, 7][lane])
  a.vmovups(machine.registers[orderRegister], order)
}

const orderRegister = 11

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
    a.vmaxps(value, value, range.low)
    a.vminps(value, value, range.high)
    a.vcvtps2dq(value, value)
    a.vpaddd(value, value, range.zeroPoint)
  }
  if (machine.name === 'avx2') emitPacked(a, shape, output, vectors, values, machine.registers[orderRegister])
  else emitNarrowed(a, output, vectors, values)
}

/** Stores up to 32 codes out of four vectors of 8. */
function emitPacked(
  a: Assembler,
  { overrun }: QuantizeShape,
  output: General,
  vectors: readonly ColumnVector[],
  [first, second, third, fourth]: readonly Vector[],
  order: Vector,
): void {
  a.vpackssdw(first, first, second)
  a.vpackssdw(third, third, fourth)
  a.vpackuswb(first, first, third)
  a.vpermd(as('ymm', first), as('ymm', order), as('ymm', first))
  const to = vectors[0].of(output, 1)
  const count = 8 * (vectors.length - 1) + (vectors[vectors.length - 1].part ?? 8)
  if (count === 32 || overrun) {
    a.vmovups(to, first)
    return
  }
  a.vmovups(at(rsp), first)
  for (let i = 0; i < count; i++) {
    a.movzx(eax, at(rsp, i))
    a.mov(to.plus(i), as('r8', eax))
  }
}

/** Stores each vector's codes; needs AVX512. */
function emitNarrowed(a: Assembler, output: General, vectors: readonly ColumnVector[], values: readonly Vector[]): void {
  for (const { place, part, of } of vectors) {
    if (part !== undefined) {
      a.mov(eax, 2 ** part - 1)
      a.kmovw(k[1], eax)
    }
    a.vpmovdb(part === undefined ? of(output, 1) : of(output, 1).masked(k[1]), values[place])
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
