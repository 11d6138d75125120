import type { MomentsObserver } from '../../calibration/observers.js'
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
export function smoothingFactors({ min, max }: MomentsObserver, multiple: number): Float32Array {
  const magnitudes = max.map((high, c) => Math.max(high, -min[c]))
  const most = multiple * magnitudes.slice().sort()[magnitudes.length >> 1]
  return Float32Array.from(magnitudes, (magnitude) => (magnitude > most && most > 0 ? most / magnitude : 1))
}

/** Each channel (column) of rows times its factor. */
export function scaleColumns(rows: Float32Array, factors: Float32Array): Float32Array {
  return rows.map((x, i) => x * factors[i % factors.length])
}

/** Each row of a weight [inputs, outputs] divided by its factor. */
export function divideRows(weight: Float32Array, factors: Float32Array, outputs: number): Float32Array {
  return weight.map((w, i) => w / factors[Math.floor(i / outputs)])
}

/** Puts the multiplication by the factors before a node. */
export function insertFactors(graph: Graph, value: Value, factors: Float32Array, module: string, before: Node): Value {
  const constant = graph.addConstant(`${module}.input_factors`, new ArrayTensor('float32', [factors.length], factors))
  return new Net(graph, undefined, module).op('Mul', [value, constant], {}, { before })
}
