/** GridSample spelled out: for each point the elements around it, by their weights. */
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { range } from '../support.js'
import type { Expansion, GradientBuilder } from './rule.js'
import {
  add,
  axesOnwards,
  cast,
  castLike,
  divide,
  integers,
  multiply,
  reshape,
  type Size,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  subtract,
} from './terms.js'

/** One element along one axis: its index [samples, points] as floats, within the axis, and its weight. */
interface Tap {
  readonly at: Value
  readonly weight: Value | null
}

/** One axis of the image with its length and borders as floats. */
interface Axis {
  readonly length: Value
  readonly last: Value
  readonly low: Value
  readonly high: Value
}

function axisOf(g: GradientBuilder, size: Size, like: Value, corners: boolean): Axis {
  const length = typeof size === 'number' ? scalar(g, size, like) : castLike(g, reshape(g, size, integers(g, []), []), like)
  const last = subtract(g, length, 1)
  return { length, last, low: scalar(g, corners ? 0 : -0.5, like), high: corners ? last : subtract(g, length, 0.5) }
}

function clipped(g: GradientBuilder, x: Value, { last }: Axis): Value {
  return g.op('Max', [g.op('Min', [x, last]), scalar(g, 0, x)])
}

function outside(g: GradientBuilder, x: Value, { low, high }: Axis): Value {
  return g.op('Or', [g.op('Less', [x, low]), g.op('Greater', [x, high])])
}

/** A coordinate mirrored at the borders until it lies between them. */
function reflected(g: GradientBuilder, x: Value, { low, high }: Axis): Value {
  const width = subtract(g, high, low)
  const period = multiply(g, width, 2)
  const distance = g.op('Mod', [g.op('Abs', [subtract(g, x, low)]), period], { fmod: int(1) })
  return add(g, low, g.op('Min', [distance, subtract(g, period, distance)]))
}

function brought(g: GradientBuilder, x: Value, axis: Axis, padding: string): Value {
  if (padding === 'zeros') return x
  const inside = padding === 'border' ? clipped(g, x, axis) : reflected(g, x, axis)
  return g.op('Where', [outside(g, x, axis), inside, x])
}

/** Values of the cubic kernel (Keys 1981, a = -0.75) at -1 - t, -t, 1 - t, 2 - t. */
function cubicWeights(g: GradientBuilder, t: Value): Value[] {
  const a = -0.75
  const near = (x: Value): Value => add(g, multiply(g, subtract(g, multiply(g, x, a + 2), a + 3), multiply(g, x, x)), 1)
  const far = (x: Value): Value => subtract(g, multiply(g, add(g, multiply(g, subtract(g, multiply(g, x, a), 5 * a), x), 8 * a), x), 4 * a)
  const rest = subtract(g, scalar(g, 1, t), t)
  return [far(add(g, t, 1)), near(t), near(rest), far(add(g, rest, 1))]
}

function tapsAlong(g: GradientBuilder, node: Node, point: Value, axis: Axis): Tap[] {
  const [mode, padding] = [node.string('mode', 'linear'), node.string('padding_mode', 'zeros')]
  const from = add(g, point, 1)
  const source = node.int('align_corners', 0)
    ? multiply(g, divide(g, from, 2), axis.last)
    : divide(g, subtract(g, multiply(g, from, axis.length), 1), 2)
  const x = brought(g, mode === 'nearest' ? g.op('Round', [source]) : source, axis, padding)
  const first = mode === 'nearest' ? x : g.op('Floor', [x])
  const t = subtract(g, x, first)
  const weights = mode === 'nearest' ? [null] : mode === 'cubic' ? cubicWeights(g, t) : [subtract(g, scalar(g, 1, t), t), t]
  return weights.map((weight, i) => {
    const at = mode === 'nearest' ? first : add(g, first, i - (mode === 'cubic' ? 1 : 0))
    if (padding !== 'zeros') return { at: clipped(g, padding === 'border' ? at : reflectedTap(g, at, axis), axis), weight }
    const within = g.op('And', [g.op('GreaterOrEqual', [at, scalar(g, 0, at)]), g.op('LessOrEqual', [at, axis.last])])
    const kept = castLike(g, within, at)
    return { at: clipped(g, at, axis), weight: weight ? multiply(g, weight, kept) : kept }
  })
}

function reflectedTap(g: GradientBuilder, at: Value, axis: Axis): Value {
  return g.op('Floor', [g.op('Where', [outside(g, at, axis), reflected(g, at, axis), at])])
}

/** Every choice of one tap for each axis, as places in the flat image with their weights. */
function combined(g: GradientBuilder, taps: readonly Tap[][], axes: readonly Axis[]): Tap[] {
  return taps.reduce((before, along, axis) =>
    before.flatMap((outer) =>
      along.map((inner) => ({
        at: add(g, multiply(g, outer.at, axes[axis].length), inner.at),
        weight: outer.weight && inner.weight ? multiply(g, outer.weight, inner.weight) : (outer.weight ?? inner.weight),
      })),
    ),
  )
}

export const gridSample: Expansion = {
  expand(node, g) {
    const [x, grid] = [node.inputs[0]!, node.inputs[1]!]
    const rank = shapeOf(x).length - 2
    const axes = axesOnwards(2, x).map((axis) => axisOf(g, sizeAlong(g, x, axis), grid, node.int('align_corners', 0) === 1))
    const [samples, channels] = [sizeAlong(g, x, 0), sizeAlong(g, x, 1)]
    const points = reshape(g, grid, sizes(g, [samples, 1, -1, rank]))
    const pointOf = (axis: number): Value => g.op('Gather', [points, g.constant(ndarray('int64', [], [rank - 1 - axis]))], { axis: int(3) })
    const flat = reshape(g, x, sizes(g, [samples, channels, -1]))
    const taps = combined(
      g,
      range(rank, (axis) => tapsAlong(g, node, pointOf(axis), axes[axis])),
      axes,
    )
    const parts = taps.map(({ at, weight }) => {
      const wide = g.op('Expand', [cast(g, at, 'int64'), sizes(g, [samples, channels, 1])])
      const found = g.op('GatherElements', [flat, wide], { axis: int(2) })
      return weight ? multiply(g, found, castLike(g, weight, found)) : found
    })
    const sum = parts.length > 1 ? g.op('Sum', parts) : parts[0]
    const space = range(rank, (axis) => sizeAlong(g, grid, axis + 1))
    return [reshape(g, sum, sizes(g, [samples, channels, ...space]), node.output.shape)]
  },
}
