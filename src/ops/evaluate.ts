import { badInput, TinsmithError, unsupported } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import type { DType, Elements, NDArray } from '../numbers/dtype.js'
import { decode, encode } from '../numbers/storage.js'
import { operatorOf } from './index.js'

/** Dtypes whose elements lie in wider arrays, so that results must be rounded to what the dtype can hold. */
const rounded: ReadonlySet<DType> = new Set([
  'float16',
  'bfloat16',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'float8e8m0',
  'float4e2m1',
])

/**
 * Runs a graph by the operators' reference evaluation: slow, exact, without any engine. For proofs and for folding
 * constants.
 *
 * @param feeds arrays by input name
 * @returns arrays by output name
 * @throws TinsmithError `unsupported` naming all operators without a record; `bad-input` when a node cannot run (named)
 */
export async function evaluateGraph(graph: Graph, feeds: Readonly<Record<string, NDArray>>): Promise<Record<string, NDArray>> {
  const missing = new Set([...graph.allNodes()].filter((node) => !operatorOf(node)).map((node) => node.type))
  if (missing.size) throw unsupported(`no record for ${[...missing].sort().join(', ')}`)
  const constants = new Map<Value, NDArray>()
  await loadConstants(graph, constants)
  const inputs = graph.inputs.map((input) => {
    const fed = feeds[input.name]
    if (!fed) throw badInput(`the input ${input.name} is missing`)
    return fed
  })
  const results = runGraph(graph, inputs, constants, new Map())
  return Object.fromEntries(graph.outputs.map((output, i) => [output.name, results[i]]))
}

async function loadConstants(graph: Graph, constants: Map<Value, NDArray>): Promise<void> {
  for (const constant of graph.constants.values()) constants.set(constant, await constant.tensor!.array())
  for (const node of graph.nodes()) for (const subgraph of node.subgraphs) await loadConstants(subgraph, constants)
}

function runGraph(
  graph: Graph,
  feeds: readonly NDArray[],
  constants: ReadonlyMap<Value, NDArray>,
  outer: ReadonlyMap<Value, NDArray>,
): NDArray[] {
  const known = new Map(outer)
  graph.inputs.forEach((input, i) => void known.set(input, feeds[i]))
  const get = (value: Value): NDArray => {
    const array = known.get(value) ?? constants.get(value)
    if (!array) throw badInput(`${value.name} has no value`)
    return array
  }
  for (const node of graph.nodes()) {
    const results = evaluateNode(
      node,
      node.inputs.map((input) => (input ? get(input) : null)),
      (body, bodyFeeds) => runGraph(body, bodyFeeds, constants, known),
    )
    node.outputs.forEach((output, i) => {
      if (results[i]) known.set(output, results[i])
    })
  }
  return graph.outputs.map(get)
}

/** Runs one node by its reference evaluation. */
export function evaluateNode(
  node: Node,
  inputs: readonly (NDArray | null)[],
  run: Parameters<NonNullable<ReturnType<typeof operatorOf>>['evaluate']>[2],
): NDArray[] {
  const record = operatorOf(node)
  if (!record) throw unsupported(`no record for ${node.type}`)
  try {
    return record
      .evaluate(node, inputs, run)
      .map((array) => (array && rounded.has(array.dtype) ? { ...array, data: roundTo(array.dtype, array.data) } : array))
  } catch (error) {
    if (error instanceof TinsmithError && error.where) throw error
    const [code, hint] = error instanceof TinsmithError ? [error.code, error.hint] : ['bad-input' as const, undefined]
    throw new TinsmithError(code, `${node.type} ${node.name || node.output.name} cannot run: ${(error as Error).message}`, {
      hint,
      cause: error,
    })
  }
}

function roundTo(dtype: DType, data: Elements): Elements {
  const result = decode(dtype, encode(dtype, data), data.length) as Float32Array
  // Encoding saturates; an infinity that the operator made on purpose stays where the dtype has one.
  if (dtype === 'float8e5m2')
    for (let i = 0; i < data.length; i++) if (Math.abs(data[i] as number) === Infinity) result[i] = data[i] as number
  return result
}
