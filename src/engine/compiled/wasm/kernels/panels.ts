import { badInput } from '../../../../base/errors.js'
import { coupleGroups, groupListBytes } from '../../coupled-groups.js'
import type { ProductForm } from './tile.js'

/** A matrix to pack. */
export interface PanelSource {
  readonly form: ProductForm
  readonly inputs: number
  readonly outputs: number
  /** Parts of the outputs whose panels take turns: 2 where the second half is multiplied with the first. */
  readonly parts: 1 | 2
  /** [inputs, outputs] */
  readonly codes: Float32Array | Int8Array
  /** [outputs] each: what stands in front of a panel's weights. */
  readonly header: readonly (Float32Array | Int32Array)[]
  /** What inputs are at most, where these are codes. */
  readonly highest?: number
}

/**
 * Packs a matrix into panels, in the order in which tiles read them: the header's parts [columns], the list of groups where the form has one, then
 * [inputs / group, columns, group]. The last panel of a part has as many vectors as its columns need, in front of unused bytes.
 */
export function packPanels({ form, inputs, outputs, parts, codes, header, highest = 255 }: PanelSource): Uint8Array {
  if (codes.length !== inputs * outputs) throw badInput(`A linear of ${inputs} by ${outputs} cannot have ${codes.length} weights`)
  const { group, weightBytes } = form
  const groups = Math.ceil(inputs / group)
  const listBytes = form.coupled ? groupListBytes(groups) : 0
  const columns = 4 * form.vectors
  const partColumns = outputs / parts
  const count = parts * Math.ceil(partColumns / columns)
  const Weights = codes instanceof Float32Array ? Float32Array : Int8Array
  const stride = columns * (4 * header.length + groups * group * weightBytes) + listBytes
  const bytes = new Uint8Array(count * stride)
  for (let panel = 0; panel < count; panel++) {
    const before = (panel % parts) * partColumns
    const first = before + Math.floor(panel / parts) * columns
    const end = Math.min(first + columns, before + partColumns)
    const width = 4 * Math.ceil((end - first) / 4)
    for (const [part, values] of header.entries()) {
      const Type = values instanceof Int32Array ? Int32Array : Float32Array
      new Type(bytes.buffer, panel * stride + 4 * part * width, width).set(values.subarray(first, end))
    }
    const list = panel * stride + 4 * header.length * width
    const weights = new Weights(bytes.buffer, list + listBytes, groups * width * group)
    for (let input = 0; input < inputs; input++) {
      const [from, to] = [input * outputs, Math.floor(input / group) * width * group + (input % group)]
      for (let column = first; column < end; column++) weights[to + (column - first) * group] = codes[from + column]
    }
    if (form.coupled) coupleGroups(bytes.subarray(list, list + listBytes + weights.byteLength), groups, highest)
  }
  return bytes
}
