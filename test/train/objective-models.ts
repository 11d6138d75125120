/** Small models, tokenizers and graphs of a loss alone, for tests of objectives. */
import type { Feeds } from '../../src/engine/session.js'
import { Graph } from '../../src/ir/graph.js'
import type { Value } from '../../src/ir/node.js'
import { Net } from '../../src/nn/net.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { Tokenizer } from '../../src/pipelines/index.js'
import type { Objective } from '../../src/train/index.js'
import { isWeight } from '../../src/train/parameters.js'
import { gradientPrefix, trainingGraph } from '../../src/train/training-graph.js'
import { wordPieceConfig, wordPieceDefinition } from '../pipelines/fakes.js'

const specials = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const plain = ['a', 'b', 'c', 'd', 'play', 'run', 'sing', 'ada', 'in', 'was', 'red', 'green', 'blue', '##ing', '##er', '##s', '##ful']

/** A WordPiece tokenizer with a mask token; its 22 ids fit into the vocabulary of the small models. */
export function maskTokenizer(maxLength = 16): Tokenizer {
  const words = [...specials, ...plain]
  const token = (content: string, id: number) => ({ ...wordPieceDefinition.added_tokens[0], id, content })
  const definition = {
    ...wordPieceDefinition,
    added_tokens: specials.map(token),
    model: { ...wordPieceDefinition.model, vocab: Object.fromEntries(words.map((word, id) => [word, id])) },
  }
  return new Tokenizer(definition, { ...wordPieceConfig, mask_token: '[MASK]' }, { maxLength })
}

export function floats(shape: readonly number[], values: ArrayLike<number>): NDArray {
  return ndarray('float32', shape, values)
}

export function int64(shape: readonly number[], values: ArrayLike<number>): NDArray {
  return ndarray('int64', shape, values)
}

/** What a loss, or another function of the net, is for given arrays. */
export async function evaluated(
  feeds: Feeds,
  build: (net: Net, inputs: Record<string, Value>) => Value,
  symbols: Readonly<Record<string, readonly (number | string)[]>> = {},
): Promise<number[]> {
  const net = new Net(new Graph('loss'))
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, shape }]) => [name, net.input(name, dtype, symbols[name] ?? shape)]),
  )
  net.output('result', build(net, inputs))
  return [...numbersOf((await evaluateGraph(net.graph, feeds))['result'])]
}

/** The loss of an objective on a graph, and the norm of the gradient of each parameter that it depends on. */
export async function lossAndGradients<Sample>(
  model: Graph,
  objective: Objective<Sample>,
  feeds: Feeds,
): Promise<{ loss: number; gradients: Map<string, number> }> {
  const probe = model.clone()
  probe.outputs.splice(0, probe.outputs.length, objective.loss(new Net(probe)))
  probe.prune()
  const parameters = [...probe.constants.values()].filter(isWeight).map(({ name }) => name)
  const own = parameters.filter((name) => model.constants.has(name) || objective.parameters?.includes(name))
  const graph = trainingGraph(withParameters(model, probe, own), { parameters: own, loss: (copy) => objective.loss(new Net(copy)) })
  const values = await Promise.all(own.map(async (name) => [name, await probe.constants.get(name)!.tensor!.array()] as const))
  const results = await evaluateGraph(graph, { ...feeds, ...Object.fromEntries(values) })
  return {
    loss: numbersOf(results['loss'])[0],
    gradients: new Map(own.map((name) => [name, Math.hypot(...numbersOf(results[gradientPrefix + name]))])),
  }
}

function withParameters(model: Graph, probe: Graph, names: readonly string[]): Graph {
  const graph = model.clone()
  for (const name of names) if (!graph.constants.has(name)) graph.addConstant(name, probe.constants.get(name)!.tensor!)
  return graph
}

/** The loss of an objective by the engine's reference evaluation. */
export async function lossOf<Sample>(model: Graph, objective: Objective<Sample>, feeds: Feeds): Promise<number> {
  const graph = model.clone()
  const loss = objective.loss(new Net(graph))
  graph.outputs.splice(0, graph.outputs.length, loss)
  graph.prune()
  return numbersOf((await evaluateGraph(graph, feeds))[loss.name])[0]
}

/** Rows of float64 numbers of an array. */
export function rowsOf({ shape, data }: NDArray): number[][] {
  const width = shape.at(-1)!
  const numbers = [...numbersOf({ data })]
  return Array.from({ length: sizeOf(shape) / width }, (_, row) => numbers.slice(row * width, (row + 1) * width))
}

export function softmaxOf(row: readonly number[]): number[] {
  const most = Math.max(...row)
  const powers = row.map((x) => Math.exp(x - most))
  const total = powers.reduce((a, b) => a + b)
  return powers.map((x) => x / total)
}

export function average(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length
}

export function cosineOf(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((total, each, i) => total + each * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}
