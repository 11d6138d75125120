/** Gradients of gathering and scattering: what was read from a place is added to it. */
import { int, string } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { normalizeAxis, range } from '../support.js'
import { addedToPlaces } from './places.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import {
  add,
  cast,
  castLike,
  divide,
  expandLike,
  flat,
  integers,
  multiply,
  rangeTo,
  reshape,
  scalar,
  shaped,
  shapeOf,
  sizeAlong,
  sizes,
  subtract,
  sumOver,
  transpose,
  unsqueeze,
  zerosLike,
} from './terms.js'

const adding = { reduction: { kind: 'string', value: 'add' } } as const

/** Zeros like `data` with the slices of `dy` added where `indices` point along an axis. */
export function addedAlong(g: GradientBuilder, data: Value, indices: Value, axis: number, dy: Value): Value {
  const [rank, width] = [shapeOf(data).length, shapeOf(indices).length]
  const at = normalizeAxis(axis, rank)
  const [outer, inner] = [range(at), range(rank - at - 1)]
  const updates = at ? transpose(g, dy, [...range(width, (i) => at + i), ...outer, ...inner.map((i) => at + width + i)]) : dy
  const target = at ? transpose(g, data, [at, ...outer, ...inner.map((i) => at + 1 + i)]) : data
  const sums = addedToSlices(g, target, cast(g, indices, 'int64'), updates)
  return at ? transpose(g, sums, [...outer.map((i) => i + 1), 0, ...inner.map((i) => at + 1 + i)]) : sums
}

/** Rows of a table up to which its one-hot product is quicker. */
const fewRows = 16

/**
 * Zeros like `data` with slices added along the first axis. Not by ScatterND: ONNX Runtime's adds from several threads at once and
 * loses what they add to the same place.
 */
function addedToSlices(g: GradientBuilder, data: Value, indices: Value, updates: Value): Value {
  const [rows, ...rest] = range(shapeOf(data).length, (axis) => sizeAlong(g, data, axis))
  const slices = reshape(g, updates, sizes(g, [-1, ...rest]))
  const places = reshape(g, indices, integers(g, [-1, ...rest.map(() => 1)]))
  if (rest.length === 1 && typeof rows === 'number' && rows <= fewRows)
    return g.op('Gemm', [oneHot(g, places, rows, slices), slices], { transA: int(1) })
  const everywhere = g.op('Expand', [places, g.op('Shape', [slices])])
  return g.op('ScatterElements', [zerosLike(g, data, updates), everywhere, slices], { ...adding, axis: int(0) })
}

/** [n, rows] with a 1 where each of `places` [n, 1] points, from the end where it is negative. */
function oneHot(g: GradientBuilder, places: Value, rows: number, like: Value): Value {
  const isNegative = g.op('Less', [places, g.constant(ndarray('int64', [], [0]))])
  const counted = g.op('Where', [isNegative, add(g, places, rows), places])
  return castLike(g, g.op('Equal', [counted, rangeTo(g, rows)]), like)
}

export const gatherGradient: GradientRule = (node, [dy], g) => [addedAlong(g, node.inputs[0]!, node.inputs[1]!, node.int('axis', 0), dy!)]

export const gatherElementsGradient: GradientRule = (node, [dy], g) => {
  const [data, indices] = [node.inputs[0]!, node.inputs[1]!]
  return [g.op('ScatterElements', [zerosLike(g, data, dy!), indices, dy!], { ...adding, axis: int(node.int('axis', 0)) })]
}

export const gatherNDGradient: GradientRule = (node, [dy], g) => [addedToPlaces(node, dy!, g)]

/** Ones in the shape of `like`. */
function onesLike(g: GradientBuilder, like: Value): Value {
  return expandLike(g, scalar(g, 1, like), like)
}

/**
 * The rule of ScatterElements and ScatterND. Of `none` indices must differ, as the standard says; of `mul` updates must not
 * be zero; of `min` and `max` elements that share the extreme share its gradient.
 */
function scatterGradient(gather: (g: GradientBuilder, from: Value, node: Node) => Value): GradientRule {
  return (node, [dy], g) => {
    const [data, indices, updates] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!]
    const scatter = (into: Value, values: Value, reduction: string): Value =>
      g.op(node.operator, [into, indices, values], { ...node.attributes, reduction: string(reduction) })
    const gathered = (from: Value): Value => shaped(gather(g, from, node), updates)
    switch (node.string('reduction', 'none')) {
      case 'none':
        return [scatter(dy!, zerosLike(g, updates), 'none'), null, gathered(dy!)]
      case 'add':
        return [dy, null, gathered(dy!)]
      case 'mul':
        return [
          multiply(g, dy!, scatter(onesLike(g, data), updates, 'mul')),
          null,
          divide(g, gathered(multiply(g, dy!, node.output)), updates),
        ]
    }
    const kept = castLike(g, g.op('Equal', [data, node.output]), data)
    const put = castLike(g, g.op('Equal', [updates, gathered(node.output)]), updates)
    const share = divide(g, dy!, scatter(kept, put, 'add'))
    return [multiply(g, share, kept), null, multiply(g, gathered(share), put)]
  }
}

export const scatterElementsGradient = scatterGradient((g, from, node) =>
  g.op('GatherElements', [from, node.inputs[1]!], { axis: int(node.int('axis', 0)) }),
)

export const scatterNDGradient = scatterGradient((g, from, node) => g.op('GatherND', [from, node.inputs[1]!]))

/** Rows of the cache that were written get nothing; the update gets what arrives there. */
export const tensorScatterGradient: GradientRule = (node, [dy], g) => {
  const [cache, update, starts] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const rank = shapeOf(cache).length
  const axis = normalizeAxis(node.int('axis', -2), rank)
  const others = [...Array(rank).keys()].filter((i) => i !== axis)
  let place = rangeTo(g, sizeAlong(g, update, axis))
  place = unsqueeze(g, place, ...others)
  if (starts) {
    const columns = others.filter((i) => i !== 0).concat(axis)
    place = add(g, place, unsqueeze(g, starts, ...columns.sort((a, b) => a - b)))
  }
  if (node.string('mode', 'linear') === 'circular')
    place = g.op('Mod', [place, g.op('Shape', [cache], { start: int(axis), end: int(axis + 1) })])
  const taken = g.op('GatherElements', [dy!, expandLike(g, place, update)], { axis: int(axis) })
  return [g.op('TensorScatter', [dy!, zerosLike(g, update), starts], node.attributes), shaped(taken, update)]
}

/** The two values of OneHot: what arrives where it is off and where it is on. */
export const oneHotGradient: GradientRule = (node, [dy], g) => {
  const [indices, depth, values] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!]
  const flags = g.op('OneHot', [indices, depth, g.constant(ndarray(values.dtype ?? 'float32', [2], [0, 1]))], node.attributes)
  const total = (x: Value): Value => sumOver(g, flat(g, x), [0])
  const on = total(multiply(g, dy!, shaped(flags, dy!)))
  return [null, null, g.op('Concat', [subtract(g, total(dy!), on), on], { axis: int(0) })]
}

/** A Gather of the places where the condition holds. */
export const compress: Expansion = {
  expand(node, g) {
    const [x, condition, axis] = [node.inputs[0]!, node.inputs[1]!, node.int('axis')]
    const places = g.op('Squeeze', [g.op('NonZero', [condition]), integers(g, [0])])
    return [g.op('Gather', [axis === undefined ? flat(g, x) : x, places], { axis: int(axis ?? 0) })]
  },
}
