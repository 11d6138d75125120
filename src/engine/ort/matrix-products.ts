import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { onlyUser } from '../../ir/rewrite.js'
import type { ProductForm } from '../compiled/x64/matrix-product.js'
import { mostDimensions } from './product-operator.js'

/** A form of a product, with or without a bias that is added: each is an operator of its own. */
export interface ProductKind extends ProductForm {
  readonly hasBias: boolean
}

/** The domain of operators in machine code of our own. */
export const ownDomain = 'tinsmith.x64'

/** The operator of a kind of product: inputs left [..., inputs], right, bias. */
export function productName({ transposedLeft, transposedRight, hasBias }: ProductKind): string {
  return ['MatrixProduct', transposedLeft && 'Left', transposedRight && 'Right', hasBias && 'Bias'].filter(Boolean).join('')
}

export const productKinds: readonly ProductKind[] = [false, true].flatMap((transposedLeft) =>
  [false, true].flatMap((transposedRight) => [false, true].map((hasBias) => ({ transposedLeft, transposedRight, hasBias }))),
)

/** Columns below which a product stays with the runtime: a tile would be mostly edge. */
const fewestColumns = 16

/**
 * Turns products by one matrix (MatMul, Gemm, and the bias that is added to them) into operators of our own.
 *
 * @param kept values that must stay
 */
export function useMatrixProducts(graph: Graph, kept: ReadonlySet<Value> = new Set()): void {
  for (const node of [...graph.nodes()]) {
    const product = node.type === 'MatMul' ? productOfMatMul(node, graph, kept) : node.type === 'Gemm' ? productOfGemm(node) : null
    if (!product) continue
    const { last, kind, inputs } = product
    const own = graph.add(productName(kind), inputs, { domain: ownDomain, name: node.name, before: last })
    Object.assign(own.output, { dtype: 'float32', shape: last.output.shape })
    graph.replace(last, own.output)
    if (node !== last) graph.remove(node)
  }
}

interface Product {
  readonly kind: ProductKind
  readonly inputs: readonly Value[]
  /** The node whose output is the product's. */
  readonly last: Node
}

function productOfMatMul(node: Node, graph: Graph, kept: ReadonlySet<Value>): Product | null {
  const [left, right] = node.inputs
  if (!isMatrix(left, 2, mostDimensions) || !isMatrix(right, 2, 2) || !isWide(right, false)) return null
  const kind = { transposedLeft: false, transposedRight: false, hasBias: false }
  const addition = kept.has(node.output) || graph.outputs.includes(node.output) ? null : onlyUser(node.output, 'Add')
  const bias = addition?.inputs.find((input) => input !== node.output) ?? null
  if (addition && bias && isBias(bias, right)) return { kind: { ...kind, hasBias: true }, inputs: [left, right, bias], last: addition }
  return { kind, inputs: [left, right], last: node }
}

function productOfGemm(node: Node): Product | null {
  const [left, right, bias] = [node.input(0), node.input(1), node.input(2)]
  const [transposedLeft, transposedRight] = [node.int('transA', 0) === 1, node.int('transB', 0) === 1]
  if (!isMatrix(left, 2, 2) || !isMatrix(right, 2, 2) || !isWide(right, transposedRight)) return null
  if (node.float('alpha', 1) !== 1 || (bias && (node.float('beta', 1) !== 1 || transposedRight || !isBias(bias, right)))) return null
  const kind = { transposedLeft, transposedRight, hasBias: Boolean(bias) }
  return { kind, inputs: bias ? [left, right, bias] : [left, right], last: node }
}

function isMatrix(value: Value | null, fewest: number, most: number): value is Value {
  const rank = value?.shape?.length ?? 0
  return value?.dtype === 'float32' && rank >= fewest && rank <= most
}

function isWide({ shape }: Value, transposed: boolean): boolean {
  const columns = shape![transposed ? 0 : 1]
  return typeof columns !== 'number' || columns >= fewestColumns
}

function isBias({ dtype, shape }: Value, right: Value): boolean {
  return dtype === 'float32' && shape?.length === 1 && typeof shape[0] === 'number' && shape[0] === right.shape![1]
}
