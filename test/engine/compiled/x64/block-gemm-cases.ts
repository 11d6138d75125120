import fc from 'fast-check'
import { Random } from '../../../../src/base/random.js'
import { activationFunctions } from '../../../../src/engine/compiled/reference/functions.js'
import { activationBlock, type BlockEpilogue, blockGemmParameters } from '../../../../src/engine/compiled/x64/block-gemm.js'
import type { BlockMachine } from '../../../../src/engine/compiled/x64/block-machine.js'
import { type BlockFormat, type BlockSource, blockInputs, packBlocks } from '../../../../src/engine/compiled/x64/block-weights.js'
import { fromCodes, toCodes } from '../../../../src/numbers/minifloat.js'
import { roundHalfEven } from '../../../../src/numbers/rounding.js'
import { packBits, unpackBits } from '../../../../src/numbers/storage.js'
import { type Arena, numbersIn } from './arena.js'

/** A block of activations as the reference quantizes it. */
export function referenceBlock(values: Float32Array): { codes: number[]; scale: number; sum: number } {
  const largest = Math.max(2 ** -100, ...values.map(Math.abs))
  const inverse = Math.fround(127 / largest)
  const codes = Array.from(values, (value) => roundHalfEven(Math.fround(value * inverse)) + 0)
  return { codes, scale: Math.fround(largest / 127), sum: codes.reduce((total, code) => total + code, 0) }
}

/** The formats that there are. */
export const blockFormats: BlockFormat[] = [
  { bits: 4, zero: 8, minimums: false, halfScales: true },
  { bits: 4, zero: 8, minimums: false, halfScales: false },
  { bits: 4, zero: 0, minimums: true, halfScales: true },
  { bits: 4, zero: 0, minimums: true, halfScales: false },
  { bits: 8, zero: 128, minimums: false, halfScales: true },
  { bits: 8, zero: 128, minimums: true, halfScales: false },
]

/** Shapes with tails of every kind. */
export const blockShapes = fc.record({
  seed: fc.nat(),
  rows: fc.integer({ min: 0, max: 11 }),
  blocks: fc.integer({ min: 1, max: 5 }),
  outputs: fc.integer({ min: 1, max: 40 }),
  gap: fc.constantFrom(0, 16),
})

function sourceOf(random: Random, format: BlockFormat, inputs: number, outputs: number): BlockSource {
  const extremes = (low: number, high: number) => [low, high, low + random.integer(high - low + 1)][Math.min(2, random.integer(6))]
  const count = (inputs / blockInputs) * outputs
  const factors = () => {
    const values = Float32Array.from({ length: count }, () => random.normal())
    return format.halfScales ? (toCodes('float16', values) as Uint16Array) : values
  }
  const codes = { length: inputs * outputs }
  return {
    inputs,
    outputs,
    codes: packBits(
      Uint8Array.from(codes, () => extremes(0, 2 ** format.bits - 1)),
      format.bits,
    ),
    scales: factors(),
    minimums: format.minimums ? factors() : undefined,
    bias: Float32Array.from({ length: outputs }, () => random.normal()),
  }
}

export type BlockShape = typeof blockShapes extends fc.Arbitrary<infer T> ? T : never

/** All that a product of block weights needs. */
export interface BlockCase {
  readonly shape: BlockShape
  readonly format: BlockFormat
  readonly epilogue: BlockEpilogue
  readonly source: BlockSource
  /** [rows, inputs] */
  readonly input: Float32Array
  /** [rows, outputs] */
  readonly residual: Float32Array
}

export function blockCaseOf(shape: BlockShape, format: BlockFormat, epilogue: BlockEpilogue): BlockCase {
  const { seed, rows, blocks, outputs } = shape
  const random = new Random(seed)
  const inputs = blocks * blockInputs
  const normals = (length: number) => Float32Array.from({ length }, () => random.normal())
  const parts = epilogue.gate ? 2 : 1
  const source = { ...sourceOf(random, format, inputs, parts * outputs), parts } as const
  return { shape, format, epilogue, source, input: normals(rows * inputs), residual: normals(rows * outputs) }
}

/** Places the arrays of a product, and says how to call the kernel and what to read afterwards. */
export function placeBlockGemm(
  arena: Arena,
  machine: BlockMachine,
  one: BlockCase,
): { parameters: BigInt64Array; read: () => Float32Array } {
  const { rows, blocks, outputs, gap } = one.shape
  const panels = packBlocks(one.source, one.format, machine)
  const stride = blocks * activationBlock.bytes + gap
  const length = Math.max(outputs, machine.columns)
  const [activations, weights, output, residual] = [rows * stride, panels.bytes.length, rows * length * 4, rows * length * 4].map((bytes) =>
    arena.place(Math.max(64, bytes)),
  )
  for (let i = 0; i < rows * blocks; i++) {
    const at = Math.floor(i / blocks) * stride + (i % blocks) * activationBlock.bytes
    const { codes, scale, sum } = referenceBlock(one.input.subarray(i * blockInputs, (i + 1) * blockInputs))
    const view = new DataView(activations.bytes.buffer, activations.bytes.byteOffset + at)
    for (const [k, code] of codes.entries()) view.setInt8(k, code)
    view.setFloat32(activationBlock.scale, scale, true)
    view.setInt32(activationBlock.sum, sum, true)
    view.setFloat32(activationBlock.scaledSum, scale * sum, true)
  }
  weights.bytes.set(panels.bytes)
  const added = numbersIn(residual, Float32Array, rows * length)
  for (let m = 0; m < rows; m++) added.set(one.residual.subarray(m * outputs, (m + 1) * outputs), m * length)
  const parameters = blockGemmParameters.block({
    activations: activations.address,
    activationStride: stride,
    rows,
    panels: weights.address,
    panelCount: panels.count,
    panelStride: panels.stride,
    lastColumn: panels.lastColumn,
    blocks: panels.blocks,
    output: output.address,
    outputStride: length * 4,
    residual: one.epilogue.gate ? output.address : residual.address,
    residualStride: length * 4,
    rowParameters: 0,
  })
  const read = () => {
    const all = numbersIn(output, Float32Array, rows * length)
    return Float32Array.from({ length: rows * outputs }, (_, i) => all[Math.floor(i / outputs) * length + (i % outputs)])
  }
  return { parameters, read }
}

/** The outputs that differ from the reference by more than rounding of float32. */
export function wrongOutputs({ shape, format, epilogue, source, input, residual }: BlockCase, got: Float32Array): number[] {
  return [...got.keys()].filter((i) => {
    const [m, n] = [Math.floor(i / shape.outputs), i % shape.outputs]
    const [first, second] = [n, n + shape.outputs].map((column) => {
      if (column >= source.outputs) return { value: 1, size: 0 }
      const { value, size } = reference(source, format, input.subarray(m * source.inputs, (m + 1) * source.inputs), column)
      const rest = (epilogue.bias ? source.bias![column] : 0) + (epilogue.residual ? residual[i] : 0)
      return { value: value + rest, size: size + Math.abs(rest) }
    })
    const value = epilogue.gate ? activationFunctions[epilogue.gate](first.value) : first.value
    const error = first.size * Math.abs(second.value) + second.size * Math.abs(value)
    return !(Math.abs(got[i] - value * second.value) <= (epilogue.gate ? 2e-6 : 1e-6) * error)
  })
}

/** What may follow a product of block weights. */
export const blockEpilogues: readonly BlockEpilogue[] = [
  {},
  { bias: true },
  { residual: true },
  { bias: true, residual: true },
  { bias: true, gate: 'silu' },
]

/** The value in float64, and the size that its rounding errors are relative to. */
function reference(source: BlockSource, { bits, zero }: BlockFormat, input: Float32Array, n: number): { value: number; size: number } {
  const blocks = source.inputs / blockInputs
  const integers = unpackBits(source.codes, source.inputs * source.outputs, bits)
  const [scales, minimums] = [source.scales, source.minimums].map((values) =>
    values instanceof Uint16Array ? fromCodes('float16', values) : values,
  )
  let [value, size] = [0, 0]
  for (let b = 0; b < blocks; b++) {
    const { codes, scale, sum } = referenceBlock(input.subarray(b * blockInputs, (b + 1) * blockInputs))
    let dot = 0
    for (const [k, code] of codes.entries()) dot += code * (integers[n * source.inputs + b * blockInputs + k] - zero)
    const [factor, minimum] = [scales, minimums].map((values) => values?.[n * blocks + b] ?? 0)
    const terms = [scale * factor * dot, scale * minimum * sum]
    value += terms[0] + terms[1]
    size += Math.abs(terms[0]) + Math.abs(terms[1])
  }
  return { value, size: size + 1e-30 }
}
