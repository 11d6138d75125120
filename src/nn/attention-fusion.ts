import { type Attribute, float, int } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { onlyUser, producedBy } from '../ir/rewrite.js'
import { isWholeMask } from './attention-spelling.js'
import { Net } from './net.js'

/** A key of that score has no weight in a softmax, whatever the scores of the others. */
const hiddenBelow = -1e4

/** Keys or values behind a product. */
interface Side {
  /** [batch, tokens, heads * size] */
  readonly input: Value
  readonly heads: number
  readonly size: number
  readonly past: Value | null
  /** With those of the cache, [batch, heads, keys, size]; null where no value holds them in that layout. */
  readonly all: Value | null
  /** How many query heads share each. */
  readonly group: number
  /** From the product to the input. */
  readonly nodes: readonly Node[]
}

/** What happens to scores before the softmax. */
interface Scoring {
  readonly product: Node
  readonly mask: Value | null
  readonly scale: number
  readonly softcap: number
  /** From the softmax to the product, which is the last. */
  readonly nodes: readonly Node[]
}

/**
 * Turns an expanded attention, as `expandAttention` spells it, back into the operator Attention, in place. Anything else
 * stays as it is: quantized products, scores or probabilities that somebody else reads or that are outputs, other layouts.
 *
 * @param softmax the Softmax of the attention
 * @returns whether it was one
 * @example
 * for (const node of graph.nodes()) if (node.type === 'Softmax') fuseAttention(node, graph)
 */
export function fuseAttention(softmax: Node, graph: Graph): boolean {
  const mixing = onlyUser(softmax.output, 'MatMul')
  const transpose = mixing?.input(0) === softmax.output ? onlyUser(mixing.output, 'Transpose') : null
  const merged = transpose && isTranspose(transpose, [0, 2, 1, 3]) ? onlyUser(transpose.output, 'Reshape') : null
  const scoring = scoringOf(softmax, graph)
  if (!mixing || !transpose || !merged || !scoring) return false
  const query = projected(scoring.product.input(0), [0, 2, 1, 3])
  const key = columnsOf(scoring.product.input(1))
  const value = rowsOf(mixing.input(1))
  if (!query || !key || !value || !fits(query, key, value, merged)) return false
  const net = new Net(graph, undefined, merged.name)
  const pasts = key.past ? [key.past, value.past] : []
  const presents = [key.all, value.all].map(
    (all, i) => all && isReadElsewhere(all, [key, value][i].nodes, [scoring.product, mixing], graph),
  )
  const inputs = [query.input, key.input, value.input, scoring.mask, ...pasts]
  const outputs = net.ops('Attention', pasts.length || scoring.mask ? inputs : inputs.slice(0, 3), {
    attributes: attributesOf(scoring, query, key),
    outputs: pasts.length || presents.includes(true) ? ['attention', 'present_key', 'present_value'] : ['attention'],
    before: merged,
  })
  graph.replaceAllUses(merged.output, outputs[0])
  const chain = [merged, transpose, mixing, softmax, ...scoring.nodes]
  removeUnused(graph, chain)
  for (const [i, side] of [key, value].entries()) {
    if (presents[i]) graph.replaceAllUses(side.all!, outputs[i + 1])
    removeUnused(graph, side.nodes)
  }
  removeUnused(graph, query.nodes)
  return true
}

function attributesOf({ scale, softcap, product }: Scoring, query: Side, key: Side): Record<string, Attribute> {
  const usual = Math.abs(scale * Math.sqrt(query.size) - 1) <= (product.output.dtype === 'float16' ? 2 ** -11 : 2 ** -23)
  return {
    q_num_heads: int(query.heads),
    kv_num_heads: int(key.heads),
    ...(usual ? {} : { scale: float(scale) }),
    ...(softcap ? { softcap: float(softcap) } : {}),
  }
}

function fits(query: Side, key: Side, value: Side, merged: Node): boolean {
  const shared = query.heads === key.heads * key.group && query.size === key.size
  const same = key.heads === value.heads && key.group === value.group && !key.past === !value.past
  return shared && same && elementsOf(merged.input(1))?.join() === `0,0,${query.heads * value.size}`
}

function isReadElsewhere(value: Value, own: readonly Node[], products: readonly Node[], graph: Graph): boolean {
  return graph.outputs.includes(value) || value.users.some((user) => !own.includes(user) && !products.includes(user))
}

function removeUnused(graph: Graph, nodes: readonly Node[]): void {
  for (const node of nodes)
    if (node.graph === graph && node.outputs.every((output) => !output.uses.size && !graph.outputs.includes(output))) graph.remove(node)
}

/** The product of queries and keys behind a softmax over the last axis, through mask, soft cap and scale. */
function scoringOf(softmax: Node, graph: Graph): Scoring | null {
  const scores = softmax.input(0)
  const axis = softmax.int('axis', -1)
  if (!scores || (axis !== -1 && axis !== 3)) return null
  const last = scores.producer
  const low = last?.type === 'Where' ? scalarOf(last.input(2)) : undefined
  const branches =
    low !== undefined && low <= hiddenBelow
      ? [[last!.input(1), last!.input(0)] as const]
      : last?.type === 'Add'
        ? [[last.input(0), last.input(1)] as const, [last.input(1), last.input(0)] as const]
        : []
  for (const [branch, mask] of branches) {
    const found = branch && mask && isWholeMask(mask) && scaledProduct(branch)
    if (found) return isPrivate(graph, [last!, ...found.nodes]) ? { ...found, mask, nodes: [last!, ...found.nodes] } : null
  }
  const plain = scaledProduct(scores)
  return plain && isPrivate(graph, plain.nodes) ? { ...plain, mask: null } : null
}

function isPrivate(graph: Graph, nodes: readonly Node[]): boolean {
  return nodes.every(({ output }) => output.users.length === 1 && !graph.outputs.includes(output))
}

/** softcap * tanh(scale * product / softcap), or a part of it. */
function scaledProduct(value: Value): Omit<Scoring, 'mask'> | null {
  const [outer, factor] = timesScalar(value)
  const tanh = producedBy(outer?.input(0) ?? null, 'Tanh')
  const division = producedBy(tanh?.input(0) ?? null, 'Div')
  if (outer && tanh && division && scalarOf(division.input(1)) === factor) {
    const inside = scaledProduct(division.input(0)!)
    return inside && !inside.softcap ? { ...inside, softcap: factor, nodes: [outer, tanh, division, ...inside.nodes] } : null
  }
  const product = producedBy(outer ? outer.input(0) : value, 'MatMul')
  return product && { product, scale: outer ? factor : 1, softcap: 0, nodes: outer ? [outer, product] : [product] }
}

/** The multiplication by a scalar constant that made a value. */
function timesScalar(value: Value): [Node, number] | [null, number] {
  const node = producedBy(value, 'Mul')
  const factor = scalarOf(node?.input(1) ?? null)
  return node && factor !== undefined ? [node, factor] : [null, 1]
}

/** Keys as the right side of a product: [batch, heads, size, keys]. */
function columnsOf(value: Value | null): Side | null {
  const direct = projected(value, [0, 2, 3, 1])
  if (direct) return { ...direct, all: null }
  const transpose = producedBy(value, 'Transpose')
  const rows = transpose && isTranspose(transpose, [0, 1, 3, 2]) ? rowsOf(transpose.input(0)) : null
  return rows && { ...rows, nodes: [transpose!, ...rows.nodes] }
}

/** Values, or keys, as rows [batch, heads, keys, size]: repeated for groups of query heads, behind those of a cache. */
function rowsOf(value: Value | null): Side | null {
  const { from, group, nodes } = ungrouped(value)
  const concat = producedBy(from, 'Concat')
  if (!concat) {
    const side = projected(from, [0, 2, 1, 3])
    return side && { ...side, group, all: from, nodes: [...nodes, ...side.nodes] }
  }
  const side = concat.inputs.length === 2 && concat.int('axis') === 2 ? projected(concat.input(1), [0, 2, 1, 3]) : null
  return side && { ...side, group, past: concat.input(0), all: from, nodes: [...nodes, concat, ...side.nodes] }
}

/** What a value repeats head by head, and how often. */
function ungrouped(value: Value | null): { from: Value | null; group: number; nodes: readonly Node[] } {
  const whole = { from: value, group: 1, nodes: [] }
  const reshape = producedBy(value, 'Reshape')
  const expand = producedBy(reshape?.input(0) ?? null, 'Expand')
  const unsqueeze = producedBy(expand?.input(0) ?? null, 'Unsqueeze')
  const [shape, times, axes] = [reshape, expand, unsqueeze].map((node) => elementsOf(node?.input(1) ?? null))
  const from = unsqueeze?.input(0)
  if (!reshape || !expand || !unsqueeze || !shape || !times || !from) return whole
  const [kvHeads, size] = [from.shape?.[1], from.shape?.[3]]
  const group = times[2]
  const repeats = axes?.join() === '2' && times.join() === `1,1,${group},1,1`
  if (!repeats || typeof kvHeads !== 'number' || shape.join() !== `0,${kvHeads * group},-1,${size}`) return whole
  return { from, group, nodes: [reshape, expand, unsqueeze] }
}

/** [batch, tokens, heads * size] as heads, in the order that `perm` makes of [batch, tokens, heads, size]. */
function projected(value: Value | null, perm: readonly number[]): Side | null {
  const transpose = producedBy(value, 'Transpose')
  const reshape = transpose && isTranspose(transpose, perm) ? producedBy(transpose.input(0), 'Reshape') : null
  const shape = elementsOf(reshape?.input(1) ?? null)
  const input = reshape?.input(0)
  if (!transpose || !reshape || !input || input.shape?.length !== 3 || shape?.length !== 4 || shape[0] || shape[1]) return null
  if (!(shape[2] > 0 && shape[3] > 0)) return null
  return { input, heads: shape[2], size: shape[3], past: null, all: value, group: 1, nodes: [transpose, reshape] }
}

function isTranspose(node: Node, perm: readonly number[]): boolean {
  return node.ints('perm')?.join() === perm.join()
}

function elementsOf(value: Value | null): number[] | null {
  const elements = value?.tensor?.elements
  return elements ? Array.from(elements as ArrayLike<number | bigint>, Number) : null
}

function scalarOf(value: Value | null): number | undefined {
  return value?.tensor?.size === 1 ? elementsOf(value)?.[0] : undefined
}
