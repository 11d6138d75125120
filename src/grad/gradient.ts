import { badInput, unsupported } from '../base/errors.js'
import { type Graph, valuesUsed } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { isFloat, ndarray } from '../numbers/dtype.js'
import type { Gradient } from '../ops/gradients/rule.js'
import { operatorOf } from '../ops/index.js'
import { inferShapes } from '../ops/infer.js'
import { Builder } from './builder.js'
import { Recomputation } from './recompute.js'

/** What to differentiate. */
export interface GradientOptions {
  /** A float scalar. */
  readonly loss: Value
  /** Constants, inputs or any other float values. */
  readonly wrt: readonly Value[]
  /** Values that count as constants: no gradient flows through them. */
  readonly stop?: Iterable<Value>
  /**
   * Activation checkpointing: of everything before the last of these values only they are kept for the backward pass; what
   * lies between is computed again when it is needed. Values between blocks are good ones. In the order of the graph.
   */
  readonly checkpoints?: readonly Value[]
}

/**
 * Reverse-mode differentiation: adds nodes of ordinary operators that compute d(loss)/d(value) for each value of `wrt`.
 * Nodes on the way whose operators are defined by simpler ones (Attention, losses) are spelled out first. The result is an
 * ordinary graph, so it can be differentiated again.
 *
 * @returns the gradients, each of the shape of its value, in the order of `wrt`; they are not outputs of the graph yet
 * @throws TinsmithError `bad-input` when the loss is no float scalar, or does not depend on a value (named);
 * `unsupported` when an operator on the way has no gradient (named, with the reason)
 * @example
 * const graph = new Graph('square')
 * const x = graph.addInput('x', 'float32', [3])
 * const loss = graph.add('ReduceSumSquare', [x], { attributes: { keepdims: attribute.int(0) } }).output
 * const [dx] = gradient(graph, { loss, wrt: [x] })
 * graph.outputs.push(dx) // 2 x
 */
export function gradient(graph: Graph, { loss: asked, wrt, stop = [], checkpoints = [] }: GradientOptions): Value[] {
  inferShapes(graph)
  checkScalar(asked)
  const builder = new Builder(graph)
  const replaced = new Map<Value, Value>()
  const active = spellOut(graph, builder, wrt, new Set(stop), replaced)
  const loss = replaced.get(asked) ?? asked
  const kept = checkpoints.map((value) => replaced.get(value) ?? value)
  const sweep = new Sweep(builder, active, new Recomputation(graph, builder, kept, loss))
  sweep.seed(loss)
  for (const node of [...graph.nodesBackwards()]) sweep.visit(node)
  return wrt.map((value) => sweep.gradientOf(replaced.get(value) ?? value) ?? notReached(value, loss, sweep.blocked))
}

function checkScalar(loss: Value): void {
  const shape = loss.shape
  if (!loss.dtype || !isFloat(loss.dtype))
    throw badInput(`the loss ${loss.name} is ${loss.dtype ?? 'of unknown dtype'} and must be a float`)
  if (shape?.every((dim) => dim === 1)) return
  throw badInput(`the loss ${loss.name} has ${shape ? `shape [${shape.join(', ')}]` : 'an unknown shape'} and must be a scalar`, {
    hint: 'Take its mean or sum first.',
  })
}

/** All values that depend on `wrt`; the nodes on the way that are spelled out by simpler ones have been, and `replaced` says by what. */
function spellOut(graph: Graph, builder: Builder, wrt: readonly Value[], stopped: Set<Value>, replaced: Map<Value, Value>): Set<Value> {
  const active = new Set(wrt)
  let node = graph.first
  while (node) {
    const previous: Node | null = node.previous
    if (!valuesUsed(node).some((value) => active.has(value))) node = node.next
    else if (expandNode(node, graph, builder, replaced)) {
      for (const output of node.outputs) if (stopped.has(output) && replaced.has(output)) stopped.add(replaced.get(output)!)
      node = previous ? previous.next : graph.first
    } else {
      for (const output of node.outputs) if (!stopped.has(output)) active.add(output)
      node = node.next
    }
  }
  return active
}

function expandNode(node: Node, graph: Graph, builder: Builder, replaced: Map<Value, Value>): boolean {
  const rule = operatorOf(node)?.gradient
  if (!rule || !('expand' in rule)) return false
  builder.before = node
  builder.module = node.name
  const replacements = rule.expand(node, builder)
  builder.before = null
  node.outputs.forEach((output, i) => {
    const replacement = replacements[i]
    if (!replacement || !output.name) return
    replaced.set(output, replacement)
    graph.replaceAllUses(output, replacement)
  })
  graph.remove(node)
  return true
}

/** The walk from the loss back to the parameters. */
class Sweep {
  readonly #builder: Builder
  readonly #active: ReadonlySet<Value>
  readonly #recomputation: Recomputation
  readonly #gradients = new Map<Value, Value[]>()
  /** Nodes at which a gradient arrived and from which none went on. */
  readonly blocked: Node[] = []

  constructor(builder: Builder, active: ReadonlySet<Value>, recomputation: Recomputation) {
    this.#builder = builder
    this.#active = active
    this.#recomputation = recomputation
  }

  seed(loss: Value): void {
    const shape = (loss.shape ?? []) as readonly number[]
    this.#gradients.set(loss, [this.#builder.constant(ndarray(loss.dtype!, shape, new Array(shape.reduce((a, b) => a * b, 1)).fill(1)))])
  }

  /** The sum of all that flowed back to a value. */
  gradientOf(value: Value): Value | null {
    const parts = this.#gradients.get(value)
    if (!parts) return null
    if (parts.length > 1) {
      const total = parts.length === 2 ? this.#builder.op('Add', parts) : this.#builder.op('Sum', parts)
      total.shape = parts[0].shape
      parts.splice(0, parts.length, total)
    }
    return parts[0]
  }

  visit(node: Node): void {
    this.#builder.module = node.name
    const gradients = node.outputs.map((output) => (this.#active.has(output) ? this.gradientOf(output) : null))
    if (!gradients.some((gradient) => gradient)) return
    const rule = ruleOf(node)
    const flowing = rule(this.#recomputation.again(node, gradients), gradients, this.#builder)
    if (!flowing.some((gradient, i) => gradient && this.#reaches(node.input(i)))) this.blocked.push(node)
    flowing.forEach((gradient, i) => {
      const input = node.input(i)
      if (gradient && input && this.#active.has(input)) this.#collect(input, gradient)
    })
  }

  #reaches(input: Value | null): boolean {
    return input !== null && this.#active.has(input)
  }

  #collect(value: Value, gradient: Value): void {
    const parts = this.#gradients.get(value)
    if (parts) parts.push(gradient)
    else this.#gradients.set(value, [gradient])
  }
}

function ruleOf(node: Node): Extract<Gradient, (...parameters: never[]) => unknown> {
  const rule = operatorOf(node)?.gradient
  if (typeof rule === 'function') return rule
  const reason = rule && 'impossible' in rule ? rule.impossible : 'the operator is not known'
  throw unsupported(`no gradient passes through ${node.type} ${node.name || node.output.name}: ${reason}`, {
    hint: 'Stop the gradient before it, or choose parameters that do not need it.',
  })
}

function notReached(value: Value, loss: Value, blocked: readonly Node[]): never {
  const stations = [...new Set(blocked.map((node) => `${node.type} ${node.name || node.output.name}`))].slice(0, 3)
  throw badInput(
    stations.length
      ? `no gradient of ${loss.name} reaches ${value.name}: it ends at ${stations.join(', ')}`
      : `the loss ${loss.name} does not depend on ${value.name}`,
  )
}
