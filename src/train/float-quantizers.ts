import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { LazyTensor } from '../ir/tensor.js'
import { Net } from '../nn/net.js'
import { isInteger, numbersOf } from '../numbers/dtype.js'
import { type CodeDType, integerGrid } from '../numbers/quantizer.js'
import { normalizeAxis } from '../ops/support.js'

/**
 * Turns quantizers of float32 into float arithmetic, in place: whoever reads their codes as numbers computes round(x / scale) + zero point
 * within the grid for itself, so that no codes are kept for the backward pass. ONNX Runtime 1.30 quantizes with a scale for each column on one
 * thread, element by element; arithmetic it does at the speed of memory. Quantizers in blocks, and codes that are read otherwise, stay.
 */
export function quantizersAsArithmetic(graph: Graph): void {
  for (const node of [...graph.nodes()]) {
    if (!isPlain(node, 'QuantizeLinear') || node.inputs[0]!.dtype !== 'float32' || !isInteger(node.output.dtype!)) continue
    for (const { node: reader } of [...node.output.uses]) {
      if (isPlain(reader, 'DequantizeLinear')) graph.replace(reader, numbersFrom(reader, codesFor(reader, node)))
      else if (reader.type === 'Cast' && reader.output.dtype === 'float32') graph.replace(reader, codesFor(reader, node))
    }
  }
  graph.prune()
}

/** A quantizer, or its inverse, with float32 scales that are not in blocks and a zero point that is known. */
function isPlain(node: Node, type: 'QuantizeLinear' | 'DequantizeLinear'): boolean {
  const [scale, zeroPoint] = [node.input(1), node.input(2)]
  const isOrdinary = !node.int('block_size', 0) && !node.int('precision', 0)
  return node.type === type && isOrdinary && scale?.dtype === 'float32' && (!zeroPoint || zeroPoint.tensor !== null)
}

/** clip(round(x / scale) + zero point) */
function codesFor(reader: Node, quantizer: Node): Value {
  const net = new Net(reader.graph!, undefined, quantizer.name)
  const step = (operator: string, ...inputs: Value[]) => net.op(operator, inputs, {}, { before: reader })
  const { min, max } = integerGrid(quantizer.output.dtype as CodeDType)
  const { scale, zeroPoint } = parametersOf(net, quantizer, reader)
  const rounded = step('Round', step('Div', quantizer.inputs[0]!, scale))
  const code = zeroPoint ? step('Add', rounded, zeroPoint) : rounded
  return step('Min', step('Max', code, net.float(min)), net.float(max))
}

/** (codes - zero point) scale */
function numbersFrom(dequantizer: Node, codes: Value): Value {
  const net = new Net(dequantizer.graph!, undefined, dequantizer.name)
  const { scale, zeroPoint } = parametersOf(net, dequantizer, dequantizer)
  const place = { before: dequantizer }
  return net.op('Mul', [zeroPoint ? net.op('Sub', [codes, zeroPoint], {}, place) : codes, scale], {}, place)
}

/** Scale and zero point as float32, in a shape that broadcasts to what they belong to. */
function parametersOf(net: Net, node: Node, before: Node): { scale: Value; zeroPoint: Value | null } {
  const [{ shape }, scale, zeroPoint] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const rank = shape!.length
  const isAlong = scale.shape!.length === 1 && scale.shape![0] !== 1 && rank > 1
  const after = isAlong ? rank - 1 - normalizeAxis(node.int('axis', 1), rank) : 0
  const wide = (value: Value) =>
    after ? net.op('Reshape', [value, net.ints([-1, ...Array<number>(after).fill(1)])], {}, { before }) : value
  return { scale: wide(scale), zeroPoint: zeroPoint && wide(floatOf(net, zeroPoint)) }
}

function floatOf(net: Net, { name, tensor }: Value): Value {
  const read = async () => Float32Array.from(numbersOf({ data: await tensor!.read() }))
  return net.constant(`${name}/float`, new LazyTensor('float32', tensor!.shape, read))
}
