import type { Linear } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import { ArrayTensor } from '../../ir/tensor.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, type Codes, integerGrid } from '../../numbers/quantizer.js'
import { roundSmall } from '../../numbers/rounding.js'
import type { QuantizedConstant } from './apply.js'
import { multiplyColumns } from './smoothing.js'

const grid = integerGrid('uint8')

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
  plan: InputPlan,
): Promise<void> {
  if (!linear.bias?.tensor) return
  const before = timesMatrix(meanRow(rows, special, linear.inputs), weight)
  const after = timesMatrix(meanQuantizedRow(rows, special, linear.inputs, plan), codes.codes)
  const bias = (await linear.bias.tensor.read()) as Float32Array
  const corrected = bias.map((b, n) => b + before[n] - after[n] * codes.parameters.scale[n])
  graph.setTensor(linear.bias, new ArrayTensor('float32', [linear.outputs], corrected))
}

/** Mean over the rows that are not special, of [rows, channels]. */
function meanRow(rows: Float32Array, special: Uint8Array, channels: number): Float64Array {
  const sum = new Float64Array(channels)
  let count = 0
  special.forEach((mark, row) => {
    if (mark) return
    count++
    for (let c = 0, i = row * channels; c < channels; c++, i++) sum[c] += rows[i]
  })
  return count ? sum.map((total) => total / count) : sum
}

/** The same of what the runtime makes of them. */
function meanQuantizedRow(rows: Float32Array, special: Uint8Array, channels: number, { factors, range }: InputPlan): Float64Array {
  const { scale, zeroPoint } = affineFromRange(range.min, range.max, grid)
  const [least, most] = [grid.min - zeroPoint, grid.max - zeroPoint]
  const scaled = factors ? multiplyColumns(rows, factors) : rows
  const steps = new Float64Array(channels)
  let count = 0
  special.forEach((mark, row) => {
    if (mark) return
    count++
    for (let c = 0, i = row * channels; c < channels; c++, i++) {
      const step = Math.fround(scaled[i] / scale)
      steps[c] += roundSmall(step < least ? least : step > most ? most : step)
    }
  })
  return count ? steps.map((total) => (total / count) * scale) : steps
}

/** [depth] times [depth, columns]. */
function timesMatrix(vector: Float64Array, matrix: Float32Array | Codes): Float64Array {
  const columns = matrix.length / vector.length
  const result = new Float64Array(columns)
  for (let k = 0, i = 0; k < vector.length; k++) {
    const factor = vector[k]
    for (let n = 0; n < columns; n++) result[n] += factor * matrix[i++]
  }
  return result
}
