/** Gradients of pooling: sums over windows are convolutions with ones. */
import { int, ints } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { range } from '../support.js'
import { type Placement, placementOf } from './convolution.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import { axesOnwards, divide, flat, integers, reshape, scalar, shapeOf, shapeValue, sizeAlong, sizes, sumOver } from './terms.js'

/** The largest elements get the gradient; the node says where they lie, in row-major order. */
export const maxPoolGradient: GradientRule = (node, [dy], g) => {
  const x = node.inputs[0]!
  const places = node.int('storage_order', 0)
    ? g.ops('MaxPool', [x], 2, { ...node.attributes, storage_order: int(0) })[1]
    : g.output(node, 1)
  const zeros = g.op('Expand', [scalar(g, 0, dy!), reshape(g, g.op('Size', [x]), integers(g, [1]))])
  const sums = g.op('ScatterElements', [zeros, flat(g, places), flat(g, dy!)], { reduction: { kind: 'string', value: 'add' } })
  return [reshape(g, sums, shapeValue(g, x), x.shape)]
}

/** The sum of each window of each channel. */
function windowSums(g: GradientBuilder, x: Value, { kernel, strides, dilations, begin, end }: Placement): Value {
  const rank = kernel.length
  const images = reshape(g, x, integers(g, [-1, 1, ...kernel.map(() => 0)]))
  const ones = g.constant(
    ndarray(
      x.dtype ?? 'float32',
      [1, 1, ...kernel],
      range(
        kernel.reduce((a, b) => a * b, 1),
        () => 1,
      ),
    ),
  )
  const attributes = { strides: ints(strides), dilations: ints(dilations), pads: ints([...begin, ...end]) }
  const sums = g.op('Conv', [images, ones], attributes)
  const space = range(rank, (axis) => sizeAlong(g, sums, axis + 2))
  return reshape(g, sums, sizes(g, [sizeAlong(g, x, 0), sizeAlong(g, x, 1), ...space]), [
    ...shapeOf(x).slice(0, 2),
    ...shapeOf(sums).slice(2),
  ])
}

/** How many elements each window sees, the padding included where the node says so. */
function windowCounts(g: GradientBuilder, node: Node, x: Value, placement: Placement): Value {
  const { kernel, begin, end } = placement
  const lengths = axesOnwards(2, x).map((axis) => sizeAlong(g, x, axis))
  let ones = g.op('Expand', [scalar(g, 1, x), sizes(g, [1, 1, ...lengths])])
  if (!node.int('count_include_pad', 0)) return windowSums(g, ones, placement)
  const pads = node.ints('pads') ?? [...begin, ...end]
  const declared = pads.slice(kernel.length)
  ones = g.op('Pad', [ones, integers(g, [0, 0, ...begin, 0, 0, ...declared]), scalar(g, 1, x)])
  const none = kernel.map(() => 0)
  return windowSums(g, ones, { ...placement, begin: none, end: end.map((pad, axis) => pad - declared[axis]) })
}

function placed(node: Node): Placement {
  return placementOf(node, node.inputs[0]!, node.ints('kernel_shape') ?? [])
}

export const averagePool: Expansion = {
  expand(node, g) {
    const [x, placement] = [node.inputs[0]!, placed(node)]
    return [divide(g, windowSums(g, x, placement), windowCounts(g, node, x, placement))]
  },
}

/** |x|^p */
function powers(g: GradientBuilder, x: Value, p: number): Value {
  const magnitude = p % 2 ? g.op('Abs', [x]) : x
  return p === 1 ? magnitude : g.op('Pow', [magnitude, scalar(g, p, x)])
}

/** The p-th root of sums, with slope 0 at 0. */
function root(g: GradientBuilder, sums: Value, p: number): Value {
  const zero = g.op('Equal', [sums, scalar(g, 0, sums)])
  const safe = g.op('Where', [zero, scalar(g, 1, sums), sums])
  return g.op('Where', [zero, scalar(g, 0, sums), g.op('Pow', [safe, scalar(g, 1 / p, sums)])])
}

export const lpPool: Expansion = {
  expand(node, g) {
    const [x, p] = [node.inputs[0]!, node.int('p', 2)]
    return [root(g, windowSums(g, powers(g, x, p), placed(node)), p)]
  },
}

function overImage(reduction: string): Expansion {
  return {
    expand(node, g) {
      const x = node.inputs[0]!
      return [g.op(reduction, [x, integers(g, axesOnwards(2, x))], { keepdims: int(1) })]
    },
  }
}

export const globalAveragePool = overImage('ReduceMean')
export const globalMaxPool = overImage('ReduceMax')

export const globalLpPool: Expansion = {
  expand(node, g) {
    const [x, p] = [node.inputs[0]!, node.int('p', 2)]
    return [root(g, sumOver(g, powers(g, x, p), axesOnwards(2, x)), p)]
  },
}
