import { unsupported } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { anatomyOf, type Block } from './index.js'
import { isNorm, isResidual, reached } from './walk.js'

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

/**
 * The value that enters each block, and the one that leaves the last: one more than there are blocks. With a norm on the stream
 * (BERT) values are those after it.
 *
 * @throws TinsmithError `unsupported` where blocks do not follow each other on one residual stream
 */
export function residualStream(graph: Graph): Value[] {
  const { blocks } = anatomyOf(graph)
  if (!blocks.length) return []
  const sums = blockOutputs(graph)
  const entries = blocks.map((block) => entryOf(block))
  const last = sums.get(blocks.at(-1)!.name)
  if (!last) throw cannot(blocks.at(-1)!)
  const normed = blocks.length > 1 && entries[1] !== sums.get(blocks[0].name)
  const norm = normed ? last.users.find(isNorm) : undefined
  if (normed && !norm) throw cannot(blocks.at(-1)!)
  return [...entries, norm?.output ?? last]
}

/** What attention is added to. */
function entryOf(block: Block): Value {
  const branch = block.linears.get('o')?.output
  const sum = branch && reached(branch).find(isResidual)
  const entry = sum?.inputs.find((input) => input && !dependsOn(input, block.mixer.context))
  if (!entry) throw cannot(block)
  return entry
}

/** Whether a value is computed from another that lies a few operators before it. */
function dependsOn(value: Value, other: Value, depth = 8): boolean {
  if (value === other) return true
  return depth > 0 && (value.producer?.inputs ?? []).some((input) => input !== null && dependsOn(input, other, depth - 1))
}

function cannot(block: Block) {
  return unsupported(`the layer ${block.name} cannot be told from its neighbours, so the model cannot be taken apart by layers`)
}
