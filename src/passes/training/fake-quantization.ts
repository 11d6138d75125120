/** Training through quantizers: codes become float weights behind QuantizeLinear for a while, and codes again at the end. */
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor, LazyTensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { type DType, numbersOf } from '../../numbers/dtype.js'
import {
  type CodeDType,
  type Codes,
  dequantize,
  integerGrid,
  type Layout,
  type QuantizationParameters,
  quantize,
} from '../../numbers/quantizer.js'
import { dataTypes } from '../../onnx/schema.js'
import type { TrainOptions } from '../../train/index.js'

/** A quantized weight while its float numbers are trained. */
export interface OpenedWeight {
  /** Name of the codes in the model. */
  readonly name: string
  /** Name of the float constant that is trained. */
  readonly real: string
  readonly scale: string
  readonly zeroPoint: string | null
  readonly dtype: CodeDType
  readonly layout: Layout
}

/** The layout of scales at a DequantizeLinear, where codes, scale and zero point are constants. */
function openable(node: Node): { codes: Value; scale: Value; zeroPoint: Value | null; layout: Layout } | null {
  if (node.type !== 'DequantizeLinear') return null
  const [codes, scale, zeroPoint] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  if (!codes.tensor || !scale.tensor || (zeroPoint && !zeroPoint.tensor)) return null
  if (!['int4', 'uint4', 'int8', 'uint8'].includes(codes.tensor.dtype) || codes.tensor.shape.length < 2) return null
  const blockSize = node.int('block_size', 0) || undefined
  const whole = scale.tensor.size === 1 && !blockSize
  return { codes, scale, zeroPoint, layout: { shape: codes.tensor.shape, ...(whole ? {} : { axis: node.int('axis', 1), blockSize }) } }
}

/**
 * Opens the quantized weights of a graph for training, in place: constant codes become QuantizeLinear of float constants named
 * `NAME/real`, which begin at what the codes stand for. Tables that Gather reads stay as they are.
 */
export function openQuantizers(graph: Graph): OpenedWeight[] {
  const opened = new Map<Value, OpenedWeight>()
  for (const node of [...graph.nodes()]) {
    const found = openable(node)
    if (!found || isLookedUp(found.codes)) continue
    const { codes, scale, zeroPoint, layout } = found
    if (!opened.has(codes)) opened.set(codes, openOne(graph, codes, scale, zeroPoint, layout))
    quantizeInGraph(new Net(graph, undefined, node.name), node, graph.constants.get(opened.get(codes)!.real)!)
  }
  graph.prune()
  return [...opened.values()]
}

/** Whether rows of a weight are read as a table, or its codes otherwise than as numbers. */
function isLookedUp(codes: Value): boolean {
  return codes.users.some((user) => user.type !== 'DequantizeLinear' || user.output.users.some((reader) => reader.type === 'Gather'))
}

/**
 * Puts a float weight and its quantizer before a DequantizeLinear. Codes are 8 bits wide, whatever the model's are: ONNX Runtime 1.30 gives the
 * memory of 4-bit arrays to arrays of bytes, which are twice as large. The smaller grid comes from bounds on the weight.
 */
function quantizeInGraph(net: Net, node: Node, real: Value): void {
  const [codes, scale, zeroPoint] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const grid = integerGrid(codes.dtype as CodeDType)
  const wide = grid.min < 0 ? 'int8' : 'uint8'
  const place = { before: node }
  const zero = zeroPoint && (codes.dtype === wide ? zeroPoint : widened(net, zeroPoint, wide))
  const bound = (code: number) => {
    const filled = net.constant(
      `${codes.name}/${code}`,
      new ArrayTensor(wide, real.shape as readonly number[], new (wide === 'int8' ? Int8Array : Uint8Array)(codes.tensor!.size).fill(code)),
    )
    return net.op('DequantizeLinear', zero ? [filled, scale, zero] : [filled, scale], node.attributes, place)
  }
  /** Where scales are negative, the lowest code stands for the largest number. */
  const within = (x: Value, operator: 'Less' | 'Greater', bounds: readonly Value[]) => {
    const limit = net.op(operator === 'Less' ? 'Min' : 'Max', bounds, {}, place)
    return net.op('Where', [net.op(operator, [x, limit], {}, place), limit, x], {}, place)
  }
  const bounds = codes.dtype === wide ? null : [bound(grid.min), bound(grid.max)]
  const bounded = bounds ? within(within(real, 'Less', bounds), 'Greater', bounds) : real
  const attributes = zero ? node.attributes : { ...node.attributes, output_dtype: int(dataTypes[wide]) }
  node.setInput(0, net.op('QuantizeLinear', zero ? [bounded, scale, zero] : [bounded, scale], attributes, place))
  node.setInput(2, zero)
}

function widened(net: Net, zeroPoint: Value, dtype: 'int8' | 'uint8'): Value {
  const tensor = zeroPoint.tensor!
  return net.constant(`${zeroPoint.name}/wide`, new LazyTensor(dtype, tensor.shape, () => tensor.read()))
}

function openOne(graph: Graph, codes: Value, scale: Value, zeroPoint: Value | null, layout: Layout): OpenedWeight {
  const { tensor } = codes
  const real = graph.addConstant(
    `${codes.name}/real`,
    new LazyTensor('float32', tensor!.shape, async () =>
      dequantize((await tensor!.read()) as Codes, await parametersOf(scale, zeroPoint), layout),
    ),
  )
  return {
    name: codes.name,
    real: real.name,
    scale: scale.name,
    zeroPoint: zeroPoint?.name ?? null,
    dtype: tensor!.dtype as CodeDType,
    layout,
  }
}

async function parametersOf(scale: Value, zeroPoint: Value | null): Promise<QuantizationParameters> {
  const scales = (await scale.tensor!.read()) as Float32Array
  const zeros = zeroPoint ? Int32Array.from(numbersOf({ data: await zeroPoint.tensor!.read() })) : new Int32Array(scales.length)
  return { scale: scales, zeroPoint: zeros }
}

/** How the scales of opened weights are trained along: at a share of the learning rate, without decay; not at all where it is 0. */
export function scalesAt(rate: number, weights: readonly OpenedWeight[]): Required<Pick<TrainOptions, 'extra' | 'groups'>> {
  const extra = rate ? weights.map(({ scale }) => scale) : []
  return { extra, groups: extra.map((match) => ({ match, rate, weightDecay: 0 })) }
}

/** Gives a model the codes, scales and other weights that were trained in its opened copy. */
export async function closeQuantizers(model: Graph, trained: Graph, weights: readonly OpenedWeight[]): Promise<void> {
  const opened = new Set(weights.map(({ real }) => real))
  for (const [name, { tensor }] of trained.constants) {
    const constant = model.constants.get(name)
    if (constant && !opened.has(name) && tensor!.dtype === 'float32') model.setTensor(constant, tensor!)
  }
  for (const { name, real, scale, zeroPoint, dtype, layout } of weights) {
    const constant = (which: string) => trained.constants.get(which)!
    const parameters = await parametersOf(constant(scale), zeroPoint === null ? null : model.constants.get(zeroPoint)!)
    const codes = quantize((await constant(real).tensor!.read()) as Float32Array, parameters, integerGrid(dtype as CodeDType), layout)
    model.setTensor(model.constants.get(name)!, new ArrayTensor(dtype as DType, layout.shape, codes))
  }
}
