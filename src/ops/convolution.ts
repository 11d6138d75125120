/** Convolutions. */
import { badInput } from '../base/errors.js'
import { type Dim, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { factsAt, type InputFacts } from './facts.js'
import { convGradient, convIntegerGradient, convTransposeGradient } from './gradients/convolution.js'
import type { RealArray } from './matrix.js'
import { type Operator, operator } from './record.js'
import { arrayOf, required, scalarOf } from './support.js'
import { outputDim, type PlacedWindow, placeWindow, transposedWindow, windowOf, windowTable } from './window.js'

/** The kernel's spatial shape: `kernel_shape`, else the weight's; null where that is symbolic. */
function kernelOf(node: Node, weight: readonly Dim[] | null): number[] | null {
  const kernel = node.ints('kernel_shape') ?? weight?.slice(2)
  return kernel?.every((dim) => typeof dim === 'number') ? (kernel as number[]) : null
}

/** Shape of a convolution of the input at `x` with the weight at `w`. */
export function convolutionShape(node: Node, inputs: InputFacts, x: number, w: number): Dim[] | null {
  const [input, weight] = [factsAt(inputs, x).shape, factsAt(inputs, w).shape]
  const kernel = kernelOf(node, weight)
  if (!input || !weight || !kernel) return null
  const window = windowOf(node, kernel)
  return [input[0], weight[0], ...input.slice(2).map((dim, axis) => outputDim(window, axis, dim))]
}

/**
 * The convolution (cross-correlation) of x [batch, channels, ...] with w [filters, channels / group, ...], in float64.
 *
 * @throws TinsmithError `bad-input` where channels and groups do not fit
 */
export function convolve(node: Node, x: RealArray, w: RealArray): RealArray {
  const group = node.int('group', 1)
  const [batch, channels, filters, depth] = [x.shape[0], x.shape[1], w.shape[0], w.shape[1]]
  if (depth * group !== channels || filters % group)
    throw badInput(`${filters} filters of depth ${depth} in ${group} groups do not fit ${channels} channels`)
  const window = placeWindow(windowOf(node, w.shape.slice(2)), x.shape.slice(2))
  const table = windowTable(window)
  const [area, places, taps] = [sizeOf(window.input), sizeOf(window.output), sizeOf(window.kernel)]
  const values = new Float64Array(batch * filters * places)
  for (let row = 0; row < batch * filters; row++) {
    const [sample, filter] = [Math.floor(row / filters), row % filters]
    const first = sample * channels + Math.floor(filter / (filters / group)) * depth
    for (let place = 0; place < places; place++) {
      let sum = 0
      for (let d = 0; d < depth; d++)
        for (let tap = 0; tap < taps; tap++) {
          const at = table[place * taps + tap]
          if (at >= 0) sum += x.values[(first + d) * area + at] * w.values[(filter * depth + d) * taps + tap]
        }
      values[row * places + place] = sum
    }
  }
  return { shape: [batch, filters, ...window.output], values }
}

/** Adds a number per channel to [batch, channels, ...] in place. */
export function addPerChannel({ shape, values }: RealArray, bias: ArrayLike<number>): void {
  const inner = sizeOf(shape.slice(2))
  for (let i = 0; i < values.length; i++) values[i] += bias[Math.floor(i / inner) % shape[1]]
}

const conv = operator({
  name: 'Conv',
  since: 1,
  gradient: convGradient,
  infer: (node, inputs) => [{ dtype: factsAt(inputs, 0).dtype, shape: convolutionShape(node, inputs, 0, 1) }],
  evaluate: (node, inputs) => {
    const [x, w, bias] = [required(inputs, 0), required(inputs, 1), inputs[2]]
    const y = convolve(node, reals(x), reals(w))
    if (bias) addPerChannel(y, numbersOf(bias))
    return [arrayOf(x.dtype, y.shape, y.values)]
  },
})

function reals(array: NDArray, zero = 0): RealArray {
  return { shape: array.shape, values: Float64Array.from(numbersOf(array), (value) => value - zero) }
}

/** Codes of filters less their zero points: one for all, or one per filter. */
export function centredFilters(w: NDArray, zeroPoint: NDArray | null | undefined): RealArray {
  const zeros = zeroPoint ? numbersOf(zeroPoint) : [0]
  const perFilter = sizeOf(w.shape.slice(1))
  return {
    shape: w.shape,
    values: Float64Array.from(numbersOf(w), (code, i) => code - zeros[zeros.length === 1 ? 0 : Math.floor(i / perFilter)]),
  }
}

/** Codes less one zero point. */
export function centred(x: NDArray, zeroPoint: NDArray | null | undefined): RealArray {
  return reals(x, zeroPoint ? scalarOf(zeroPoint) : 0)
}

const convInteger = operator({
  name: 'ConvInteger',
  since: 10,
  gradient: convIntegerGradient,
  infer: (node, inputs) => [{ dtype: 'int32', shape: convolutionShape(node, inputs, 0, 1) }],
  evaluate: (node, inputs) => {
    const y = convolve(node, centred(required(inputs, 0), inputs[2]), centredFilters(required(inputs, 1), inputs[3]))
    return [arrayOf('int32', y.shape, y.values)]
  },
})

const convTranspose = operator({
  name: 'ConvTranspose',
  since: 1,
  gradient: convTransposeGradient,
  infer: (node, inputs) => {
    const [input, weight] = [factsAt(inputs, 0).shape, factsAt(inputs, 1).shape]
    const kernel = kernelOf(node, weight)
    const dtype = factsAt(inputs, 0).dtype
    if (!input || !weight || !kernel) return [{ dtype, shape: null }]
    const { output } = transposedWindow(node, input.slice(2), kernel)
    return [{ dtype, shape: [input[0], multiplyDims(weight[1], node.int('group', 1)), ...output] }]
  },
  evaluate: (node, inputs) => {
    const [x, w, bias] = [required(inputs, 0), required(inputs, 1), inputs[2]]
    const kernel = w.shape.slice(2)
    const { output, pads } = transposedWindow(node, x.shape.slice(2), kernel)
    const window = { ...windowOf(node, kernel), pads: pads!, input: output as number[], output: x.shape.slice(2) }
    const y = scatterWindows(node, x, w, window)
    if (bias) addPerChannel(y, numbersOf(bias))
    return [arrayOf(x.dtype, y.shape, y.values)]
  },
})

/** Adds to every place of the output what each input element sends there through the kernel. */
function scatterWindows(node: Node, x: NDArray, w: NDArray, window: PlacedWindow): RealArray {
  const group = node.int('group', 1)
  const [batch, channels, perGroup] = [x.shape[0], x.shape[1], w.shape[1]]
  const table = windowTable(window)
  const [area, places, taps] = [sizeOf(window.input), sizeOf(window.output), sizeOf(window.kernel)]
  const filters = perGroup * group
  const [input, weight, values] = [numbersOf(x), numbersOf(w), new Float64Array(batch * filters * area)]
  for (let row = 0; row < batch * channels; row++) {
    const [sample, channel] = [Math.floor(row / channels), row % channels]
    const first = sample * filters + Math.floor(channel / (channels / group)) * perGroup
    for (let filter = 0; filter < perGroup; filter++)
      for (let i = 0; i < places * taps; i++)
        if (table[i] >= 0)
          values[(first + filter) * area + table[i]] +=
            input[row * places + Math.floor(i / taps)] * weight[(channel * perGroup + filter) * taps + (i % taps)]
  }
  return { shape: [batch, filters, ...window.input], values }
}

/** Convolutions of the standard. */
export const convolutions: readonly Operator[] = [conv, convTranspose, convInteger]
