/** Gradients of operators that choose, repeat and reorder elements: what was read from a place is added to it. */
import { int, string } from '../../ir/attribute.js'
import type { Value } from '../../ir/node.js'
import { numbersOf } from '../../numbers/dtype.js'
import { addedToPlaces } from './places.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import {
  cast,
  flat,
  integers,
  negate,
  reshape,
  reshapeLike,
  shaped,
  shapeOf,
  shapeValue,
  sizeAlong,
  sizes,
  subtract,
  sumOver,
  transpose,
  unsqueeze,
} from './terms.js'

/** Of operators that give elements of their first input alone. */
export const movedGradient: GradientRule = (node, [dy], g) => [addedToPlaces(node, dy!, g)]

function asIndices(g: GradientBuilder, x: Value): Value {
  return cast(g, x, 'int64')
}

/** The integers that a constant input has in memory. */
function constantIntegers(value: Value | null): number[] | null {
  const elements = value?.tensor?.elements
  return elements ? Array.from(numbersOf({ data: elements }), Number) : null
}

/** dY with zeros around it. */
export const sliceGradient: GradientRule = (node, [dy], g) => {
  const [x, starts] = [node.inputs[0]!, asIndices(g, node.inputs[1]!)]
  const steps = constantIntegers(node.input(4))
  if (node.input(4) && !steps?.every((step) => step === 1)) return [addedToPlaces(node, dy!, g)]
  const chosen = node.input(3)
  const axes = chosen ? asIndices(g, chosen) : integers(g, [...Array(Number(shapeOf(starts)[0])).keys()])
  const along = (value: Value): Value => g.op('Gather', [shapeValue(g, value), axes])
  const [length, zero] = [along(x), integers(g, [0])]
  const counted = g.op('Where', [g.op('Less', [starts, zero]), g.op('Add', [starts, length]), starts])
  const before = g.op('Max', [g.op('Min', [counted, length]), zero])
  const after = subtract(g, subtract(g, length, before), along(dy!))
  return [shaped(g.op('Pad', [dy!, g.op('Concat', [before, after], { axis: int(0) }), null, axes]), x)]
}

export const padGradient: GradientRule = (node, [dy], g) => {
  if (node.string('mode', 'constant') !== 'constant') return [addedToPlaces(node, dy!, g)]
  const [x, pads, fill] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const dx = shaped(g.op('Pad', [dy!, negate(g, pads), null, node.input(3)]), x)
  const total = (value: Value): Value => sumOver(g, flat(g, value), [0], false)
  return [dx, null, fill && reshapeLike(g, subtract(g, total(dy!), total(dx)), fill)]
}

/** Each axis of dY is split into (repeats, length), and the repeats are added up. */
export const tileGradient: GradientRule = (node, [dy], g) => {
  const x = node.inputs[0]!
  const rank = shapeOf(x).length
  const pairs = [node.inputs[1]!, shapeValue(g, x)].map((vector) => unsqueeze(g, asIndices(g, vector), 1))
  const split = reshape(g, dy!, flat(g, g.op('Concat', pairs, { axis: int(1) })))
  split.shape ??= [...Array(2 * rank).keys()].map((axis) => (axis % 2 ? shapeOf(x)[(axis - 1) / 2] : `_repeats_${axis / 2}`))
  return [
    shaped(
      sumOver(
        g,
        split,
        [...Array(rank).keys()].map((axis) => 2 * axis),
        false,
      ),
      x,
    ),
  ]
}

export const depthToSpaceGradient: GradientRule = (node, [dy], g) => {
  const [x, block] = [node.inputs[0]!, node.int('blocksize', 1)]
  const blocks = g.op('SpaceToDepth', [dy!], { blocksize: int(block) })
  if (node.string('mode', 'DCR') !== 'CRD') return [shaped(blocks, x)]
  const depth = Number(shapeOf(x)[1]) / block ** 2
  const columns = transpose(g, reshape(g, blocks, integers(g, [0, block ** 2, depth, -1])), [0, 2, 1, 3])
  return [reshape(g, columns, shapeValue(g, x), x.shape)]
}

export const spaceToDepthGradient: GradientRule = (node, [dy], g) => {
  const attributes = { blocksize: int(node.int('blocksize', 1)), mode: string(node.string('mode', 'DCR')) }
  return [shaped(g.op('DepthToSpace', [dy!], attributes), node.inputs[0]!)]
}

/** Reversing is its own inverse. */
export const reverseSequenceGradient: GradientRule = (node, [dy], g) => [g.op('ReverseSequence', [dy!, node.inputs[1]!], node.attributes)]

/** A Pad that takes away at both ends, or adds. */
export const centerCropPad: Expansion = {
  expand(node, g) {
    const x = node.inputs[0]!
    const axes = node.ints('axes') ?? [...shapeOf(x).keys()]
    const length = sizes(
      g,
      axes.map((axis) => sizeAlong(g, x, axis < 0 ? axis + shapeOf(x).length : axis)),
    )
    const wanted = asIndices(g, node.inputs[1]!)
    const less = subtract(g, length, wanted)
    const first = g.op('Div', [less, integers(g, [2])])
    const pads = g.op('Concat', [negate(g, first), subtract(g, first, less)], { axis: int(0) })
    return [shaped(g.op('Pad', [x, pads, null, integers(g, axes)]), node.output)]
  },
}

/** Repeats `x` along an axis: each slice `times` times, one after the other. */
export function repeatEach(g: GradientBuilder, x: Value, axis: number, times: number, like: Value): Value {
  const shape = shapeOf(x)
  const wide = [...shape.slice(0, axis + 1), times, ...shape.slice(axis + 1)]
  const ones = wide.map((_, i) => (i === axis + 1 ? times : 1))
  return reshapeLike(g, g.op('Expand', [unsqueeze(g, x, axis + 1), integers(g, ones)]), like)
}
