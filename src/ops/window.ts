/** Sliding windows over the spatial axes of [batch, channels, ...spatial] arrays: convolutions and pooling. */
import { badInput } from '../base/errors.js'
import { addDims, type Dim, divideDims, multiplyDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { sizeOf } from '../numbers/dtype.js'
import { iterate, stridesOf } from './support.js'

/** How a window walks, one number per spatial axis. */
export interface Window {
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** `null` where the padding follows from the input's size (`auto_pad` SAME). */
  readonly pads: { readonly begin: readonly number[]; readonly end: readonly number[] } | null
  readonly autoPad: string
  readonly ceil: boolean
}

/** A window whose padding is known. */
export interface PlacedWindow extends Window {
  readonly pads: NonNullable<Window['pads']>
  readonly input: readonly number[]
  readonly output: readonly number[]
}

/** Reads the attributes that convolutions and pooling share. */
export function windowOf(node: Node, kernel: readonly number[]): Window {
  const rank = kernel.length
  const ones = new Array<number>(rank).fill(1)
  const autoPad = node.string('auto_pad', 'NOTSET')
  const pads = autoPad === 'NOTSET' ? (node.ints('pads') ?? new Array<number>(2 * rank).fill(0)) : new Array<number>(2 * rank).fill(0)
  if (pads.length !== 2 * rank) throw badInput(`${pads.length} pads do not fit ${rank} spatial axes`)
  return {
    kernel,
    strides: node.ints('strides') ?? ones,
    dilations: node.ints('dilations') ?? ones,
    pads: autoPad.startsWith('SAME') ? null : { begin: pads.slice(0, rank), end: pads.slice(rank) },
    autoPad,
    ceil: node.int('ceil_mode', 0) === 1,
  }
}

/** Number of window positions along one axis; symbolic where the input is. */
export function outputDim(window: Window, axis: number, input: Dim): Dim {
  const stride = window.strides[axis]
  if (!window.pads) return divideDims(addDims(input, stride - 1), stride)
  const begin = window.pads.begin[axis]
  const reach = begin + window.pads.end[axis] - window.dilations[axis] * (window.kernel[axis] - 1) - 1
  const count = addDims(divideDims(addDims(input, reach + (window.ceil ? stride - 1 : 0)), stride), 1)
  if (!window.ceil || typeof count !== 'number' || typeof input !== 'number') return count
  return (count - 1) * stride >= input + begin ? count - 1 : count
}

/** A window over an input of known size. */
export function placeWindow(window: Window, input: readonly number[]): PlacedWindow {
  const output = input.map((dim, axis) => outputDim(window, axis, dim) as number)
  if (window.pads) return { ...window, pads: window.pads, input, output }
  const total = input.map((dim, axis) =>
    Math.max(0, (output[axis] - 1) * window.strides[axis] + window.dilations[axis] * (window.kernel[axis] - 1) + 1 - dim),
  )
  const less = total.map((pad) => Math.floor(pad / 2))
  const more = total.map((pad, axis) => pad - less[axis])
  const pads = window.autoPad === 'SAME_UPPER' ? { begin: less, end: more } : { begin: more, end: less }
  return { ...window, pads, input, output }
}

/**
 * For each output position (rows) and each kernel position (columns) the flat index into the input's spatial axes, -1
 * where it falls on padding, -2 where it lies beyond the padding too.
 */
export function windowTable({ kernel, strides, dilations, pads, input, output }: PlacedWindow): Int32Array {
  const table = new Int32Array(sizeOf(output) * sizeOf(kernel))
  const steps = stridesOf(input)
  let at = 0
  for (const position of iterate(output))
    for (const offset of iterate(kernel)) {
      let [flat, worst] = [0, 0]
      for (let axis = 0; axis < input.length; axis++) {
        const index = position[axis] * strides[axis] + offset[axis] * dilations[axis] - pads.begin[axis]
        if (index < 0 || index >= input[axis]) worst = Math.min(worst, index >= input[axis] + pads.end[axis] ? -2 : -1)
        flat += index * steps[axis]
      }
      table[at++] = worst || flat
    }
  return table
}

/** Where the windows of a transposed convolution lie on its output; no pads where they follow from sizes that are not known. */
export interface TransposedWindow {
  readonly output: readonly Dim[]
  readonly pads: Window['pads']
}

/** A transposed convolution is the adjoint of one from its output to its input: this is that one's window. */
export function transposedWindow(node: Node, input: readonly Dim[], kernel: readonly number[]): TransposedWindow {
  const window = windowOf(node, kernel)
  const outputPadding = node.ints('output_padding') ?? kernel.map(() => 0)
  const full = input.map((dim, axis) =>
    addDims(multiplyDims(addDims(dim, -1), window.strides[axis]), outputPadding[axis] + (kernel[axis] - 1) * window.dilations[axis] + 1),
  )
  const wanted = node.ints('output_shape')?.slice(-kernel.length)
  if (!wanted && window.pads) {
    const { begin, end } = window.pads
    return { output: full.map((dim, axis) => addDims(dim, -begin[axis] - end[axis])), pads: { begin, end } }
  }
  const output = wanted ?? input.map((dim, axis) => multiplyDims(dim, window.strides[axis]))
  if (![...full, ...output].every((dim) => typeof dim === 'number')) return { output, pads: null }
  const total = full.map((dim, axis) => Math.max(0, Number(dim) - Number(output[axis])))
  const less = total.map((pad) => Math.floor(pad / 2))
  const more = total.map((pad, axis) => pad - less[axis])
  return { output, pads: window.autoPad === 'SAME_UPPER' ? { begin: less, end: more } : { begin: more, end: less } }
}
