import type { Attribute } from '../ir/attribute.js'
import type { Dim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { ArrayTensor } from '../ir/tensor.js'
import type { NDArray } from '../numbers/dtype.js'
import type { GradientBuilder } from '../ops/gradients/rule.js'
import { inferNode } from '../ops/infer.js'

/** Adds inferred nodes to a graph, at its end or before a node, under the module name of the node at hand. */
export class Builder implements GradientBuilder {
  readonly #graph: Graph
  readonly #constants = new Map<string, Value>()
  readonly #contents = new Map<Value, readonly Dim[]>()
  /** Module that new nodes belong to. */
  module = ''
  /** Node that new ones come before; null adds at the end. */
  before: Node | null = null

  constructor(graph: Graph) {
    this.#graph = graph
  }

  op(operator: string, inputs: readonly (Value | null)[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    return this.ops(operator, inputs, 1, attributes)[0]
  }

  ops(
    operator: string,
    inputs: readonly (Value | null)[],
    outputs: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): readonly Value[] {
    const node = this.#graph.add(operator, inputs, { name: this.module, attributes, outputs, before: this.before ?? undefined })
    inferNode(node, this.#contents)
    return node.outputs
  }

  constant(array: NDArray): Value {
    const key = `${array.dtype}[${array.shape}] ${Array.from(array.data as ArrayLike<number | bigint>).join()}`
    const known = this.#constants.get(key)
    if (known) return known
    const value = this.#graph.addConstant(array.shape.length ? 'list' : 'scalar', ArrayTensor.of(array))
    this.#constants.set(key, value)
    return value
  }

  output(node: Node, index: number): Value {
    const value = this.#graph.addOutput(node, index)
    inferNode(node, this.#contents)
    return value
  }
}
