import { badInput } from '../../../../base/errors.js'
import type { ProductForm } from './tile.js'

/** A matrix to pack. */
export interface PanelSource {
  readonly form: ProductForm
  readonly inputs: number
  readonly outputs: number
  /** [inputs, outputs] */
  readonly codes: Float32Array | Int8Array
  /** [outputs] each: what stands in front of a panel's weights. */
  readonly header: readonly (Float32Array | Int32Array)[]
}

/**
 * Packs a matrix into panels, in the order in which tiles read them: the header's parts [columns], then
 * [inputs / group, columns, group]. The last panel has as many vectors as its columns need, in front of unused bytes.
 */
export function packPanels({ form, inputs, outputs, codes, header }: PanelSource): Uint8Array {
  if (codes.length !== inputs * outputs) throw badInput(`A linear of ${inputs} by ${outputs} cannot have ${codes.length} weights`)
  const { group, weightBytes } = form
  const groups = Math.ceil(inputs / group)
  const columns = 4 * form.vectors
  const count = Math.ceil(outputs / columns)
  const Weights = codes instanceof Float32Array ? Float32Array : Int8Array
  const stride = columns * (4 * header.length + groups * group * weightBytes)
  const bytes = new Uint8Array(count * stride)
  for (let panel = 0; panel < count; panel++) {
    const first = panel * columns
    const filled = Math.min(columns, outputs - first)
    const width = 4 * Math.ceil(filled / 4)
    for (const [part, values] of header.entries()) {
      const Type = values instanceof Int32Array ? Int32Array : Float32Array
      new Type(bytes.buffer, panel * stride + 4 * part * width, width).set(values.subarray(first, first + filled))
    }
    const weights = new Weights(bytes.buffer, panel * stride + 4 * header.length * width, groups * width * group)
    for (let input = 0; input < inputs; input++) {
      const [from, to] = [input * outputs + first, Math.floor(input / group) * width * group + (input % group)]
      for (let column = 0; column < filled; column++) weights[to + column * group] = codes[from + column]
    }
  }
  return bytes
}
