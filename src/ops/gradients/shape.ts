/** Gradients of operators that move elements around: the same elements, moved back. */
import { int, ints } from '../../ir/attribute.js'
import type { Node } from '../../ir/node.js'
import { isFloat } from '../../numbers/dtype.js'
import { normalizeAxis } from '../support.js'
import type { GradientRule } from './rule.js'
import { castLike, integers, reshapeLike, shapeOf, sumTo } from './terms.js'

export const identityGradient: GradientRule = (_, [dy]) => [dy]

/** Of Cast and CastLike: straight through, in the dtype that came in; integers take floats (see QuantizeLinear). */
export const castGradient: GradientRule = (node, [dy], g) => {
  const x = node.inputs[0]!
  return [x.dtype && isFloat(x.dtype) ? castLike(g, dy!, x) : dy]
}

/** Of Reshape, Squeeze, Unsqueeze and Flatten. */
export const reshapeGradient: GradientRule = (node, [dy], g) => [reshapeLike(g, dy!, node.inputs[0]!)]

export const transposeGradient: GradientRule = (node, [dy], g) => {
  const permutation = node.ints('perm')
  if (!permutation) return [g.op('Transpose', [dy!])]
  const inverse = permutation.map((_, axis) => permutation.indexOf(axis))
  return [g.op('Transpose', [dy!], { perm: ints(inverse) })]
}

export const expandGradient: GradientRule = (node, [dy], g) => [sumTo(g, dy!, node.inputs[0]!)]

/** Each input gets its part of dY. */
export const concatGradient: GradientRule = (node, [dy], g) => {
  if (node.inputs.length === 1) return [dy]
  const axis = axisOf(node)
  const sizes = node.inputs.map((input) => shapeOf(input!)[axis])
  const lengths = sizes.every((size) => typeof size === 'number')
    ? integers(g, sizes as number[])
    : g.op(
        'Concat',
        node.inputs.map((input) => g.op('Shape', [input], { start: int(axis), end: int(axis + 1) })),
        { axis: int(0) },
      )
  const parts = g.ops('Split', [dy!, lengths], node.inputs.length, { axis: int(axis) })
  parts.forEach((part, i) => {
    part.shape = node.inputs[i]!.shape
  })
  return parts
}

/** Parts that the loss does not depend on count as zeros. */
export const splitGradient: GradientRule = (node, gradients, g) => {
  const parts = gradients.map((dy, i) => dy ?? g.op('Sub', [node.outputs[i], node.outputs[i]]))
  return [g.op('Concat', parts, { axis: int(axisOf(node, 0)) })]
}

function axisOf(node: Node, fallback = 0): number {
  return normalizeAxis(node.int('axis', fallback), shapeOf(node.inputs[0]!).length)
}
