/** ONNX Runtime's fused operators spelled out by those of the standard. */
import { ints, string } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { layerNormalized } from './normalization.js'
import type { Expansion, GradientBuilder } from './rule.js'
import { add, cast, multiply, rangeTo, scalar, shapeOf, sizeAlong, sumOver } from './terms.js'

/** A Gelu of x plus a bias that may be absent. */
function biasedGelu(approximate: string): Expansion {
  return {
    expand(node, g) {
      const [x, bias] = [node.inputs[0]!, node.input(1)]
      return [g.op('Gelu', [bias ? add(g, x, bias) : x], { approximate: string(approximate) })]
    },
  }
}

export const biasGelu = biasedGelu('none')
export const fastGelu = biasedGelu('tanh')

/** Order of the axes that FusedMatMul's attributes ask for; null when it is the usual one. */
export function operandOrder(rank: number, transpose: number, transposeBatch: number): number[] | null {
  if (rank < 2 || !(transpose || transposeBatch)) return null
  const axes = Array.from({ length: rank }, (_, i) => i)
  const order = transposeBatch ? [...axes.slice(1, -1), 0, rank - 1] : axes
  return transpose ? [...order.slice(0, -2), order[rank - 1], order[rank - 2]] : order
}

export const fusedMatMul: Expansion = {
  expand(node, g) {
    const operand = (x: Value, side: 'A' | 'B'): Value => {
      const order = operandOrder(shapeOf(x).length, node.int(`trans${side}`, 0), node.int(`transBatch${side}`, 0))
      return order ? g.op('Transpose', [x], { perm: ints(order) }) : x
    }
    const product = g.op('MatMul', [operand(node.inputs[0]!, 'A'), operand(node.inputs[1]!, 'B')])
    return [multiply(g, product, node.float('alpha', 1))]
  },
}

/** How many tokens of each sample the mask keeps, as int32; 0 without a mask. */
function keptTokens(g: GradientBuilder, node: Node, ids: Value): Value {
  const mask = node.input(7)
  const zeros = cast(g, multiply(g, ids, 0), 'int32')
  const flags = mask ? cast(g, g.op('Equal', [mask, scalar(g, 1, mask)]), 'int32') : zeros
  return sumOver(g, flags, [1], false)
}

export const embedLayerNormalization: Expansion = {
  expand(node, g) {
    const [ids, segmentIds, words, places, segments, gamma, beta] = node.inputs
    const positions = node.input(8) ?? rangeTo(g, sizeAlong(g, ids!, 1))
    const gathered = (table: Value, rows: Value): Value => g.op('Gather', [table, rows])
    const placed = add(g, gathered(words!, ids!), gathered(places!, positions))
    const sum = segments && segmentIds ? add(g, placed, gathered(segments, segmentIds)) : placed
    const [y] = layerNormalized(g, sum, gamma!, beta!, node.float('epsilon', 1e-12))
    return [y, keptTokens(g, node, ids!), sum]
  },
}
