import { badInput } from '../base/errors.js'
import type { DType } from '../numbers/dtype.js'
import type { Attribute, Attributes } from './attribute.js'
import type { Dim } from './dimension.js'
import { Node, Value } from './node.js'
import type { Tensor } from './tensor.js'

export interface NodeOptions {
  domain?: string
  name?: string
  overload?: string
  attributes?: Attributes
  /** Names of the outputs, or how many; default one, named after the operator. Empty names are absent outputs. */
  outputs?: readonly string[] | number
  /** Where to put the node; default at the end. */
  before?: Node
  after?: Node
}

/**
 * A graph whose edges know both ends, so that surgery is local. Nodes are a linked list in topological order: safe to
 * change while it is walked. Values are found by name in constant time.
 *
 * @example
 * const graph = new Graph('main')
 * const x = graph.addInput('x', 'float32', ['batch', 8])
 * const y = graph.add('Relu', [x]).output
 * graph.outputs.push(y)
 */
export class Graph {
  name: string
  readonly inputs: Value[] = []
  readonly outputs: Value[] = []
  /** Version by domain of the operators that this graph speaks. */
  readonly opsets = new Map<string, number>([['', 28]])
  readonly notes = new Map<string, string>()
  /** The graph around this one, when it is the body of a node. */
  readonly parent: Graph | null
  readonly #values = new Map<string, Value>()
  readonly #constants = new Map<string, Value>()
  readonly #counters = new Map<string, number>()
  #first: Node | null = null
  #last: Node | null = null
  #size = 0

  constructor(name = 'main', parent: Graph | null = null) {
    this.name = name
    this.parent = parent
  }

  /** Constants by name. */
  get constants(): ReadonlyMap<string, Value> {
    return this.#constants
  }

  /** Number of nodes. */
  get size(): number {
    return this.#size
  }

  get first(): Node | null {
    return this.#first
  }

  get last(): Node | null {
    return this.#last
  }

  /** The nodes in order. Nodes may be removed, the node at hand included, and added anywhere while walking. */
  *nodes(): Generator<Node> {
    let node = this.#first
    while (node) {
      yield node
      // What was removed still points to what came after it then.
      let next: Node | null = node._next
      while (next && next._graph !== this) next = next._next
      node = next
    }
  }

  *nodesBackwards(): Generator<Node> {
    let node = this.#last
    while (node) {
      yield node
      let previous: Node | null = node._previous
      while (previous && previous._graph !== this) previous = previous._previous
      node = previous
    }
  }

  /** All nodes of this graph and of the graphs inside its nodes. */
  *allNodes(): Generator<Node> {
    for (const node of this.nodes()) {
      yield node
      for (const subgraph of node.subgraphs) yield* subgraph.allNodes()
    }
  }

  /** A value of this graph by name; not of graphs around it. */
  value(name: string): Value | undefined {
    return this.#values.get(name)
  }

  /** A value by name that nodes of this graph can see: its own, or one of the graphs around it. */
  visible(name: string): Value | undefined {
    return this.#values.get(name) ?? this.parent?.visible(name)
  }

  /** A name that no value of this graph has: `base`, or `base_1`, `base_2` ... */
  uniqueName(base: string): string {
    if (base && !this.visible(base)) return base
    let count = this.#counters.get(base) ?? 0
    let name: string
    do name = `${base}_${++count}`
    while (this.visible(name))
    this.#counters.set(base, count)
    return name
  }

  addInput(name: string, dtype: DType | null, shape: readonly Dim[] | null): Value {
    const value = this.#register(new Value(name, dtype, shape))
    this.inputs.push(value)
    return value
  }

  /** A constant; the name is made unique when it is taken. */
  addConstant(name: string, tensor: Tensor): Value {
    const value = new Value(this.uniqueName(name), tensor.dtype, tensor.shape)
    value.tensor = tensor
    this.#constants.set(value.name, value)
    return this.#register(value)
  }

  /** Gives a constant another tensor, in place. */
  setTensor(constant: Value, tensor: Tensor): void {
    constant.tensor = tensor
    constant.dtype = tensor.dtype
    constant.shape = tensor.shape
  }

  removeConstant(value: Value): void {
    if (value.uses.size || this.outputs.includes(value)) throw new Error(`the constant ${value.name} is in use`)
    this.#constants.delete(value.name)
    this.#values.delete(value.name)
  }

  /** Adds a node; its outputs are new values. */
  add(operator: string, inputs: readonly (Value | null)[], options: NodeOptions = {}): Node {
    const wanted = options.outputs ?? 1
    const names = typeof wanted === 'number' ? Array.from({ length: wanted }, () => null) : wanted
    const outputs = names.map((name) =>
      name === '' ? new Value('') : this.#register(new Value(name ?? this.uniqueName(operator.toLowerCase()))),
    )
    const node = new Node(operator, inputs, outputs, options)
    if (options.before) this.#insert(node, options.before._previous, options.before)
    else if (options.after) this.#insert(node, options.after, options.after._next)
    else this.#insert(node, this.#last, null)
    return node
  }

  /** The output of a node at an index; made where the node leaves it out until now. */
  addOutput(node: Node, index: number): Value {
    const outputs = node.outputs as Value[]
    while (outputs.length < index) outputs.push(new Value(''))
    if (outputs[index]?.name) return outputs[index]
    outputs[index] = this.#register(new Value(this.uniqueName(node.operator.toLowerCase())))
    outputs[index]._producer = node
    return outputs[index]
  }

  /** Removes a node whose outputs nobody uses. */
  remove(node: Node): void {
    for (const output of node.outputs)
      if (output.uses.size || this.outputs.includes(output))
        throw new Error(`${node.type} ${node.name} cannot go: ${output.name} is in use`)
    node._detach()
    this.#unlink(node)
    for (const output of node.outputs) this.#values.delete(output.name)
  }

  /** Moves a node in the order. */
  move(node: Node, place: { before: Node } | { after: Node }): void {
    if (('before' in place ? place.before : place.after) === node) return
    this.#unlink(node)
    if ('before' in place) this.#insert(node, place.before._previous, place.before)
    else this.#insert(node, place.after, place.after._next)
  }

  /**
   * Lets everything that used `from` use `to`, in this graph and inside its nodes. Where `from` is an output of the
   * graph, `to` takes its place and its name, since callers know outputs by name.
   */
  replaceAllUses(from: Value, to: Value): void {
    if (from === to) return
    to.dtype ??= from.dtype
    to.shape ??= from.shape
    for (const { node, index } of [...from.uses]) node.setInput(index, to)
    if (!this.outputs.includes(from)) return
    const renames = to.producer?.graph === this && !this.outputs.includes(to)
    const replacement = renames ? to : this.add('Identity', [to]).output
    if (replacement !== to) Object.assign(replacement, { dtype: to.dtype, shape: to.shape })
    for (let i = 0; i < this.outputs.length; i++) if (this.outputs[i] === from) this.outputs[i] = replacement
    const name = from.name
    this.rename(from, this.uniqueName(`${name}_replaced`))
    this.rename(replacement, name)
  }

  /** Replaces a node that has one used output by another value, and removes it. */
  replace(node: Node, value: Value): void {
    this.replaceAllUses(node.output, value)
    this.remove(node)
  }

  rename(value: Value, name: string): void {
    if (value.name === name) return
    if (this.visible(name)) throw badInput(`the name ${name} is taken`)
    this.#values.delete(value.name)
    if (this.#constants.delete(value.name)) this.#constants.set(name, value)
    value._name = name
    this.#values.set(name, value)
  }

  /**
   * Removes nodes and constants that no output needs.
   *
   * @returns how many nodes and constants went
   */
  prune(): number {
    let removed = 0
    const outputs = new Set(this.outputs)
    for (const node of this.nodesBackwards()) {
      if (node.outputs.some((output) => output.uses.size || outputs.has(output))) continue
      this.remove(node)
      removed++
    }
    for (const value of [...this.#constants.values()])
      if (!value.uses.size && !outputs.has(value)) {
        this.removeConstant(value)
        removed++
      }
    for (const node of this.nodes()) for (const subgraph of node.subgraphs) removed += subgraph.prune()
    return removed
  }

  /** Puts the nodes into topological order, keeping the present order where it is free to. Throws `bad-input` on a cycle, naming a node of it. */
  sort(): void {
    const order = new Set<Node>()
    const open = new Set<Node>()
    for (const root of this.nodes()) {
      const stack = [{ node: root, pending: order.has(root) ? [] : [root] }]
      for (let top = stack.at(-1)!; stack.length; top = stack.at(-1)!) {
        const next = top.pending.pop()
        if (!next) {
          stack.pop()
          if (stack.length) order.add(top.node)
          open.delete(top.node)
        } else if (open.has(next)) throw badInput(`the graph has a cycle through ${next.type} ${next.name || next.output.name}`)
        else if (!order.has(next)) {
          open.add(next)
          stack.push({ node: next, pending: dependencies(next, this).reverse() })
        }
      }
    }
    this.#first = this.#last = null
    this.#size = 0
    for (const node of order) {
      node._graph = null
      this.#insert(node, this.#last, null)
    }
  }

  /** A deep copy; tensors are shared. `outer` maps values of graphs around this one. */
  clone(parent: Graph | null = this.parent, outer: ReadonlyMap<Value, Value> = new Map()): Graph {
    const copy = new Graph(this.name, parent)
    copy.opsets.clear()
    for (const [domain, version] of this.opsets) copy.opsets.set(domain, version)
    for (const [key, text] of this.notes) copy.notes.set(key, text)
    const map = new Map(outer)
    for (const input of this.inputs) map.set(input, copy.addInput(input.name, input.dtype, input.shape))
    for (const constant of this.#constants.values()) map.set(constant, copy.addConstant(constant.name, constant.tensor!))
    for (const node of this.nodes()) copyNode(node, copy, map)
    for (const output of this.outputs) copy.outputs.push(map.get(output) ?? output)
    return copy
  }

  /**
   * The part of the graph that computes `outputs` from `inputs`, as a graph of its own; constants come along.
   *
   * @throws TinsmithError `bad-input` when an output needs an input of the graph that is not among `inputs` (named)
   */
  extract(inputs: readonly Value[], outputs: readonly Value[]): Graph {
    const part = new Graph(this.name)
    for (const [domain, version] of this.opsets) part.opsets.set(domain, version)
    const map = new Map<Value, Value>()
    for (const input of inputs) map.set(input, part.addInput(input.name, input.dtype, input.shape))
    const needed = new Set<Node>()
    const pending = [...outputs]
    for (let value = pending.pop(); value; value = pending.pop()) {
      if (map.has(value)) continue
      if (value.tensor) map.set(value, part.addConstant(value.name, value.tensor))
      else if (!value.producer)
        throw badInput(`${outputs.map((output) => output.name).join(', ')} cannot be computed without ${value.name}`)
      else if (!needed.has(value.producer)) {
        needed.add(value.producer)
        pending.push(...valuesUsed(value.producer))
      }
    }
    for (const node of this.nodes()) if (needed.has(node)) copyNode(node, part, map)
    for (const output of outputs) part.outputs.push(map.get(output)!)
    return part
  }

  /** @internal names begin anew at `_1` */
  _forgetCounters(): void {
    this.#counters.clear()
  }

  /** @internal */
  _detachAll(): void {
    for (const node of this.nodes()) node._detach()
  }

  #register(value: Value): Value {
    if (this.#values.has(value.name)) throw badInput(`the name ${value.name} is used twice`)
    this.#values.set(value.name, value)
    return value
  }

  #insert(node: Node, previous: Node | null, next: Node | null): void {
    node._graph = this
    node._previous = previous
    node._next = next
    if (previous) previous._next = node
    else this.#first = node
    if (next) next._previous = node
    else this.#last = node
    this.#size++
  }

  #unlink(node: Node): void {
    if (node._graph !== this) throw new Error(`${node.type} ${node.name} is not in this graph`)
    if (node._previous) node._previous._next = node._next
    else this.#first = node._next
    if (node._next) node._next._previous = node._previous
    else this.#last = node._previous
    node._graph = null
    this.#size--
  }
}

/** The values that a node reads, those read by the graphs inside it included. */
export function valuesUsed(node: Node): Value[] {
  const values = node.inputs.filter((input): input is Value => input !== null)
  for (const subgraph of node.subgraphs) {
    for (const inner of subgraph.nodes()) values.push(...valuesUsed(inner).filter((value) => !belongsTo(value, subgraph)))
    values.push(...subgraph.outputs.filter((value) => !belongsTo(value, subgraph)))
  }
  return values
}

function belongsTo(value: Value, graph: Graph): boolean {
  return graph.value(value.name) === value
}

function dependencies(node: Node, graph: Graph): Node[] {
  return valuesUsed(node).flatMap((value) => (value.producer?.graph === graph ? [value.producer] : []))
}

function copyNode(node: Node, target: Graph, map: Map<Value, Value>): Node {
  const attributes: Record<string, Attribute> = {}
  for (const [name, attribute] of Object.entries(node.attributes)) {
    if (attribute.kind === 'graph') attributes[name] = { kind: 'graph', value: attribute.value.clone(target, map) }
    else if (attribute.kind === 'graphs')
      attributes[name] = { kind: 'graphs', value: attribute.value.map((graph) => graph.clone(target, map)) }
    else attributes[name] = attribute
  }
  const copy = target.add(
    node.operator,
    node.inputs.map((input) => (input ? (map.get(input) ?? input) : null)),
    { domain: node.domain, name: node.name, overload: node.overload, attributes, outputs: node.outputs.map((output) => output.name) },
  )
  for (const [key, text] of node.notes) copy.notes.set(key, text)
  node.outputs.forEach((output, i) => {
    copy.outputs[i].dtype = output.dtype
    copy.outputs[i].shape = output.shape
    map.set(output, copy.outputs[i])
  })
  return copy
}
