/** Rules that many operators share for turning older forms into today's. */
import type { Attribute } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { ArrayTensor } from '../ir/tensor.js'
import type { DType } from '../numbers/dtype.js'
import type { Operator } from './record.js'
import { arrayOf } from './support.js'

/** One step of {@link Operator.upgrades}. */
export type Upgrade = NonNullable<Operator['upgrades']>[number]

/** A new constant of a graph, named after the node that will use it. */
export function constantFor(
  node: Node,
  graph: Graph,
  role: string,
  dtype: DType,
  shape: readonly number[],
  values: ArrayLike<number | bigint>,
): Value {
  return graph.addConstant(`${node.output.name}_${role}`, ArrayTensor.of(arrayOf(dtype, shape, values)))
}

/**
 * The form before `below` had a number or a list of numbers as an attribute; today it is the input at `index`. Integers
 * become int64, floats the dtype of the first input; an absent attribute stays an absent input.
 *
 * @example
 * upgrades: [attributeToInput(13, 'axes', 1)]
 */
export function attributeToInput(below: number, attribute: string, index: number): Upgrade {
  return {
    below,
    apply(node, graph) {
      const value = node.attributes[attribute]
      if (!value) return
      node.setInput(index, constantOf(node, graph, attribute, value))
      node.setAttribute(attribute, null)
    },
  }
}

function constantOf(node: Node, graph: Graph, role: string, attribute: Attribute): Value {
  const floatType = node.input(0)?.dtype ?? 'float32'
  switch (attribute.kind) {
    case 'int':
      return constantFor(node, graph, role, 'int64', [1], [attribute.value])
    case 'ints':
      return constantFor(node, graph, role, 'int64', [attribute.value.length], attribute.value)
    case 'float':
      return constantFor(node, graph, role, floatType, [], [attribute.value])
    case 'floats':
      return constantFor(node, graph, role, floatType, [attribute.value.length], attribute.value)
    default:
      throw new Error(`the attribute ${role} is of kind ${attribute.kind}`)
  }
}
