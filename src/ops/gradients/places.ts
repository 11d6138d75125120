import { int, string } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import type { GradientBuilder } from './rule.js'
import { flat, integers, rangeTo, reshape, scalar, shaped, shapeValue } from './terms.js'

/**
 * The gradient of a node that gives elements of its first input alone: it moves the places 0, 1, 2 ... of that input as it
 * moves its elements, and each element of dY is added to its place.
 */
export function addedToPlaces(node: Node, dy: Value, g: GradientBuilder): Value {
  const x = node.inputs[0]!
  const size = g.op('Size', [x])
  const places = reshape(g, rangeTo(g, size), shapeValue(g, x), x.shape)
  const from = shaped(g.op(node.operator, [places, ...node.inputs.slice(1)], node.attributes), dy)
  const zeros = g.op('Expand', [scalar(g, 0, dy), reshape(g, size, integers(g, [1]))])
  const sums = g.op('ScatterElements', [zeros, flat(g, from), flat(g, dy)], { axis: int(0), reduction: string('add') })
  return reshape(g, sums, shapeValue(g, x), x.shape)
}
