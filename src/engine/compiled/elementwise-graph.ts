import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'

/** A graph whose operators work element by element: what a loop over flat memory is made from. */
export interface ElementwiseGraph<Operator> {
  /** float32 of shape ['n']. */
  readonly vectors: readonly Value[]
  /** float32 of shape []. */
  readonly scalars: readonly Value[]
  readonly constants: ReadonlyMap<Value, number>
  readonly steps: readonly { readonly node: Node; readonly operator: Operator }[]
  /** float32 of shape ['n']. */
  readonly outputs: readonly Value[]
}

/**
 * Reads a graph as one that works element by element.
 *
 * @param operators by type, with their number of operands
 * @returns undefined where the graph has other operators, dtypes or shapes
 */
export async function elementwiseGraph<Operator extends { readonly inputs: number }>(
  graph: Graph,
  operators: Readonly<Record<string, Operator>>,
): Promise<ElementwiseGraph<Operator> | undefined> {
  const { inputs, outputs } = graph
  const [vectors, scalars] = [inputs.filter(isVector), inputs.filter(({ shape }) => shape?.length === 0)]
  const isFloat = [...inputs, ...outputs].every(({ dtype }) => dtype === 'float32')
  const lengths = new Set(vectors.map(({ shape }) => String(shape)))
  if (!isFloat || lengths.size !== 1 || vectors.length + scalars.length < inputs.length || !outputs.every(isVector)) return undefined
  const steps = [...graph.nodes()].map((node) => ({ node, operator: operators[node.type] }))
  if (!steps.every(({ node, operator }) => operator?.inputs === node.inputs.length && !node.inputs.includes(null))) return undefined
  const constants = new Map<Value, number>()
  for (const value of graph.constants.values()) {
    if (value.tensor?.dtype !== 'float32' || value.tensor.shape.length) return undefined
    constants.set(value, Number((await value.tensor.read())[0]))
  }
  return { vectors, scalars, constants, steps, outputs }
}

/** Whether a value has an element for each turn of the loop; others are scalars. */
export function isVector({ shape }: Value): boolean {
  return shape?.length === 1
}
