import * as z from 'zod'
import type { Graph } from '../../ir/graph.js'
import type { Node } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { sizeOf } from '../../numbers/dtype.js'
import { evaluateNode } from '../../ops/evaluate.js'
import { operatorOf } from '../../ops/index.js'
import { definePass, type Refusal } from '../pass.js'

/** Folding these would undo a choice: codes would become floats again, a shared table would be stored twice. */
const kept = new Set(['DequantizeLinear', 'QuantizeLinear', 'DynamicQuantizeLinear', 'Transpose'])

/** Computes once, now, what the graph would compute from constants on every run. */
export const foldConstants = definePass({
  name: 'fold-constants',
  summary: 'Compute now what depends on constants alone',
  source: 'constant folding',
  options: z.strictObject({
    limit: z
      .number()
      .int()
      .positive()
      .default(1 << 18)
      .describe('largest result, in elements'),
  }),
  needs: {},
  exact: true,
  async run(model, { limit }, { signal }) {
    let changed = 0
    const refused: Refusal[] = []
    for (const graph of model.graphs.values())
      for (const node of graph.nodes()) {
        signal?.throwIfAborted()
        if (!foldable(node)) continue
        const results = isLarger(node, limit) ? null : await evaluate(node)
        if (!results || results.some((array) => sizeOf(array.shape) > limit))
          refused.push({ what: node.output.name, why: `its result is larger than ${limit} elements` })
        else {
          fold(node, graph, results.map(ArrayTensor.of))
          changed++
        }
      }
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'no node depends on constants alone' })
    for (const graph of model.graphs.values()) graph.prune()
    return { changed, refused }
  },
})

/** Whether the shapes say so before anything is computed. */
function isLarger(node: Node, limit: number): boolean {
  return node.outputs.some(({ shape }) => shape?.every((dim) => typeof dim === 'number') && sizeOf(shape as number[]) > limit)
}

function foldable(node: Node): boolean {
  return (
    !isFolded(node) &&
    node.inputs.length > 0 &&
    !kept.has(node.operator) &&
    !node.subgraphs.length &&
    node.inputs.every((input) => input === null || input.isConstant) &&
    node.outputs.every((output) => output.name) &&
    operatorOf(node) !== undefined
  )
}

/** The copy of a constant under an output's name. */
function isFolded(node: Node): boolean {
  return node.type === 'Identity' && node.graph?.outputs.includes(node.output) === true
}

async function evaluate(node: Node) {
  const inputs = await Promise.all(node.inputs.map((input) => input?.tensor?.array() ?? null))
  return evaluateNode(node, inputs, () => [])
}

function fold(node: Node, graph: Graph, tensors: readonly ArrayTensor[]): void {
  node.outputs.forEach((output, i) => {
    const isOutput = graph.outputs.includes(output)
    const constant = graph.addConstant(`${output.name}.folded`, tensors[i])
    graph.replaceAllUses(output, isOutput ? graph.add('Identity', [constant]).output : constant)
  })
  graph.remove(node)
}
