import { badInput } from '../base/errors.js'
import { gradient } from '../grad/index.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { verify } from '../ir/verify.js'

/** The prefix of the outputs that hold gradients. */
export const gradientPrefix = 'gradient/'

export interface TrainingGraphOptions {
  /** Names of the constants to train. */
  readonly parameters: readonly string[]
  /** Adds the loss, a scalar, to the graph; other values that it names are returned beside it. */
  readonly loss: (graph: Graph) => Value
  /** Values to keep for the backward pass; the rest is computed again. See {@link gradient}. */
  readonly checkpoints?: (graph: Graph) => readonly Value[]
  readonly stop?: (graph: Graph) => readonly Value[]
}

/**
 * The graph of one forward and backward pass: parameters are inputs, loss and gradients are outputs.
 *
 * @throws TinsmithError as {@link gradient}; `bad-input` for a parameter that is no constant of the graph
 */
export function trainingGraph(model: Graph, options: TrainingGraphOptions): Graph {
  const graph = model.clone()
  const loss = options.loss(graph)
  const kept = options.checkpoints?.(graph)
  const stop = options.stop?.(graph)
  graph.outputs.splice(0, graph.outputs.length)
  output(graph, loss, 'loss')
  const wrt = options.parameters.map((name) => turnIntoInput(graph, name))
  const gradients = gradient(graph, { loss: graph.outputs[0], wrt, stop, checkpoints: kept })
  gradients.forEach((value, i) => void output(graph, value, gradientPrefix + options.parameters[i]))
  graph.prune()
  putResultsLast(graph)
  verify(graph)
  return graph
}

/**
 * ONNX Runtime runs a graph depth first from its last nodes that nobody reads. With gradients in the order in which they are computed, the
 * first layer's would come first, and everything that the others need would be kept meanwhile: so they stand at the end, in reverse.
 */
function putResultsLast(graph: Graph): void {
  const results = [...graph.nodesBackwards()].filter((node) => node.outputs.every((output) => !output.uses.size))
  for (const node of results) if (graph.last !== node) graph.move(node, { after: graph.last! })
}

function turnIntoInput(graph: Graph, name: string): Value {
  const constant = graph.constants.get(name)
  if (!constant) throw badInput(`the graph has no parameter ${name}`)
  graph.rename(constant, graph.uniqueName(`${name}/constant`))
  const input = graph.addInput(name, constant.dtype, constant.shape)
  graph.replaceAllUses(constant, input)
  graph.removeConstant(constant)
  return input
}

/** An output under a name of its own, even if the value is one already. */
function output(graph: Graph, value: Value, name: string): void {
  const own = graph.outputs.includes(value) || graph.inputs.includes(value) || value.tensor ? graph.add('Identity', [value]).output : value
  own.dtype ??= value.dtype
  own.shape ??= value.shape
  graph.outputs.push(own)
  graph.rename(own, name)
}
