/** Gradients of convolutions: a transposed convolution by the input, a convolution over exchanged axes by the weight. */
import { unsupported } from '../../base/errors.js'
import { int, ints } from '../../ir/attribute.js'
import { divideDims, multiplyDims } from '../../ir/dimension.js'
import type { Node, Value } from '../../ir/node.js'
import { range } from '../support.js'
import { placeWindow, transposedWindow, windowOf } from '../window.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import {
  axesOnwards,
  centred,
  integers,
  negate,
  reshape,
  shaped,
  shapeOf,
  shapeValue,
  sizeAlong,
  sizes,
  subtract,
  sumOver,
  sumTo,
  transpose,
  unsqueeze,
} from './terms.js'

/** A window over the spatial axes with all of its padding in numbers. */
export interface Placement {
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly begin: readonly number[]
  /** What the last window needs, which may be more than the node's padding (`ceil_mode`). */
  readonly end: readonly number[]
}

/**
 * How the window of a node lies on `x`.
 *
 * @throws TinsmithError `unsupported` where that depends on a size that is not known
 */
export function placementOf(node: Node, x: Value, kernel: readonly number[]): Placement {
  const { strides, dilations, ...window } = windowOf(node, kernel)
  if (window.pads && !window.ceil) return { kernel, strides, dilations, ...window.pads }
  const lengths = shapeOf(x).slice(2)
  if (lengths.some((length, axis) => typeof length !== 'number' && strides[axis] > 1))
    throw unsupported(`the gradient of ${node.type} ${node.name || node.output.name} needs the size of ${x.name}, since its padding does`)
  const { input, output, pads } = placeWindow(
    { ...window, strides, dilations },
    lengths.map((length) => (typeof length === 'number' ? length : 1)),
  )
  const reach = output.map((count, axis) => (count - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1)
  return {
    kernel,
    strides,
    dilations,
    begin: pads.begin,
    end: pads.end.map((pad, i) => Math.max(pad, reach[i] - input[i] - pads.begin[i])),
  }
}

function kernelOf(w: Value): number[] {
  const kernel = shapeOf(w).slice(2)
  if (kernel.every((dim) => typeof dim === 'number')) return kernel as number[]
  throw unsupported(`the kernel ${w.name} has no known size, and its gradient needs one`)
}

function attributesOf({ kernel, strides, dilations, begin, end }: Placement, group: number) {
  return {
    kernel_shape: ints(kernel),
    strides: ints(strides),
    dilations: ints(dilations),
    pads: ints([...begin, ...end]),
    group: int(group),
  }
}

/** How much longer `x` is than the last window reaches, by axis; null where its size is not known. */
function overhang(x: Value, { kernel, strides, dilations, begin, end }: Placement): (number | null)[] {
  return kernel.map((size, axis) => {
    const length = shapeOf(x)[axis + 2]
    if (strides[axis] === 1) return 0
    return typeof length === 'number' ? (length + begin[axis] + end[axis] - (size - 1) * dilations[axis] - 1) % strides[axis] : null
  })
}

function inputGradient(g: GradientBuilder, x: Value, w: Value, dy: Value, placement: Placement, group: number): Value {
  const rest = overhang(x, placement)
  const attributes = { ...attributesOf(placement, group), output_padding: ints(rest.map((length) => length ?? 0)) }
  const dx = g.op('ConvTranspose', [dy, w], attributes)
  if (!rest.includes(null)) return shaped(dx, x)
  const missing = subtract(g, g.op('Shape', [x]), g.op('Shape', [dx]))
  const pads = g.op(
    'Concat',
    [
      integers(
        g,
        range(shapeOf(x).length, () => 0),
      ),
      missing,
    ],
    { axis: int(0) },
  )
  return shaped(g.op('Pad', [dx, pads]), x)
}

/** [samples, group * channels, ...] -> [channels, group * samples, ...] */
function exchanged(g: GradientBuilder, x: Value, group: number): Value {
  const space = axesOnwards(2, x)
  if (group === 1) return transpose(g, x, [1, 0, ...space])
  const lengths = space.map((axis) => sizeAlong(g, x, axis))
  const [samples, channels, ...dims] = shapeOf(x)
  const parts = [samples, group, divideDims(channels, group), ...dims]
  const split = reshape(g, x, sizes(g, [sizeAlong(g, x, 0), group, -1, ...lengths]), parts)
  const turned = transpose(g, split, [2, 1, 0, ...space.map((axis) => axis + 1)])
  return reshape(g, turned, sizes(g, [sizeAlong(g, turned, 0), -1, ...lengths]), [parts[2], multiplyDims(group, samples), ...dims])
}

/** The gradient by the weight of a convolution that makes `y` of `x`: channels are samples, and `dy` is the kernel. */
function weightGradient(g: GradientBuilder, x: Value, dy: Value, w: Value, placement: Placement, group: number): Value {
  const { begin, end, strides, dilations, kernel } = placement
  const attributes = { strides: ints(dilations), dilations: ints(strides), pads: ints([...begin, ...end]), group: int(group) }
  const space = axesOnwards(2, w)
  let turned = g.op('Conv', [exchanged(g, x, group), transpose(g, dy, [1, 0, ...space])], attributes)
  if (overhang(x, placement).some((length) => length !== 0))
    turned = g.op('Slice', [
      turned,
      integers(
        g,
        kernel.map(() => 0),
      ),
      integers(g, kernel),
      integers(g, space),
    ])
  return shaped(g.op('Transpose', [turned], { perm: ints([1, 0, ...space]) }), w)
}

/** Whether windows lie side by side and cover all of `x`, as patches of images do. */
function isTiling(x: Value, { kernel, strides, dilations, begin, end }: Placement, group: number): boolean {
  const pads = [...begin, ...end]
  const whole = kernel.every((size, i) => strides[i] === size && dilations[i] === 1 && Number(shapeOf(x)[i + 2]) % size === 0)
  return whole && group === 1 && pads.every((pad) => pad === 0) && typeof shapeOf(x)[1] === 'number'
}

/** Both gradients of a convolution whose windows do not overlap: matrix products with the patches [places, channels * kernel]. */
function patchGradients(g: GradientBuilder, x: Value, w: Value, dy: Value, kernel: readonly number[]): [Value, Value] {
  const [shape, filters] = [shapeOf(x) as readonly number[], Number(shapeOf(w)[0])]
  const [channels, columns] = [shape[1], kernel.reduce((a, b) => a * b, shape[1])]
  const counts = kernel.map((size, i) => shape[i + 2] / size)
  const split = [-1, channels, ...kernel.flatMap((size, i) => [counts[i], size])]
  const order = [0, ...kernel.map((_, i) => 2 * i + 2), 1, ...kernel.map((_, i) => 2 * i + 3)]
  const patches = reshape(g, transpose(g, reshape(g, x, integers(g, split)), order), integers(g, [-1, columns]))
  const rows = reshape(g, transpose(g, dy, [0, ...kernel.map((_, i) => i + 2), 1]), integers(g, [-1, filters]))
  const dw = reshape(g, g.op('MatMul', [transpose(g, rows, [1, 0]), patches]), shapeValue(g, w), w.shape)
  const places = g.op('MatMul', [rows, reshape(g, w, integers(g, [filters, columns]))])
  const parts = reshape(g, places, integers(g, [-1, ...counts, channels, ...kernel]))
  const inverse = order.map((_, axis) => order.indexOf(axis))
  return [reshape(g, transpose(g, parts, inverse), integers(g, [-1, ...shape.slice(1)]), x.shape), dw]
}

/** d(loss)/dx and d(loss)/dw of a convolution of `x` with `w` as `node` has it. */
export function convolutionGradients(g: GradientBuilder, node: Node, x: Value, w: Value, dy: Value): [Value, Value] {
  const group = node.int('group', 1)
  const placement = placementOf(node, x, kernelOf(w))
  if (isTiling(x, placement, group)) return patchGradients(g, x, w, dy, placement.kernel)
  return [inputGradient(g, x, w, dy, placement, group), weightGradient(g, x, dy, w, placement, group)]
}

function biasGradient(g: GradientBuilder, dy: Value): Value {
  return sumOver(g, dy, [0, ...axesOnwards(2, dy)], false)
}

export const convGradient: GradientRule = (node, [dy], g) => {
  const [x, w, bias] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  return [...convolutionGradients(g, node, x, w, dy!), bias && shaped(biasGradient(g, dy!), bias)]
}

/** A transposed convolution is the adjoint of a convolution, so its own gradient by the input is that convolution. */
export const convTransposeGradient: GradientRule = (node, [dy], g) => {
  const [x, w, bias] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const [kernel, group] = [kernelOf(w), node.int('group', 1)]
  const { strides, dilations } = windowOf(node, kernel)
  const { pads } = transposedWindow(node, shapeOf(x).slice(2), kernel)
  if (!pads) throw unsupported(`the gradient of ${node.type} ${node.name || node.output.name} needs the size of ${x.name}`)
  const placement = { kernel, strides, dilations, ...pads }
  const dx = shaped(g.op('Conv', [dy!, w], attributesOf(placement, group)), x)
  return [dx, weightGradient(g, dy!, x, w, placement, group), bias && shaped(biasGradient(g, dy!), bias)]
}

/** Of codes less their zero points; what flows to codes is a float. */
export const convIntegerGradient: GradientRule = (node, [dy], g) => {
  const [x, w, xZero, wZero] = [node.inputs[0]!, node.inputs[1]!, node.input(2), node.input(3)]
  const perFilter = wZero && shapeOf(wZero).length ? unsqueeze(g, wZero, ...axesOnwards(1, w)) : wZero
  const [dx, dw] = convolutionGradients(g, node, centred(g, x, xZero, dy!), centred(g, w, perFilter, dy!), dy!)
  return [dx, dw, xZero && negate(g, sumTo(g, dx, xZero)), perFilter && shaped(negate(g, sumTo(g, dw, perFilter)), wZero!)]
}
