/** What distillation compares in two models: found in the given graphs, and by name in copies of them. */
import { anatomyOf, type Block, isNorm, throughCarriers } from '../../anatomy/index.js'
import { blockOutputs } from '../../anatomy/stream.js'
import { badInput, unsupported } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { expansionObstacle } from '../../nn/attention-spelling.js'

/** What the linears of an attention give, [batch, tokens, width] each. */
export interface Projections {
  /** As the linears give them: before rotation and before norms over heads. */
  readonly q: Value
  readonly k: Value
  readonly v: Value
}

/** An attention as it is computed. */
export interface AttentionMap {
  /** [batch, tokens, width], rotated where positions are. */
  readonly query: Value
  readonly key: Value
  readonly heads: number
  readonly kvHeads: number
}

/** The values of one block. */
export interface BlockValues {
  readonly name: string
  /** Of all tokens after the block, as the next block reads them; [batch, tokens, hidden]. */
  hidden(): Value
  projections(): Projections
  attention(): AttentionMap
  /** Which keys each query sees: the mask of the attention, bool or to be added; null where it has none. */
  readonly mask: Value | null
}

/**
 * The blocks of a model, in order.
 *
 * @throws TinsmithError `bad-input` when there are none; what a block does not have is an error (`unsupported`, the block
 * named) when it is asked for
 */
export function blocksOf(graph: Graph): BlockValues[] {
  const streams = blockOutputs(graph)
  const { blocks } = anatomyOf(graph)
  if (!blocks.length) throw badInput(`no blocks with attention were found in the graph ${graph.name}`)
  return blocks.map((block) => ({
    name: block.name,
    hidden: () => hiddenOf(streams.get(block.name) ?? absent(block, 'no residual stream')),
    projections: () => projectionsOf(block),
    attention: () => attentionOf(block),
    mask: block.mixer.node.type === 'Attention' ? block.mixer.node.input(3) : null,
  }))
}

/** Which block of the student learns from which block of the teacher. */
export type LayerMap = readonly (readonly [student: number, teacher: number])[]

/**
 * A map that spreads the student's blocks evenly over the teacher's; the last learns from the last.
 *
 * Source: the uniform strategy of TinyBERT (Jiao et al. 2020), section 4.1.
 * @example
 * uniformLayers(3, 12) // [[0, 3], [1, 7], [2, 11]]
 */
export function uniformLayers(student: number, teacher: number): LayerMap {
  return Array.from({ length: student }, (_, i) => [i, Math.max(0, Math.round(((i + 1) * teacher) / student) - 1)])
}

/** The pairs of blocks that a map names. */
export function pairBlocks(
  student: readonly BlockValues[],
  teacher: readonly BlockValues[],
  layers: LayerMap,
): (readonly [BlockValues, BlockValues])[] {
  if (!layers.length) throw badInput('the map of layers is empty')
  return layers.map(([own, other]) => [blockAt(student, own, 'student'), blockAt(teacher, other, 'teacher')])
}

function blockAt(blocks: readonly BlockValues[], index: number, whose: string): BlockValues {
  const block = blocks.at(index)
  if (block) return block
  throw badInput(`the ${whose} has no layer ${index}`, { hint: `It has ${blocks.length}; they count from 0, from the end with -1.` })
}

/** Where a norm is all that reads the sum, the norm belongs to the block. */
function hiddenOf(sum: Value): Value {
  const { users } = sum
  return users.length === 1 && isNorm(users[0]) ? users[0].output : sum
}

function projectionsOf(block: Block): Projections {
  const { mixer, linears } = block
  const outputs = new Set([...linears.values()].map(({ output }) => output))
  const own = (value: Value): Value => {
    const found = throughCarriers(value, (at) => outputs.has(at) || at.producer?.type === 'Split')
    return found.shape?.length === 3 ? found : absent(block, 'no linear outputs of the shape [batch, tokens, width]')
  }
  return { q: own(mixer.query), k: own(mixer.key), v: own(mixer.value) }
}

function attentionOf(block: Block): AttentionMap {
  const { node, query, key, heads, kvHeads } = block.mixer
  const obstacle = node.type !== 'Attention' ? 'it is spelled out' : expansionObstacle(node)
  if (obstacle || !heads || !kvHeads)
    return absent(block, `an attention that cannot be computed apart: ${obstacle ?? 'its heads are not known'}`)
  if (node.float('softcap', 0)) return absent(block, 'an attention with a soft cap')
  return { query, key, heads, kvHeads }
}

function absent(block: Block, what: string): never {
  throw unsupported(`the block ${block.name} has ${what}`, { hint: 'Distil from the logits or from hidden states.' })
}
