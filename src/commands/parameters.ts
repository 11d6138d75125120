import { rootConstant } from '../anatomy/index.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import type { Value } from '../ir/node.js'
import { isFloat } from '../numbers/dtype.js'

/** Inputs that are settings of an operator rather than weights, by its type. */
const settings: Readonly<Record<string, readonly number[]>> = {
  QuantizeLinear: [1, 2],
  DequantizeLinear: [1, 2],
  RotaryEmbedding: [1, 2],
}

/** Weights of a graph: elements of its constants without masks, rotary tables, scales and zero points; a shared one counts once. */
export function parametersOf(graph: Graph): number {
  const counted = new Set<Value>()
  for (const node of graph.allNodes())
    node.inputs.forEach((input, index) => {
      if (input && !settings[node.type]?.includes(index)) for (const weight of weightsAt(input)) counted.add(weight)
    })
  return [...counted].reduce((sum, { tensor }) => sum + tensor!.size, 0)
}

/** Weights of all graphs of a model. */
export function parametersOfModel(model: Model): number {
  return [...model.graphs.values()].reduce((sum, graph) => sum + parametersOf(graph), 0)
}

function weightsAt(value: Value): Value[] {
  const { tensor } = value
  if (!tensor || tensor.size < 2 || tensor.shape.length > 4) return []
  const codes = value.users.some((user) => user.type === 'DequantizeLinear' && rootConstant(user.input(0)) === value)
  return isFloat(tensor.dtype) || codes ? [value] : []
}
