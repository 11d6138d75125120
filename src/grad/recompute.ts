import { badInput } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { add, integers, multiply, reshape } from '../ops/gradients/terms.js'
import type { Builder } from './builder.js'

/** Nodes between two checkpoints. */
interface Segment {
  readonly nodes: readonly Node[]
  /** Copies of nodes, made when the first gradient arrives. */
  copies: ReadonlyMap<Node, Node> | null
}

/**
 * Activation checkpointing: hands gradient rules a copy of each forward node that reads checkpoints alone. A copy waits for the
 * gradient that needs it, since its inputs depend on that gradient (by a zero); runtimes would otherwise merge it with
 * the original and keep everything. Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
 */
export class Recomputation {
  readonly #graph: Graph
  readonly #builder: Builder
  readonly #segments = new Map<Node, Segment>()

  /** @throws TinsmithError `bad-input` when a checkpoint is not computed on the way to the loss */
  constructor(graph: Graph, builder: Builder, checkpoints: readonly Value[], loss: Value) {
    this.#graph = graph
    this.#builder = builder
    if (!checkpoints.length) return
    const ends = new Set(checkpoints.map((value) => value.producer ?? unusable(value)))
    if (loss.producer && ends.has(loss.producer)) unusable(loss)
    let nodes: Node[] = []
    for (const node of graph.nodes()) {
      nodes.push(node)
      if (!ends.has(node)) continue
      const segment: Segment = { nodes, copies: null }
      for (const member of nodes) this.#segments.set(member, segment)
      nodes = []
    }
  }

  /** The node, or its copy that is computed again once `gradients` are there. */
  again(node: Node, gradients: readonly (Value | null)[]): Node {
    const segment = this.#segments.get(node)
    if (!segment) return node
    segment.copies ??= this.#copy(segment.nodes, gradients.find((gradient) => gradient)!)
    return segment.copies.get(node) ?? node
  }

  #copy(nodes: readonly Node[], gradient: Value): Map<Node, Node> {
    const members = new Set(nodes)
    const copies = new Map<Node, Node>()
    const map = new Map<Value, Value>()
    const zero = this.#zeroAfter(gradient)
    const late = (value: Value): Value => {
      if (!value.producer || members.has(value.producer) || value.dtype !== gradient.dtype) return value
      const delayed = add(this.#builder, value, zero)
      map.set(value, delayed)
      return delayed
    }
    const known = (value: Value): Value => map.get(value) ?? late(value)
    for (const node of nodes) {
      const inputs = node.inputs.map((input) => input && known(input))
      if (inputs.every((input, i) => input === node.input(i)) || node.subgraphs.length) continue
      const outputs = node.outputs.map((output) => (output.name ? this.#graph.uniqueName(`${output.name}_again`) : ''))
      const copy = this.#graph.add(node.operator, inputs, { domain: node.domain, name: node.name, attributes: node.attributes, outputs })
      node.outputs.forEach((output, i) => {
        Object.assign(copy.outputs[i], { dtype: output.dtype, shape: output.shape })
        map.set(output, copy.outputs[i])
      })
      copies.set(node, copy)
    }
    return copies
  }

  /** A scalar zero that is known only when `gradient` is. */
  #zeroAfter(gradient: Value): Value {
    const first = this.#builder.op('Slice', [
      reshape(this.#builder, gradient, integers(this.#builder, [-1])),
      ...[0, 1].map((i) => integers(this.#builder, [i])),
    ])
    return multiply(this.#builder, reshape(this.#builder, first, integers(this.#builder, []), []), 0)
  }
}

function unusable(value: Value): never {
  throw badInput(`${value.name} cannot be a checkpoint: it must be computed before the loss`)
}
