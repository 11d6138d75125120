import fc from 'fast-check'
import { Random } from '../../../../src/base/random.js'
import { activationFunctions } from '../../../../src/engine/compiled/reference/functions.js'
import { type DotMachine, panelColumns } from '../../../../src/engine/compiled/x64/dot-machine.js'
import { type Epilogue, isGated, outputBytes, panelOrder } from '../../../../src/engine/compiled/x64/epilogue.js'
import { coarseError } from '../../../../src/engine/compiled/x64/functions.js'
import { gemmParameters } from '../../../../src/engine/compiled/x64/gemm.js'
import { type PanelSource, packPanels } from '../../../../src/engine/compiled/x64/panels.js'
import { type Arena, numbersIn } from './arena.js'

/** Epilogues whose results are not whole numbers, or are rounded from such. */
export const floatEpilogues: readonly Epilogue[] = [
  { kind: 'f32' },
  { kind: 'f32', activation: 'relu' },
  { kind: 'f32', residual: true },
  { kind: 'f32', rows: true, bias: true },
  { kind: 'f32', rows: true, bias: true, residual: true, activation: 'relu' },
  { kind: 'f32', bias: true, activation: 'gelu' },
  { kind: 'f32', gated: true, activation: 'silu' },
  { kind: 'f32', gated: true, rows: true, bias: true, activation: 'gelu' },
  { kind: 'codes', bias: true },
  { kind: 'codes', activation: 'tanh' },
  { kind: 'codes', rows: true, bias: true, activation: 'gelu' },
  { kind: 'codes', bounded: true, bias: true, activation: 'gelu-tanh' },
]

const activationTypes = { 1: Float32Array, 2: Uint16Array, 4: Uint8Array }

/** All that a product and its epilogues need. */
export interface GemmCase {
  readonly linear: Required<Omit<PanelSource, 'sums'>>
  readonly rows: number
  /** [rows, inputs] */
  readonly activations: Uint8Array | Float32Array
  /** Elements between rows beyond what they need. */
  readonly gap: number
  readonly zeroPoint: number
  readonly high: number
  /** [rows, outputs] */
  readonly residual: Float32Array
  /** [rows][scale, offset] */
  readonly rowParameters: Float32Array
}

/** The product in float64: exact for codes. */
function sumsOf({ linear: { inputs, outputs, codes, start }, rows, activations }: GemmCase): Float64Array {
  const sums = new Float64Array(rows * outputs)
  for (let m = 0; m < rows; m++) {
    for (let n = 0; n < outputs; n++) {
      let sum = start[n]
      for (let k = 0; k < inputs; k++) sum += activations[m * inputs + k] * codes[k * outputs + n]
      sums[m * outputs + n] = sum
    }
  }
  return sums
}

/** Parts of the outputs that an epilogue works on. */
export function partsOfEpilogue(epilogue: Epilogue): 1 | 2 {
  return isGated(epilogue) ? 2 : 1
}

/** What the epilogue makes of the sums, by its definition. */
export function expectedGemm(one: GemmCase, epilogue: Epilogue): number[] {
  const numbers = numbersOf(one, epilogue)
  return isGated(epilogue) ? halvesOf(one, numbers).map(([gate, value]) => gate * value) : numbers
}

/** Numbers of columns [rows, outputs] in pairs: one of the first half, and that of the second half which it is multiplied with. */
function halvesOf({ linear: { outputs }, rows }: GemmCase, numbers: readonly number[]): [number, number][] {
  const half = outputs / 2
  return Array.from({ length: rows * half }, (_, i) => {
    const at = Math.floor(i / half) * outputs + (i % half)
    return [numbers[at], numbers[at + half]]
  })
}

function numbersOf(one: GemmCase, epilogue: Epilogue): number[] {
  const { outputs, parts, scale, bias, inputs, codes } = one.linear
  return Array.from(sumsOf(one), (sum, i) => {
    const [m, n] = [Math.floor(i / outputs), i % outputs]
    if (epilogue.kind === 's32') return sum
    let ofColumn = 0
    for (let k = 0; k < inputs; k++) ofColumn += codes[k * outputs + n]
    const [rowScale, offset] = epilogue.rows ? one.rowParameters.subarray(2 * m) : [1, 0]
    const residual = epilogue.kind === 'f32' && epilogue.residual ? one.residual[i] : 0
    const value = (sum + offset * ofColumn) * scale[n] * rowScale + (epilogue.bias ? bias[n] : 0) + residual
    const result = epilogue.activation && n < outputs / parts ? activationFunctions[epilogue.activation](value) : value
    return epilogue.kind === 'f32' ? result : Math.min(Math.max(result * one.linear.factor[n] + one.zeroPoint, 0), one.high)
  })
}

/** Numbers that differ by more than rounding errors from those that are expected, and codes by more than half a step. */
export function wrongNumbers(one: GemmCase, epilogue: Epilogue, got: readonly number[]): number[] {
  const sizes = sizesOf(one, epilogue)
  const coarse = epilogue.kind === 'codes' && epilogue.activation ? coarseError : 0
  return expectedGemm(one, epilogue).filter((value, i) => {
    const error = 1e-6 * sizes[i] + coarse
    const allowed = epilogue.kind === 'codes' ? 0.5 + error * one.linear.factor[i % one.linear.outputs] + 1e-4 : error
    return !(Math.abs(got[i] - value) <= allowed)
  })
}

/** What rounding errors are relative to; those of a product are the sums of those of its factors, each times the other factor. */
function sizesOf(one: GemmCase, epilogue: Epilogue): number[] {
  const sizes = magnitudes(one)
  if (!isGated(epilogue)) return sizes
  const numbers = halvesOf(one, numbersOf(one, epilogue))
  return halvesOf(one, sizes).map(([gate, value], i) => 2 * (gate * Math.abs(numbers[i][1]) + value * Math.abs(numbers[i][0])))
}

/** A call that is ready to be made. */
export interface GemmCall {
  readonly parameters: BigInt64Array
  /** What the kernel wrote; checks that nothing between the rows was touched. */
  readonly read: () => number[]
}

/** Places the arrays of a product, and says how to call the kernel and what to read afterwards. */
export function placeGemm(arena: Arena, machine: DotMachine, one: GemmCase, epilogue: Epilogue, options: PlaceOptions = {}): GemmCall {
  const { linear, rows, gap } = one
  const { inPlace = false, inputMultiple, highest } = options
  const columns = panelColumns(machine)
  const panels = packPanels(linear, { machine, order: panelOrder(epilogue), overlap: inPlace ? 'skip' : 'repeat', inputMultiple, highest })
  const element = outputBytes(epilogue)
  const stride = panels.groups * machine.group + gap
  const activationStride = (stride * 4) / machine.group
  const outputs = linear.outputs / linear.parts
  const length = Math.max(outputs, columns) + gap
  const [activations, weights, output, added, rowParameters] = [
    rows * activationStride,
    panels.bytes.length,
    rows * length * element,
    rows * length * 4,
    rows * 8,
  ].map((bytes) => arena.place(Math.max(64, bytes)))
  const numbers = numbersIn(activations, activationTypes[machine.group] as typeof Float32Array, rows * stride)
  // What stands behind the inputs of a row meets weights of zero.
  numbers.fill(255)
  for (let m = 0; m < rows; m++) numbers.set(one.activations.subarray(m * linear.inputs, (m + 1) * linear.inputs), m * stride)
  weights.bytes.set(panels.bytes)
  output.bytes.fill(untouched)
  numbersIn(rowParameters, Float32Array, 2 * rows).set(one.rowParameters)
  const residual = inPlace || isGated(epilogue) ? output : added
  if (epilogue.kind === 'f32' && epilogue.residual) {
    const floats = numbersIn(residual, Float32Array, rows * length)
    for (let m = 0; m < rows; m++) floats.set(one.residual.subarray(m * outputs, (m + 1) * outputs), m * length)
  }
  const parameters = gemmParameters.block({
    activations: activations.address,
    activationStride,
    rows,
    panels: weights.address,
    panelCount: panels.count,
    panelStride: panels.stride,
    groups: panels.groups,
    lastColumn: panels.lastColumn,
    output: output.address,
    outputStride: length * element,
    residual: residual.address,
    residualStride: length * 4,
    rowParameters: rowParameters.address,
    rowParametersStride: 8,
    zeroPoint: one.zeroPoint,
    high: one.high,
  })
  const read = () => {
    const typed = numbersIn(output, outputTypes[epilogue.kind] as typeof Float32Array, rows * length)
    const result: number[] = []
    for (let m = 0; m < rows; m++) {
      result.push(...typed.subarray(m * length, m * length + outputs))
      const between = output.bytes.subarray((m * length + Math.max(outputs, columns)) * element, (m + 1) * length * element)
      if (!between.every((byte) => byte === untouched)) throw new Error(`Bytes behind row ${m} were written`)
    }
    return result
  }
  return { parameters, read }
}

export interface PlaceOptions {
  /** The residual is the output. */
  readonly inPlace?: boolean
  readonly inputMultiple?: number
  /** What activations are at most. */
  readonly highest?: number
}

const outputTypes = { codes: Uint8Array, s32: Int32Array, f32: Float32Array }
const untouched = 0xa5

/** Shapes with tails of every kind. */
export const gemmShapes = fc.record({
  seed: fc.nat(),
  rows: fc.oneof(fc.integer({ min: 0, max: 14 }), fc.integer({ min: 15, max: 40 })),
  inputs: fc.integer({ min: 1, max: 70 }),
  outputs: fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(16, 32, 64, 128)),
  gap: fc.integer({ min: 0, max: 9 }),
})
export type GemmShape = typeof gemmShapes extends fc.Arbitrary<infer T> ? T : never

/** Numbers of every kind, which lean to the ends of their ranges. */
export function gemmCaseOf(
  { seed, rows, inputs, gap, ...shape }: GemmShape,
  largest: number,
  largestCode = 128,
  parts: 1 | 2 = 1,
): GemmCase {
  const outputs = parts * shape.outputs
  const random = new Random(seed)
  const integer = (low: number, high: number) => {
    const draw = random.integer(8)
    return draw === 0 ? low : draw === 1 ? high : low + random.integer(high - low + 1)
  }
  const floats = (count: number, of: () => number) => Float32Array.from({ length: count }, of)
  return {
    rows,
    gap,
    high: integer(0, 255),
    linear: {
      inputs,
      outputs,
      parts,
      codes: Int8Array.from({ length: inputs * outputs }, () => integer(-largestCode, Math.min(127, largestCode))),
      start: Int32Array.from({ length: outputs }, () => (random.integer(2) ? integer(-(2 ** 24), 2 ** 24) : 0)),
      scale: floats(outputs, () => [1, 0.5, 1000, 1e-3, 1e-5][random.integer(5)] * (random.integer(2) ? 1 : random.uniform())),
      bias: floats(outputs, () => random.normal()),
      factor: floats(outputs, () => [1, 0.1, 20][random.integer(3)] * random.uniform()),
    },
    activations: Uint8Array.from({ length: rows * inputs }, () => integer(0, largest)),
    zeroPoint: integer(0, 255),
    residual: floats(rows * outputs, () => random.normal()),
    rowParameters: floats(2 * rows, () => random.normal()),
  }
}

/** The same in float32: sums begin with the bias, and scales are ones. */
export function floatGemmCaseOf(shape: GemmShape, parts: 1 | 2 = 1): GemmCase {
  const one = gemmCaseOf(shape, 127, 128, parts)
  const random = new Random(shape.seed, 'floats')
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  const { inputs, outputs } = one.linear
  const linear = { ...one.linear, codes: normals(inputs * outputs), start: normals(outputs), scale: new Float32Array(outputs).fill(1) }
  return { ...one, linear, activations: normals(shape.rows * inputs) }
}

/** Sum of the magnitudes of all terms, which rounding errors are relative to. */
export function magnitudes(one: GemmCase): number[] {
  const { inputs, outputs, codes, start, scale, bias } = one.linear
  return Array.from({ length: one.rows * outputs }, (_, i) => {
    const [m, n] = [Math.floor(i / outputs), i % outputs]
    const [rowScale, offset] = one.rowParameters.subarray(2 * m)
    let [sum, ofColumn] = [Math.abs(start[n]), 0]
    for (let k = 0; k < inputs; k++) {
      sum += Math.abs(one.activations[m * inputs + k] * codes[k * outputs + n])
      ofColumn += Math.abs(codes[k * outputs + n])
    }
    return (
      (sum + Math.abs(offset) * ofColumn) * scale[n] * Math.max(1, Math.abs(rowScale)) +
      Math.abs(bias[n]) +
      Math.abs(one.residual[i]) +
      1e-30
    )
  })
}
