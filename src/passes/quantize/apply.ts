import { type Anatomy, type Embedding, type Linear, rootConstant } from '../../anatomy/index.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import {
  type Codes,
  type IntegerGrid,
  type Layout,
  type QuantizationParameters,
  quantize,
  type ScaleAndZeroPoint,
  scaleShape,
} from '../../numbers/quantizer.js'
import type { Refusal } from '../pass.js'
import { checkSelection, type Selection, selector } from '../select.js'
import { insertFactors } from './smoothing.js'

/** The selected linears, and why some of them cannot be quantized. */
export function selectLinears(anatomy: Anatomy, selection: Selection): { chosen: Linear[]; refused: Refusal[] } {
  checkSelection(
    selection,
    [...anatomy.linears, ...anatomy.embeddings].map((layer) => layer.name),
  )
  const selected = selector(selection)
  const refused: Refusal[] = []
  const chosen = anatomy.linears.filter((linear) => {
    if (!selected(linear.name)) return false
    const why = weightObstacle(linear) ?? sizeObstacle(linear)
    if (why) refused.push({ what: linear.name, why })
    return !why
  })
  return { chosen, refused }
}

/** Why the weight of a linear cannot be quantized, whatever its size. */
export function weightObstacle(linear: Linear): string | null {
  if (linear.dtype !== 'float32') return `its weight is ${linear.dtype} already`
  if (linear.product.input(1) !== linear.weight) return 'its weight is transposed or shared with another layer'
  return null
}

function sizeObstacle({ inputs, outputs }: Linear): string | null {
  return Math.min(inputs, outputs) < 8 ? `it is only ${inputs} x ${outputs}` : null
}

/** Codes of a constant with their scales, in place of its numbers: constant -> DequantizeLinear. */
export interface QuantizedConstant {
  readonly codes: Codes
  readonly grid: IntegerGrid
  readonly layout: Layout
  readonly parameters: QuantizationParameters
  /** Added to the numbers of each group. */
  readonly minimum?: Float32Array | null
}

/** Quantizes a constant with given scales. */
export async function quantizeConstant(
  value: Value,
  grid: IntegerGrid,
  layout: Layout,
  choose: (x: Float32Array) => QuantizationParameters,
): Promise<QuantizedConstant> {
  const x = (await value.tensor!.read()) as Float32Array
  const parameters = choose(x)
  return { codes: quantize(x, parameters, grid, layout), grid, layout, parameters }
}

/**
 * Puts codes and a DequantizeLinear where a constant was read; the codes take the constant's name. A constant that several
 * layers share is replaced once, for all of them. Codes of another shape, which minimums of blocks need, come back to the constant's by a
 * Reshape.
 */
export function replaceConstant(graph: Graph, value: Value, module: string, quantized: QuantizedConstant): void {
  if (graph.constants.get(value.name) !== value) return
  const { codes, grid, layout, parameters, minimum } = quantized
  const name = value.name
  const shape = value.tensor!.shape
  const users = [...value.uses]
  const net = new Net(graph, undefined, module)
  graph.rename(value, graph.uniqueName(`${name}_float`))
  const stored = graph.addConstant(name, new ArrayTensor(grid.dtype, layout.shape, codes))
  const scale = graph.addConstant(`${name}_scale`, new ArrayTensor('float32', scaleShape(layout), parameters.scale))
  const symmetric = parameters.zeroPoint.every((z) => z === 0)
  const zeroPoint = symmetric
    ? null
    : graph.addConstant(`${name}_zero_point`, new ArrayTensor(grid.dtype, scaleShape(layout), codesOf(grid, parameters.zeroPoint)))
  const shift = minimum ? graph.addConstant(`${name}_minimum`, new ArrayTensor('float32', scaleShape(layout), minimum)) : null
  const attributes = {
    ...(layout.axis === undefined ? {} : { axis: int(layout.axis) }),
    ...(layout.blockSize ? { block_size: int(layout.blockSize) } : {}),
  }
  for (const { node, index } of users) {
    const place = { before: node }
    const dequantized = net.op('DequantizeLinear', zeroPoint ? [stored, scale, zeroPoint] : [stored, scale], attributes, place)
    const shifted = shift ? net.op('Add', [dequantized, shift], {}, place) : dequantized
    node.setInput(index, layout.shape.join() === shape.join() ? shifted : net.op('Reshape', [shifted, net.ints(shape)], {}, place))
  }
  graph.removeConstant(value)
}

function codesOf(grid: IntegerGrid, zeroPoint: ArrayLike<number>): Codes {
  const signed = grid.dtype.startsWith('int')
  return signed ? Int8Array.from(zeroPoint) : Uint8Array.from(zeroPoint)
}

/**
 * Quantizes an activation for some of its readers with fixed scale and zero point: QuantizeLinear -> DequantizeLinear,
 * after a multiplication of its channels by factors where there are any.
 */
export function quantizeActivation(
  graph: Graph,
  value: Value,
  readers: readonly Linear[],
  { scale, zeroPoint }: ScaleAndZeroPoint,
  name: string,
  factors: Float32Array | null = null,
): void {
  const module = readers[0].name
  const net = new Net(graph, undefined, module)
  const place = { before: earliest(graph, readers) }
  const scaled = factors ? insertFactors(graph, value, factors, module, place.before) : value
  const scaleValue = graph.addConstant(`${name}_scale`, new ArrayTensor('float32', [], Float32Array.of(scale)))
  const zeroValue = graph.addConstant(`${name}_zero_point`, new ArrayTensor('uint8', [], Uint8Array.of(zeroPoint)))
  const codes = net.op('QuantizeLinear', [scaled, scaleValue, zeroValue], {}, place)
  readInstead(net.op('DequantizeLinear', [codes, scaleValue, zeroValue], {}, place), readers)
}

/** Quantizes an activation with the range that it has in each run: DynamicQuantizeLinear -> DequantizeLinear. */
export function quantizeActivationDynamically(graph: Graph, value: Value, readers: readonly Linear[]): void {
  const net = new Net(graph, undefined, readers[0].name)
  const place = { before: earliest(graph, readers) }
  const parts = net.ops('DynamicQuantizeLinear', [value], { ...place, outputs: ['codes', 'scale', 'zero_point'] })
  readInstead(net.op('DequantizeLinear', parts, {}, place), readers)
}

function readInstead(value: Value, readers: readonly Linear[]): void {
  for (const reader of readers) reader.product.setInput(0, value)
}

/** The reader that comes first in the graph's order. */
function earliest(graph: Graph, readers: readonly Linear[]) {
  const products = new Set(readers.map((reader) => reader.product))
  for (const node of graph.nodes()) if (products.has(node)) return node
  throw new Error('the readers are not in the graph')
}

/** Linears by the value that they read. */
export function byInput(linears: readonly Linear[]): Map<Value, Linear[]> {
  const groups = new Map<Value, Linear[]>()
  for (const linear of linears) groups.set(linear.input, [...(groups.get(linear.input) ?? []), linear])
  return groups
}

/** Tables of word embeddings that are worth quantizing and that no product shares. */
export function selectTables(anatomy: Anatomy, selection: Selection): Embedding[] {
  const selected = selector(selection)
  return anatomy.embeddings.filter(
    (table) =>
      table.table.dtype === 'float32' &&
      table.rows >= 1024 &&
      selected(table.name) &&
      rootConstant(table.node.input(0)) === table.node.input(0) &&
      table.table.users.every((node) => node.type === 'Gather'),
  )
}
