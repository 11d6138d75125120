/** Gradients along one axis or plane: the largest, the different, running sums and products, triangles, determinants. */
import { unsupported } from '../../base/errors.js'
import { int, string } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { range } from '../support.js'
import { addedAlong } from './gather.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import {
  castLike,
  divide,
  flat,
  multiply,
  rangeTo,
  reshapeLike,
  shaped,
  shapeOf,
  sizeAlong,
  sumOver,
  transpose,
  unsqueeze,
  zerosLike,
} from './terms.js'

/** What was chosen gets the gradient of its place. */
export const topKGradient: GradientRule = (node, [dy], g) => [
  g.op('ScatterElements', [zerosLike(g, node.inputs[0]!, dy!), g.output(node, 1), dy!], {
    axis: int(node.int('axis', -1)),
    reduction: string('add'),
  }),
]

/** Of equal parts the first gets the gradient. */
export const uniqueGradient: GradientRule = (node, [dy], g) => {
  const [x, axis] = [node.inputs[0]!, node.int('axis')]
  const firsts = g.output(node, 1)
  if (axis !== undefined) return [addedAlong(g, x, firsts, axis, dy!)]
  return [reshapeLike(g, addedAlong(g, flat(g, x), firsts, 0, dy!), x)]
}

function summedBackwards(g: GradientBuilder, node: Node, x: Value): Value {
  return g.op('CumSum', [x, node.inputs[1]!], { exclusive: int(node.int('exclusive', 0)), reverse: int(1 - node.int('reverse', 0)) })
}

export const cumSumGradient: GradientRule = (node, [dy], g) => [summedBackwards(g, node, dy!)]

/** Each product that an element is in, less that element: elements of exactly zero are not handled (their gradient is NaN). */
export const cumProdGradient: GradientRule = (node, [dy], g) => [
  divide(g, summedBackwards(g, node, multiply(g, dy!, node.output)), node.inputs[0]!),
]

export const triluGradient: GradientRule = (node, [dy], g) => [g.op('Trilu', [dy!, node.input(1)], node.attributes)]

/** Of start + i delta. */
export const rangeGradient: GradientRule = (node, [dy], g) => {
  const [start, , delta] = node.inputs as Value[]
  const steps = shaped(castLike(g, rangeTo(g, sizeAlong(g, node.output, 0)), dy!), dy!)
  return [reshapeLike(g, sumOver(g, dy!, [0], false), start), null, reshapeLike(g, sumOver(g, multiply(g, dy!, steps), [0], false), delta)]
}

/** The cofactors: determinants of what is left without a row and a column, with signs like a chessboard. */
export const detGradient: GradientRule = (node, [dy], g) => {
  const x = node.inputs[0]!
  const [rank, size] = [shapeOf(x).length, shapeOf(x).at(-1)!]
  if (typeof size !== 'number') throw unsupported(`${x.name} must be of known size for the gradient of its determinant`)
  const flowing = unsqueeze(g, dy!, rank - 2, rank - 1)
  if (size === 1) return [flowing]
  const others = range(size).flatMap((i) => range(size).filter((k) => k !== i))
  const rest = g.constant(ndarray('int64', [size, size - 1], others))
  const rows = g.op('Gather', [x, rest], { axis: int(rank - 2) })
  const minors = g.op('Gather', [rows, rest], { axis: int(rank) })
  const pairs = transpose(g, minors, [...range(rank - 2), rank - 2, rank, rank - 1, rank + 1])
  const signs = range(size * size, (i) => ((Math.floor(i / size) + (i % size)) % 2 ? -1 : 1))
  const cofactors = multiply(g, g.op('Det', [pairs]), g.constant(ndarray(x.dtype ?? 'float32', [size, size], signs)))
  return [multiply(g, flowing, cofactors)]
}
