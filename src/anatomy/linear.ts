import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import type { DType } from '../numbers/dtype.js'
import { rootConstant } from './walk.js'

/** A linear layer: a matrix product with a weight, and its bias. */
export interface Linear {
  /** The module's name in the checkpoint: the weight's name without `.weight`. */
  readonly name: string
  readonly product: Node
  /** The addition of the bias, where there is one. */
  readonly addition: Node | null
  /** What the weight is stored as: [in, out], or [out, in] where a Transpose stands between. */
  readonly weight: Value
  readonly bias: Value | null
  readonly input: Value
  /** After the bias. */
  readonly output: Value
  readonly inputs: number
  readonly outputs: number
  /** Of the stored weight. */
  readonly dtype: DType
}

/** The linear whose product a node is, or null. */
export function linearAt(product: Node): Linear | null {
  if (product.type !== 'MatMul') return null
  const [input, matrix] = [product.input(0), product.input(1)]
  const weight = rootConstant(matrix)
  if (!input || !matrix || !weight?.tensor || rootConstant(input) || matrix.shape?.length !== 2) return null
  const [inputs, outputs] = matrix.shape as number[]
  const addition = biasAddition(product, outputs)
  const bias = addition ? [addition.input(0), addition.input(1)].find((value) => rootConstant(value))! : null
  return {
    name: weight.name.replace(/\.weight$/, ''),
    product,
    addition,
    weight,
    bias,
    input,
    output: (addition ?? product).output,
    inputs,
    outputs,
    dtype: weight.tensor.dtype,
  }
}

function biasAddition(product: Node, outputs: number): Node | null {
  const [user, ...more] = product.output.users
  if (!user || more.length || user.type !== 'Add' || product.graph?.outputs.includes(product.output)) return null
  const other = user.input(0) === product.output ? user.input(1) : user.input(0)
  return rootConstant(other) && other!.shape?.length === 1 && other!.shape[0] === outputs ? user : null
}

/** All linears of a graph, in its order. */
export function findLinears(graph: Graph): Linear[] {
  return [...graph.nodes()].flatMap((node) => linearAt(node) ?? [])
}
