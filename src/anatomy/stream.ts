import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { anatomyOf, type Block } from './index.js'
import { isResidual, reached } from './walk.js'

/**
 * The residual stream after each block, by the block's name: the sum that ends it, before a norm on the stream, so that
 * gains that move between norms and linears leave it as it is. Blocks without such a sum are left out.
 *
 * @example
 * blockOutputs(graph).get('encoder.layer.0')?.shape // ['batch_size', 'sequence_length', 384]
 */
export function blockOutputs(graph: Graph): Map<string, Value> {
  return new Map(
    anatomyOf(graph).blocks.flatMap((block) => {
      const sum = lastSum(block)
      return sum ? [[block.name, sum.output] as const] : []
    }),
  )
}

/** The addition of a block's last linear to the stream; where several branches are added up, the last addition. */
function lastSum({ linears }: Block): Node | null {
  const last = linears.get('down') ?? linears.get('o')
  let sum = last && reached(last.output).find(isResidual)
  for (let next = sum; next && isResidual(next); ) {
    sum = next
    const { users } = next.output
    next = users.length === 1 ? users[0] : undefined
  }
  return sum ?? null
}
