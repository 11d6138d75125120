import { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { ndarray, numbersOf } from '../../numbers/dtype.js'

/**
 * How an input lies beside the elements of a chain [..., columns]: `whole` has one for each, `columns` one for each column, `rows` one for each
 * row ([..., 1]).
 */
export type ChainInputKind = 'whole' | 'columns' | 'rows'

/** Elementwise operators of which only the last one's output is used elsewhere. */
export interface Chain {
  readonly last: Node
  readonly nodes: ReadonlySet<Node>
  readonly inputs: readonly { readonly value: Value; readonly kind: ChainInputKind }[]
}

/**
 * Finds all chains of two operators or more, float32 alone at their inputs and outputs.
 *
 * @param operators types of operators
 * @param mostInputs inputs that a chain may have
 */
export function elementwiseChains(graph: Graph, operators: ReadonlySet<string>, mostInputs: number, kept: ReadonlySet<Value>): Chain[] {
  const taken = new Set<Node>()
  const chains: Chain[] = []
  for (const last of [...graph.nodesBackwards()]) {
    if (taken.has(last) || !operators.has(last.type) || last.output.dtype !== 'float32' || !last.output.shape?.length) continue
    const chain = chainTo(last, operators, kept)
    if (!chain || chain.nodes.size < 2 || chain.inputs.length > mostInputs) continue
    for (const node of chain.nodes) taken.add(node)
    chains.push(chain)
  }
  return chains
}

/** The largest chain that ends at a node; null where not all of its inputs lie as they should. */
function chainTo(last: Node, operators: ReadonlySet<string>, kept: ReadonlySet<Value>): Chain | null {
  const joins = (node: Node) =>
    operators.has(node.type) &&
    node.outputs.length === 1 &&
    String(node.output.shape) === String(last.output.shape) &&
    node.inputs.every((input) => input && (inputKind(input, last.output) || isSingle(input) || isCondition(input, operators)))
  if (!joins(last)) return null
  const nodes = new Set([last])
  const inputs = new Map<Value, ChainInputKind>()
  // A set is walked with what is added meanwhile; each user of a value asks for the node that makes it, the last one with success.
  for (const node of nodes)
    for (const { producer } of node.inputs as readonly Value[])
      if (producer && joins(producer) && isInside(producer.output, nodes) && !kept.has(producer.output)) nodes.add(producer)
  for (const node of nodes)
    for (const input of node.inputs as readonly Value[]) {
      if (isSingle(input) || (input.producer && nodes.has(input.producer))) continue
      const kind = inputKind(input, last.output)
      if (!kind) return null
      inputs.set(input, kind)
    }
  if (![...inputs.values()].includes('whole')) return null
  return { last, nodes, inputs: [...inputs].map(([value, kind]) => ({ value, kind })) }
}

/** A truth value that nobody else wants, so that it can stay within a chain. */
function isCondition({ dtype, producer, uses }: Value, operators: ReadonlySet<string>): boolean {
  return dtype === 'bool' && producer !== null && operators.has(producer.type) && uses.size === 1
}

function isInside(value: Value, nodes: ReadonlySet<Node>): boolean {
  return value.uses.size > 0 && [...value.uses].every(({ node }) => nodes.has(node)) && !isOutput(value)
}

function isOutput(value: Value): boolean {
  return value.producer?.graph?.outputs.includes(value) ?? false
}

/** A constant of one element, whatever its rank. */
function isSingle({ dtype, tensor }: Value): boolean {
  return dtype === 'float32' && tensor?.size === 1 && tensor.shape.length <= 1
}

function inputKind({ dtype, shape }: Value, output: Value): ChainInputKind | null {
  if (dtype !== 'float32' || !shape) return null
  const whole = output.shape!
  if (String(shape) === String(whole)) return 'whole'
  const columns = whole.at(-1)
  if (columns === 1 || typeof columns !== 'number') return isRows(shape, whole) ? 'rows' : null
  const isColumns = shape.at(-1) === columns && shape.length <= whole.length && shape.slice(0, -1).every((dim) => dim === 1)
  if (isColumns) return 'columns'
  return isRows(shape, whole) ? 'rows' : null
}

function isRows(shape: readonly (number | string)[], whole: readonly (number | string)[]): boolean {
  return shape.length === whole.length && shape.every((dim, axis) => (axis === whole.length - 1 ? dim === 1 : dim === whole[axis]))
}

/** The chain over flat memory: inputs `x0`, `x1`, ... of shape ['n'], or [] where they are `rows`; output `y`. */
export async function chainGraph({ last, nodes, inputs }: Chain, graph: Graph): Promise<Graph> {
  const flat = new Graph('chain')
  const map = new Map<Value, Value>()
  for (const [i, { value, kind }] of inputs.entries()) map.set(value, flat.addInput(`x${i}`, 'float32', kind === 'rows' ? [] : ['n']))
  for (const node of graph.nodes()) {
    if (!nodes.has(node)) continue
    const operands: Value[] = []
    for (const input of node.inputs as readonly Value[]) {
      if (!map.has(input)) map.set(input, flat.addConstant(flat.uniqueName('constant'), await scalarOf(input)))
      operands.push(map.get(input)!)
    }
    const own = flat.add(node.operator, operands, { outputs: node === last ? ['y'] : 1 })
    Object.assign(own.output, { dtype: node.output.dtype, shape: ['n'] })
    map.set(node.output, own.output)
  }
  flat.outputs.push(map.get(last.output)!)
  return flat
}

async function scalarOf({ tensor }: Value): Promise<ArrayTensor> {
  const [number] = numbersOf({ data: await tensor!.read() })
  return ArrayTensor.of(ndarray('float32', [], [number]))
}
