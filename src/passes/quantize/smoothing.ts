import type { ChannelRangeObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'

/** Multiples of the median channel's largest magnitude that channels may keep. */
export const smoothingChoices = [4, 2, 1] as const

/**
 * Factors at most 1 that bring channels with outliers down to a multiple of the median channel's largest magnitude.
 * The weights that read the channels are divided by them. In contrast to SmoothQuant only outliers move.
 */
export function smoothingFactors({ min, max }: ChannelRangeObserver, multiple: number): Float32Array {
  const magnitudes = max.map((high, c) => Math.max(high, -min[c]))
  const most = multiple * magnitudes.slice().sort()[magnitudes.length >> 1]
  return Float32Array.from(magnitudes, (magnitude) => (magnitude > most && most > 0 ? most / magnitude : 1))
}

/** Each row of a weight [inputs, outputs] divided by its factor. */
export function divideRows(weight: Float32Array, factors: Float32Array): Float32Array {
  const outputs = weight.length / factors.length
  const result = weight.slice()
  for (let k = 0, i = 0; k < factors.length; k++) {
    const inverse = 1 / factors[k]
    for (const end = i + outputs; i < end; i++) result[i] *= inverse
  }
  return result
}

/** Each column of [rows, factors] times its factor. */
export function multiplyColumns(rows: Float32Array, factors: Float32Array): Float32Array {
  const result = new Float32Array(rows.length)
  for (let i = 0; i < rows.length; ) for (let c = 0; c < factors.length; c++, i++) result[i] = rows[i] * factors[c]
  return result
}

/** Puts the multiplication by the factors before a node. */
export function insertFactors(graph: Graph, value: Value, factors: Float32Array, module: string, before: Node): Value {
  const constant = graph.addConstant(`${module}.input_factors`, new ArrayTensor('float32', [factors.length], factors))
  return new Net(graph, undefined, module).op('Mul', [value, constant], {}, { before })
}
