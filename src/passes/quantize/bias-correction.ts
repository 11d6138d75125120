import type { Linear } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import { ArrayTensor } from '../../ir/tensor.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, dequantize, integerGrid, quantize, wholeTensor } from '../../numbers/quantizer.js'
import type { QuantizedConstant } from './apply.js'

/** How a linear's input is quantized. */
export interface InputPlan {
  readonly factors: Float32Array | null
  readonly range: Range
}

/**
 * Adds what quantization takes off each output on average to the bias: mean(x) W - mean(q(x)) Wq, over tokens that are
 * not special (Nagel et al., Data-free quantization, 2019, section 4.2, from samples).
 */
export async function correctBias(
  graph: Graph,
  linear: Linear,
  weight: Float32Array,
  codes: QuantizedConstant,
  rows: Float32Array,
  special: Uint8Array,
  { factors, range }: InputPlan,
): Promise<void> {
  if (!linear.bias?.tensor) return
  const { inputs } = linear
  const scaled = factors ? rows.map((x, i) => x * factors[i % inputs]) : rows
  const grid = integerGrid('uint8')
  const parameters = wholeTensor(affineFromRange(range.min, range.max, grid))
  const before = timesMatrix(meanRow(rows, special, inputs), weight)
  const after = timesMatrix(
    meanRow(dequantize(quantize(scaled, parameters, grid), parameters), special, inputs),
    dequantize(codes.codes, codes.parameters, codes.layout),
  )
  const bias = (await linear.bias.tensor.read()) as Float32Array
  const corrected = bias.map((b, n) => b + before[n] - after[n])
  graph.setTensor(linear.bias, new ArrayTensor('float32', [linear.outputs], corrected))
}

function meanRow(rows: Float32Array, special: Uint8Array, channels: number): Float64Array {
  const mean = new Float64Array(channels)
  const count = special.reduce((sum, mark) => sum + (mark ? 0 : 1), 0)
  special.forEach((mark, row) => {
    if (!mark) for (let c = 0; c < channels; c++) mean[c] += rows[row * channels + c] / count
  })
  return mean
}

function timesMatrix(vector: Float64Array, matrix: Float32Array): Float64Array {
  const columns = matrix.length / vector.length
  const result = new Float64Array(columns)
  for (let k = 0, i = 0; k < vector.length; k++) for (let n = 0; n < columns; n++, i++) result[n] += vector[k] * matrix[i]
  return result
}
