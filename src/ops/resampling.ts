/** Which elements of an axis make up those of the resampled axis, and by how much. */
import { badInput } from '../base/errors.js'
import type { Node } from '../ir/node.js'
import { normalizeAxes } from './support.js'

/** How one axis is resampled. */
export interface AxisPlan {
  readonly axis: number
  readonly input: number
  readonly output: number
  readonly scale: number
  /** Crop window in normalized coordinates, for `tf_crop_and_resize`. */
  readonly start: number
  readonly end: number
}

/** Input elements and their weights for one output element; null outside of the crop window. */
export type Taps = readonly { readonly at: number; readonly weight: number }[] | null

/** Sizes and scales of a Resize node of known input shape. */
export function planOf(
  node: Node,
  shape: readonly number[],
  roi: readonly number[],
  scales: readonly number[],
  sizes: readonly number[],
): AxisPlan[] {
  const axes = normalizeAxes(node.ints('axes'), shape.length)
  const factors = axes.map((axis, i) => (sizes.length ? sizes[i] / shape[axis] : scales[i]))
  const policy = node.string('keep_aspect_ratio_policy', 'stretch')
  const common = policy === 'not_larger' ? Math.min(...factors) : policy === 'not_smaller' ? Math.max(...factors) : null
  return axes.map((axis, i) => {
    const scale = sizes.length && common !== null ? common : factors[i]
    const exact = scale * shape[axis]
    const output = !sizes.length ? Math.floor(exact) : common === null ? sizes[i] : Math.floor(exact + 0.5)
    return { axis, input: shape[axis], output, scale, start: roi[i] ?? 0, end: roi[axes.length + i] ?? 1 }
  })
}

/** Where output element `x` of an axis lies on the input. */
function sourceCoordinate(mode: string, x: number, { input, output, scale, start, end }: AxisPlan): number {
  const width = scale * input
  switch (mode) {
    case 'half_pixel':
      return (x + 0.5) / scale - 0.5
    case 'half_pixel_symmetric':
      return (input / 2) * (1 - output / width) + (x + 0.5) / scale - 0.5
    case 'pytorch_half_pixel':
      return width === 1 ? -0.5 : (x + 0.5) / scale - 0.5
    case 'align_corners':
      return width === 1 ? 0 : (x * (input - 1)) / (width - 1)
    case 'asymmetric':
      return x / scale
    case 'tf_crop_and_resize': {
      const offset = width === 1 ? ((end - start) * (input - 1)) / 2 : (x * (end - start) * (input - 1)) / (width - 1)
      return start * (input - 1) + offset
    }
    default:
      throw badInput(`the coordinate transformation ${mode} is not known`)
  }
}

function nearestIndex(mode: string, x: number): number {
  switch (mode) {
    case 'round_prefer_floor':
      return Math.ceil(x - 0.5)
    case 'round_prefer_ceil':
      return Math.floor(x + 0.5)
    case 'floor':
      return Math.floor(x)
    case 'ceil':
      return Math.ceil(x)
    default:
      throw badInput(`the nearest mode ${mode} is not known`)
  }
}

/** The weights of the input elements that make each output element of one axis. */
export function tapsOf(node: Node, plan: AxisPlan): Taps[] {
  const transformation = node.string('coordinate_transformation_mode', 'half_pixel')
  const mode = node.string('mode', 'nearest')
  const excludes = node.int('exclude_outside', 0) === 1
  const stretch = node.int('antialias', 0) === 1 ? Math.min(plan.scale, 1) : 1
  const a = node.float('cubic_coeff_a', -0.75)
  const [kernel, reach] = mode === 'cubic' ? [(d: number) => cubicKernel(d, a), 2] : [(d: number) => Math.max(0, 1 - Math.abs(d)), 1]
  const inside = (at: number) => Math.min(Math.max(at, 0), plan.input - 1)
  return Array.from({ length: plan.output }, (_, x) => {
    const source = sourceCoordinate(transformation, x, plan)
    if (transformation === 'tf_crop_and_resize' && (source < 0 || source > plan.input - 1)) return null
    if (mode === 'nearest') return [{ at: inside(nearestIndex(node.string('nearest_mode', 'round_prefer_floor'), source)), weight: 1 }]
    const taps: { at: number; weight: number }[] = []
    for (let at = Math.ceil(source - reach / stretch); at <= source + reach / stretch; at++) {
      const weight = excludes && at !== inside(at) ? 0 : kernel((at - source) * stretch)
      if (weight) taps.push({ at: inside(at), weight })
    }
    const sum = taps.reduce((total, tap) => total + tap.weight, 0)
    return excludes || stretch < 1 ? taps.map(({ at, weight }) => ({ at, weight: weight / sum })) : taps
  })
}

/** The cubic convolution kernel (Keys, 1981). */
export function cubicKernel(distance: number, a: number): number {
  const x = Math.abs(distance)
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0
}
