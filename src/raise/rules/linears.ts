import { ints } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { onlyUser, producedBy } from '../../ir/rewrite.js'
import { transposed } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { otherOperand } from '../pattern.js'
import type { RaiseRule } from '../rule.js'

/** A B + C as a product and an addition; a weight [out, in] is turned once, where nobody else reads it. */
const gemm: RaiseRule = {
  name: 'gemm',
  at: ['Gemm'],
  rewrite(node, graph) {
    const [a, b, bias] = node.inputs
    if (!a || !b || node.int('transA', 0) || node.float('alpha', 1) !== 1 || node.float('beta', 1) !== 1) return false
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const product = net.op('MatMul', [a, node.int('transB', 0) ? turned(b, net, node) : b], {}, place)
    graph.replace(node, bias ? net.op('Add', [product, bias], {}, place) : product)
    return true
  },
}

function turned(matrix: Value, net: Net, before: Node): Value {
  if (!matrix.tensor || matrix.uses.size > 1) return net.op('Transpose', [matrix], { perm: ints([1, 0]) }, { before })
  const { name, tensor } = matrix
  net.graph.rename(matrix, net.graph.uniqueName(`${name}_transposed`))
  return net.graph.addConstant(name, transposed(tensor))
}

/** A linear on rows [batch * tokens, in] is one on [batch, tokens, in]: the shapes before and after it go. */
const flattenedLinear: RaiseRule = {
  name: 'flattened-linear',
  at: ['MatMul'],
  rewrite(node, graph) {
    const [rows, weight] = node.inputs
    const flattened = producedBy(rows ?? null, 'Reshape')
    const x = flattened?.input(0)
    const addition = onlyUser(node.output, 'Add')
    const bias = otherOperand(addition, node.output)
    const last = addition && bias?.isConstant && bias.shape?.length === 1 ? addition : node
    const restored = onlyUser(last.output, 'Reshape')
    const [shape, inputs] = [restored?.output.shape, rows?.shape?.[1]]
    if (!x?.shape || !shape || rows!.shape!.length !== 2 || weight?.shape?.length !== 2 || typeof inputs !== 'number') return false
    const lead = shape.slice(0, -1)
    if (lead.length < 2 || shape.at(-1) !== weight.shape[1] || lead.join() !== x.shape.slice(0, lead.length).join()) return false
    const net = new Net(graph, undefined, node.name)
    const place = { before: node }
    const input = x.shape.length === shape.length ? x : net.op('Reshape', [x, net.ints([...lead.map(() => 0), inputs])], {}, place)
    const product = net.op('MatMul', [input, weight], {}, place)
    graph.replaceAllUses(restored!.output, last === node ? product : net.op('Add', [product, bias!], {}, place))
    removeChain(graph, [restored!, ...(last === node ? [] : [last]), node, flattened!])
    return true
  },
}

/** Removes nodes, the last user first, as far as nobody else needs them. */
function removeChain(graph: Graph, nodes: readonly Node[]): void {
  for (const node of nodes) if (!node.output.uses.size && !graph.outputs.includes(node.output)) graph.remove(node)
}

export const linearRules: readonly RaiseRule[] = [gemm, flattenedLinear]
