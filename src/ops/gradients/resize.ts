/** Gradients of resampling. What is linear in its input goes back by the transposed matrix. */
import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray, numbersOf } from '../../numbers/dtype.js'
import { planOf, tapsOf } from '../resampling.js'
import { range } from '../support.js'
import type { GradientRule } from './rule.js'
import { expandLike, integers, reshape, scalar, shapeOf, sizeAlong, sizes, transpose } from './terms.js'

/** The elements of an input that must be constant; none when it is absent. */
function constantElements(node: Node, index: number): number[] {
  const value = node.input(index)
  if (!value) return []
  if (value.tensor?.elements) return Array.from(numbersOf({ data: value.tensor.elements }))
  throw unsupported(`${value.name} of ${node.type} ${node.name || node.output.name} is not constant, and its gradient needs it`)
}

/** One matrix product for each resampled axis. */
export const resizeGradient: GradientRule = (node, [dy], g) => {
  const x = node.inputs[0]!
  const shape = shapeOf(x).map((dim) => (typeof dim === 'number' ? dim : Number.NaN))
  const [roi, scales, lengths] = [1, 2, 3].map((index) => constantElements(node, index))
  let flowing = dy!
  for (const plan of planOf(node, shape, roi, scales, lengths)) {
    if (plan.scale === 1 && plan.output === plan.input && plan.start === 0 && plan.end === 1) continue
    if (Number.isNaN(plan.input)) {
      if (plan.scale === 1 && !lengths.length) continue
      throw unsupported(`axis ${plan.axis} of ${x.name} must be of known size for the gradient of Resize`)
    }
    const taps = tapsOf(node, plan)
    const matrix = new Float64Array(taps.length * plan.input)
    taps.forEach((row, i) => {
      for (const { at, weight } of row ?? []) matrix[i * plan.input + at] += weight
    })
    const weights = g.constant(ndarray(x.dtype ?? 'float32', [taps.length, plan.input], matrix))
    const last = shape.length - 1
    const order = range(shape.length, (axis) => (axis === plan.axis ? last : axis === last ? plan.axis : axis))
    const turn = (value: Value): Value => (plan.axis === last ? value : transpose(g, value, order))
    flowing = turn(g.op('MatMul', [turn(flowing), weights]))
  }
  return [flowing]
}

/** A grid is its coordinates, and a one, times the matrix. */
export const affineGridGradient: GradientRule = (node, [dy], g) => {
  const [theta, size] = [node.inputs[0]!, node.inputs[1]!]
  const rank = Number(shapeOf(theta)[1])
  const identity = ndarray(
    theta.dtype ?? 'float32',
    [1, rank, rank + 1],
    range(rank * (rank + 1), (i) => Number(i % (rank + 1) === Math.floor(i / (rank + 1)))),
  )
  const grid = g.op('AffineGrid', [expandLike(g, g.constant(identity), theta), size], node.attributes)
  const points = (value: Value): Value => reshape(g, value, sizes(g, [sizeAlong(g, theta, 0), -1, rank]))
  const places = points(grid)
  const ones = g.op('Expand', [
    scalar(g, 1, theta),
    g.op('Concat', [g.op('Shape', [places], { end: int(2) }), integers(g, [1])], { axis: int(0) }),
  ])
  const product = g.op('MatMul', [
    g.op('Transpose', [points(dy!)], { perm: { kind: 'ints', value: [0, 2, 1] } }),
    g.op('Concat', [places, ones], { axis: int(-1) }),
  ])
  product.shape = theta.shape
  return [product, null]
}
