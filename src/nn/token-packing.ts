/**
 * Padding is no work that anybody needs: linears, norms and activations see one token at a time, and may as well see the real ones only.
 * Here they do: what they compute on lies as [tokens, channels], the tokens of all sequences one after the other; attention, pooling and
 * the graph's outputs see [batch, sequence, channels] as before. (Zhai et al., ByteTransformer, 2023, section III-C, in ordinary operators.)
 */
import { int } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { onlyUser, producedBy } from '../ir/rewrite.js'
import { inferNode } from '../ops/infer.js'
import { paddingOf } from './masks.js'
import { Net } from './net.js'

/** The note on a graph whose tokens are packed when it is lowered. */
export const paddingNote = 'padding'

/** Operators that compute each element of the result from the elements at its place. */
const elementwise = new Set(
  'Abs Add Cast Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Max Min Mish Mul Neg Pow Relu Selu Sigmoid Softplus Sqrt Sub Swish Tanh Where'.split(
    ' ',
  ),
)
/** Operators that work along one axis, which has to be the last. */
const alongLastAxis = new Set(['LayerNormalization', 'LogSoftmax', 'RMSNormalization', 'Softmax', 'Split'])
const quantizers = new Set(['DequantizeLinear', 'QuantizeLinear'])

/** Whether a node computes each token's channels from those of the same token alone. */
function isTokenwise(node: Node, isToken: (value: Value | null) => boolean): boolean {
  if (node.domain || node.subgraphs.length) return false
  const [first, ...others] = node.inputs
  if (elementwise.has(node.operator)) return node.inputs.every((input) => isToken(input) || isPerChannel(input))
  if (!isToken(first ?? null)) return false
  if (node.operator === 'MatMul') return isStatic(others[0]) && others[0]?.shape?.length === 2
  const rank = first!.shape!.length
  if (alongLastAxis.has(node.operator)) return [-1, rank - 1].includes(axisOf(node)) && others.every(isPerChannel)
  return quantizers.has(node.operator) && others.every((input) => !input || input.shape?.length === 0)
}

function axisOf(node: Node): number {
  return node.int('axis', node.operator === 'Split' ? 0 : -1)!
}

/** A scalar, or a vector over channels. */
function isPerChannel(value: Value | null): boolean {
  return !value || (isStatic(value) && (value.shape?.length ?? 2) <= 1)
}

/** Computed from constants alone. */
function isStatic(value: Value | null | undefined): boolean {
  return !!value && (value.isConstant || (!!value.producer && value.producer.inputs.every((input) => !input || isStatic(input))))
}

/** Why the tokens of a graph cannot be packed, or the 0/1 padding mask [batch, sequence] that says which are real. */
export function packableBy(graph: Graph): Value | string {
  if ([...graph.nodes()].some((node) => node.type === 'DynamicQuantizeLinear' && (node.input(0)?.shape?.length ?? 3) > 2))
    return 'its activations are quantized by their range over the whole batch, padding included'
  const mixers = [...graph.nodes()].filter((node) => node.type === 'Attention')
  if (!mixers.length) return 'it has no attention, so nothing says which tokens are padding'
  const masks = new Set(mixers.map((node) => (node.int('is_causal', 0) || node.input(4) ? null : paddingOf(node.input(3)))))
  const [mask] = masks
  if (masks.size > 1 || !mask) return 'its attention is not hidden by one padding mask alone'
  return mask.shape?.every((dim) => typeof dim === 'string') ? mask : 'its batch and its length are fixed'
}

/**
 * Lets everything that sees one token at a time see real tokens only, in place. Where a mask is 0, outputs are 0; all else stays the same.
 *
 * @returns how many linears see real tokens only
 */
export function packTokens(graph: Graph): number {
  const mask = packableBy(graph)
  if (typeof mask === 'string') return 0
  const region = tokenwiseNodes(graph, mask)
  const products = [...region].filter((node) => node.operator === 'MatMul').length
  if (products) new Packing(graph, mask, region).apply()
  return products
}

/** The tokenwise nodes that hang together with a linear. */
function tokenwiseNodes(graph: Graph, mask: Value): ReadonlySet<Node> {
  const isToken = (value: Value | null) =>
    value?.shape?.length === 3 &&
    value.shape[0] === mask.shape![0] &&
    value.shape[1] === mask.shape![1] &&
    typeof value.shape[2] === 'number'
  const candidates = new Set([...graph.nodes()].filter((node) => node.inputs.some(isToken) && isTokenwise(node, isToken)))
  const chosen = new Set<Node>()
  const pending = [...candidates].filter((node) => node.operator === 'MatMul')
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (chosen.has(node)) continue
    chosen.add(node)
    const around = [...node.inputs.map((input) => input?.producer), ...node.outputs.flatMap((output) => output.users)]
    pending.push(...around.filter((other): other is Node => !!other && candidates.has(other)))
  }
  return chosen
}

class Packing {
  readonly #net: Net
  readonly #packed = new Map<Value, Value>()
  readonly #first: Node
  readonly #flags: Value
  readonly #kept: Value
  readonly #rows: Value
  readonly #places: Value

  constructor(
    readonly graph: Graph,
    readonly mask: Value,
    readonly region: ReadonlySet<Node>,
  ) {
    this.#net = new Net(graph)
    this.#first = graph.first!
    // The very first token counts as real, so that there always is one.
    const flags = this.#op('Cast', [this.#op('Cast', [mask], { to: int(9) })], { to: int(7) })
    const rest = this.#op('Slice', [this.#op('Reshape', [flags, this.#net.ints([-1])]), this.#net.ints([1]), this.#net.ints([maximum])])
    this.#flags = flags
    this.#kept = this.#op('Concat', [this.#net.ints([1]), rest], { axis: int(0) })
    this.#rows = this.#op('Squeeze', [this.#op('NonZero', [this.#kept]), this.#net.ints([0])])
    const counted = this.#op('Sub', [this.#op('CumSum', [this.#kept, this.#net.ints(0)]), this.#net.ints(1)])
    this.#places = this.#op('Reshape', [this.#op('Mul', [counted, this.#kept]), this.#op('Shape', [mask])])
  }

  apply(): void {
    const made = [...this.region].flatMap((node) => node.outputs)
    for (const node of this.graph.nodes()) if (this.region.has(node)) this.#pack(node)
    for (const value of made) this.#unpack(value)
  }

  #op(...[operator, inputs, attributes]: Parameters<Net['op']>): Value {
    return this.#net.op(operator, inputs, attributes, { before: this.#first })
  }

  #pack(node: Node): void {
    node.inputs.forEach((input, index) => {
      if (input?.shape?.length === 3 && !this.region.has(input.producer!)) node.setInput(index, this.#packedFrom(input, node))
    })
    if (alongLastAxis.has(node.operator)) node.setAttribute('axis', int(-1))
    for (const output of node.outputs) output.shape = null
    inferNode(node)
  }

  #packedFrom(value: Value, before: Node): Value {
    const known = this.#packed.get(value)
    if (known) return known
    const net = new Net(this.graph, undefined, before.name)
    const rows = net.op('Reshape', [value, net.ints([-1, value.shape![2] as number])], {}, { before })
    const packed = net.op('Gather', [rows, this.#rows], { axis: int(0) }, { before })
    this.#packed.set(value, packed)
    return packed
  }

  #unpack(value: Value): void {
    const outside = [...value.uses].filter(({ node }) => !this.region.has(node))
    const isOutput = this.graph.outputs.includes(value)
    if (value.shape?.length !== 2 || (!outside.length && !isOutput)) return
    const place = { before: value.producer!.next ?? undefined }
    const net = new Net(this.graph, undefined, value.producer!.name)
    const padded = net.op('Gather', [value, this.#places], { axis: int(0) }, place)
    for (const { node, index } of outside) node.setInput(index, padded)
    if (!isOutput) return
    const flags = net.op('Unsqueeze', [net.op('Cast', [this.#flags], { to: int(1) }, place), net.ints([-1])], {}, place)
    const zeroed = net.op('Mul', [padded, flags], {}, place)
    this.graph.outputs.splice(this.graph.outputs.indexOf(value), 1, zeroed)
    const { name } = value
    this.graph.rename(value, this.graph.uniqueName(`${name}.tokens`))
    this.graph.rename(zeroed, name)
  }
}

const maximum = Number.MAX_SAFE_INTEGER

/** The inverse of {@link packTokens}: true where a graph was packed, and is no longer. */
export function unpackTokens(graph: Graph): boolean {
  const rows = [...graph.nodes()].filter((node) => node.type === 'NonZero').flatMap((node) => onlyUser(node.output, 'Squeeze') ?? [])
  return rows.map((squeeze) => unpackFrom(graph, squeeze)).includes(true)
}

function unpackFrom(graph: Graph, squeeze: Node): boolean {
  const kept = squeeze.input(0)!.producer!.input(0)!
  const flags = producedBy(producedBy(producedBy(kept, 'Concat')?.input(1) ?? null, 'Slice')?.input(0) ?? null, 'Reshape')?.input(0)
  const sums = kept.users.filter((node) => node.type === 'CumSum')
  const products = kept.users.filter((node) => node.type === 'Mul' && producedBy(node.input(0), 'Sub')?.input(0)?.producer === sums[0])
  const places = products.length === 1 ? onlyUser(products[0].output, 'Reshape')?.output : undefined
  if (!flags || !places || sums.length !== 1) return false
  const packs = squeeze.output.users
  const unpacks = places.users
  const isPack = (node: Node) => node.type === 'Gather' && node.input(1) === squeeze.output && !!producedBy(node.input(0), 'Reshape')
  if (!packs.every(isPack) || !unpacks.every((node) => node.type === 'Gather' && node.input(1) === places)) return false
  const region = packedRegion(packs, new Set(unpacks))
  if (!region) return false
  for (const node of packs) graph.replace(node, node.input(0)!.producer!.input(0)!)
  for (const node of unpacks) {
    for (const user of node.output.users) if (isZeroing(user, flags)) graph.replace(user, node.output)
    graph.replace(node, node.input(0)!)
  }
  for (const node of region) for (const output of node.outputs) output.shape = null
  for (const node of region) inferNode(node)
  graph.prune()
  return true
}

/** Multiplies an output by the mask's flags. */
function isZeroing(node: Node, flags: Value): boolean {
  return node.type === 'Mul' && producedBy(producedBy(node.input(1), 'Unsqueeze')?.input(0) ?? null, 'Cast')?.input(0) === flags
}

/** The nodes on packed tokens in their order, or null where one mixes tokens. */
function packedRegion(packs: readonly Node[], unpacks: ReadonlySet<Node>): readonly Node[] | null {
  const values = new Set(packs.map((node) => node.output))
  const region: Node[] = []
  const isToken = (value: Value | null) => !!value && values.has(value)
  const [graph] = packs.map((node) => node.graph!)
  for (const node of graph?.nodes() ?? []) {
    if (unpacks.has(node) || !node.inputs.some(isToken)) continue
    if (!isTokenwise(node, isToken)) return null
    region.push(node)
    for (const output of node.outputs) values.add(output)
  }
  return region
}
