import type { Dim } from '../../ir/dimension.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { evaluateNode } from '../../ops/evaluate.js'
import { elementsOf } from '../pattern.js'
import type { RaiseRule } from '../rule.js'

/** Exporters compute shapes step by step; what is known without running is a constant. */
const knownIntegers: RaiseRule = {
  name: 'known-integers',
  at: ['Shape', 'Gather', 'Slice', 'Concat', 'Squeeze', 'Unsqueeze', 'Reshape', 'Where', 'Add', 'Sub', 'Mul', 'Div', 'Cast', 'Min', 'Max'],
  rewrite(node, graph, { contents }) {
    const known = contents.get(node.output)
    if (!known || node.output.dtype !== 'int64' || graph.outputs.includes(node.output)) return false
    const rank = node.output.shape?.length
    if (!isNumeric(known) || rank === undefined || rank > 1) return false
    graph.replace(node, new Net(graph).ints(rank ? known : known[0]))
    return true
  },
}

function isNumeric(dims: readonly Dim[]): dims is readonly number[] {
  return dims.every((dim) => typeof dim === 'number')
}

/** Arithmetic of single numbers, as that of the scale of attention. */
const scalarArithmetic: RaiseRule = {
  name: 'scalar-arithmetic',
  at: ['Cast', 'Sqrt', 'Reciprocal', 'Neg', 'Add', 'Sub', 'Mul', 'Div', 'Pow'],
  rewrite(node, graph) {
    if (graph.outputs.includes(node.output) || !node.inputs.every((input) => input?.tensor?.size === 1 && input.tensor.elements))
      return false
    const arrays = node.inputs.map((input) => ({ dtype: input!.dtype!, shape: input!.tensor!.shape, data: input!.tensor!.elements! }))
    const [result] = evaluateNode(node, arrays, () => [])
    graph.replace(node, graph.addConstant(graph.uniqueName(`${node.output.name}.value`), ArrayTensor.of(result)))
    return true
  },
}

/** A Reshape says by 0 which of the first dimensions stay, by -1 which other one is not known; the rest are numbers. */
const reshape: RaiseRule = {
  name: 'reshape',
  at: ['Reshape'],
  rewrite(node, graph) {
    const [x, shape] = node.inputs
    const [before, after] = [x?.shape, node.output.shape]
    if (!x || !before || !after || !shape || after.includes(0)) return false
    const changed = after.findIndex((dim, i) => dim !== before[i])
    const kept = (i: number) => changed < 0 || i < changed
    const given = elementsOf(shape)
    if (given && !node.int('allowzero', 0) && !given.some((dim, i) => dim === -1 && kept(i))) return false
    const dims = after.map((dim, i) => (kept(i) ? 0 : typeof dim === 'number' ? dim : -1))
    if (dims.filter((dim) => dim === -1).length > 1) return false
    const net = new Net(graph, undefined, node.name)
    replaceWith(node, graph, net.op('Reshape', [x, net.ints(dims)], {}, { before: node }))
    return true
  },
}

/** An Expand whose shape is computed from that of its input: 1 keeps a dimension. */
const expand: RaiseRule = {
  name: 'expand',
  at: ['Expand'],
  rewrite(node, graph, { contents }) {
    const [x, shape] = node.inputs
    const wanted = shape && !shape.isConstant ? contents.get(shape) : null
    if (!x?.shape || !wanted || wanted.length !== x.shape.length) return false
    const dims = wanted.map((dim, i) => (dim === x.shape![i] ? 1 : dim))
    if (!isNumeric(dims)) return false
    const net = new Net(graph, undefined, node.name)
    replaceWith(node, graph, net.op('Expand', [x, net.ints(dims)], {}, { before: node }))
    return true
  },
}

/** A new value in a node's place that is as well known as the old one. */
function replaceWith(node: Node, graph: Graph, value: Value): void {
  value.shape = node.output.shape ?? value.shape
  graph.replace(node, value)
}

/** Operators that give their input back. */
const identity: RaiseRule = {
  name: 'identity',
  at: ['Reshape', 'Expand', 'Cast'],
  rewrite(node, graph) {
    const x = node.input(0)
    const same = x?.shape && x.dtype === node.output.dtype && x.shape.join() === node.output.shape?.join()
    if (!same || x.isConstant || graph.outputs.includes(node.output)) return false
    graph.replace(node, x)
    return true
  },
}

export const shapeRules: readonly RaiseRule[] = [knownIntegers, scalarArithmetic, identity, reshape, expand]
