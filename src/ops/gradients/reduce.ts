/** Gradients of reductions: dY spread over what was reduced. */

import { unsupported } from '../../base/errors.js'
import type { Node, Value } from '../../ir/node.js'
import { numbersOf } from '../../numbers/dtype.js'
import { normalizeAxes } from '../support.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import { castLike, divide, expandLike, integers, multiply, scalar, shapeOf, subtract, sumOver } from './terms.js'

/** The reduced axes. Throws `unsupported` where they are computed while the graph runs. */
function axesOf(node: Node): number[] {
  const rank = shapeOf(node.inputs[0]!).length
  const given = node.input(1)
  if (!given) return normalizeAxes(node.int('noop_with_empty_axes', 0) ? [] : undefined, rank)
  const elements = given.tensor?.elements
  if (!elements)
    throw unsupported(`the axes of ${node.type} ${node.name || node.output.name} are not constant, and its gradient needs them`)
  const axes = Array.from(numbersOf({ data: elements }), Number)
  return normalizeAxes(axes.length || node.int('noop_with_empty_axes', 0) ? axes : undefined, rank)
}

/** A rule from dY and Y with their reduced axes put back as 1. */
function spread(rule: (g: GradientBuilder, dy: Value, y: Value, x: Value, axes: readonly number[]) => Value): GradientRule {
  return (node, [dy], g) => {
    const [x, axes] = [node.inputs[0]!, axesOf(node)]
    const kept = (value: Value): Value => (node.int('keepdims', 1) || !axes.length ? value : g.op('Unsqueeze', [value, integers(g, axes)]))
    return [expandLike(g, rule(g, kept(dy!), kept(node.output), x, axes), x)]
  }
}

/** How many elements fall together, as a scalar like x. */
function count(g: GradientBuilder, x: Value, y: Value): Value {
  const size = (value: Value): Value => castLike(g, g.op('Size', [value]), x)
  return divide(g, size(x), size(y))
}

/** Elements that equal the extreme share its gradient. */
const extreme = spread((g, dy, y, x, axes) => {
  const chosen = castLike(g, g.op('Equal', [x, y]), dy)
  return multiply(g, chosen, divide(g, dy, sumOver(g, chosen, axes)))
})

/** Rules of reductions, by operator. */
export const reductionGradients = {
  ReduceSum: spread((_, dy) => dy),
  ReduceMean: spread((g, dy, y, x, axes) => {
    const sizes = axes.map((axis) => shapeOf(x)[axis])
    const known = sizes.every((size) => typeof size === 'number')
    return divide(g, dy, known ? sizes.reduce((a, b) => a * (b as number), 1) : count(g, x, y))
  }),
  /** The product of all other elements is y / x: elements of exactly zero are not handled (their gradient is NaN). */
  ReduceProd: spread((g, dy, y, x) => divide(g, multiply(g, dy, y), x)),
  ReduceL1: spread((g, dy, _, x) => multiply(g, dy, g.op('Sign', [x]))),
  ReduceL2: spread((g, dy, y, x) =>
    divide(g, multiply(g, dy, x), g.op('Where', [g.op('Equal', [y, scalar(g, 0, y)]), scalar(g, 1, y), y])),
  ),
  ReduceSumSquare: spread((g, dy, _, x) => multiply(g, multiply(g, dy, x), 2)),
  ReduceLogSum: spread((g, dy, y) => divide(g, dy, g.op('Exp', [y]))),
  ReduceLogSumExp: spread((g, dy, y, x) => multiply(g, dy, g.op('Exp', [subtract(g, x, y)]))),
  ReduceMax: extreme,
  ReduceMin: extreme,
} satisfies Record<string, GradientRule>
