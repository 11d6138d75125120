import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { onlyUser } from '../../ir/rewrite.js'
import type { LowerContext } from '../rule.js'

/** The Add of a bias [out] that alone uses a product, unless somebody wants to see the product. */
export function biasOf(product: Node, { observed }: LowerContext): { node: Node; bias: Value } | null {
  const add = observed.has(product.output) ? null : onlyUser(product.output, 'Add')
  const bias = add?.inputs.find((input) => input !== product.output)
  return add && bias?.isConstant && bias.shape?.length === 1 ? { node: add, bias } : null
}

/** Puts a value where a product, with its bias, was. */
export function replaceProduct(graph: Graph, product: Node, addition: Node | null, value: Value): void {
  graph.replaceAllUses((addition ?? product).output, value)
  if (addition) graph.remove(addition)
  graph.remove(product)
}
