/** Gradients of rotary positions: the rotation back. */
import { type Attribute, int } from '../../ir/attribute.js'
import type { Dim } from '../../ir/dimension.js'
import type { Node, Value } from '../../ir/node.js'
import { addedAlong } from './gather.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import {
  add,
  expandLike,
  integers,
  multiply,
  negate,
  rangeTo,
  reshape,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  slice,
  sumOver,
  transpose,
  unsqueeze,
} from './terms.js'

/** By x the rotation with negated sines; by the tables the products of pairs, summed over heads. */
export const rotaryEmbeddingGradient: GradientRule = (node, [dy], g) => {
  const [x, cosines, sines, positions] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!, node.input(3)]
  const turned = (value: Value, cosine: Value, sine: Value): Value =>
    g.op('RotaryEmbedding', [value, cosine, sine, positions], node.attributes)
  const [zeros, ones] = [0, 1].map((value) => expandLike(g, scalar(g, value, sines), sines))
  const table = (product: Value, like: Value): Value => {
    const rows = overHeads(g, node, product, Number(shapeOf(like).at(-1)))
    return positions ? addedAlong(g, like, positions, 0, rows) : rows
  }
  return [
    turned(dy!, cosines, negate(g, sines)),
    table(multiply(g, dy!, x), cosines),
    table(multiply(g, dy!, turned(x, zeros, ones)), sines),
  ]
}

/** The sums over heads and over the two members of each rotated pair: [batch, tokens, pairs]. */
function overHeads(g: GradientBuilder, node: Node, x: Value, pairs: number): Value {
  const heads = shapeOf(x).length === 4 ? transpose(g, x, [0, 2, 1, 3]) : reshape(g, x, integers(g, [0, 0, node.int('num_heads', 1), -1]))
  const rotated = Number(shapeOf(heads)[3]) === 2 * pairs ? heads : slice(g, heads, 3, 0, 2 * pairs)
  const interleaved = node.int('interleaved', 0) === 1
  const members = reshape(g, rotated, integers(g, [0, 0, 0, ...(interleaved ? [pairs, 2] : [2, pairs])]))
  return sumOver(g, members, [2, interleaved ? 4 : 3], false)
}

/** Attributes of a RotaryEmbedding by tables [positions, pairs]; heads may be wider than what is rotated. */
export function rotaryAttributes(tables: readonly Dim[], size: number, heads: number, interleaved: number): Record<string, Attribute> {
  const width = 2 * Number(tables[1])
  const attributes = { interleaved: int(interleaved), num_heads: int(heads) }
  return width === size ? attributes : { ...attributes, rotary_embedding_dim: int(width) }
}

/** ONNX Runtime's form: positions come second, and one alone is where all samples begin. */
export const microsoftRotaryEmbedding: Expansion = {
  expand(node, g) {
    const [x, positions, cosines, sines] = node.inputs as Value[]
    const [rank, width] = [shapeOf(x).length, 2 * Number(shapeOf(cosines)[1])]
    const channels = Number(shapeOf(x).at(-1))
    const heads = rank === 4 ? Number(shapeOf(x)[1]) : node.int('num_heads', 0) || channels / width
    const tokens = sizeAlong(g, x, rank === 4 ? 2 : 1)
    const all = sizes(g, [sizeAlong(g, x, 0), tokens])
    const rows = shapeOf(positions).length === 1 ? g.op('Expand', [add(g, unsqueeze(g, rangeTo(g, tokens), 0), positions), all]) : positions
    const size = rank === 4 ? channels : channels / heads
    return [g.op('RotaryEmbedding', [x, cosines, sines, rows], rotaryAttributes(shapeOf(cosines), size, heads, node.int('interleaved', 0)))]
  },
}
