/** Where adapters stand in a graph, and how values are put in front of others. */
import { anatomyOf, type Linear, type Role } from '../../anatomy/index.js'
import { badInput, unsupported } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { LazyTensor, type Tensor, transposed } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'

/** A linear, or the part of a packed one that gives one of query, key and value (or gate and up). */
export interface Place {
  /** The linear's name; with the role where it is a part. */
  readonly name: string
  readonly linear: Linear
  /** After the bias. */
  readonly output: Value
  readonly inputs: number
  readonly outputs: number
  /** Whether it is the whole linear. */
  readonly isWhole: boolean
}

/** In the order in which packed linears hold them. */
const packed: Readonly<Partial<Record<Role, readonly Role[]>>> = { qkv: ['q', 'k', 'v'], gate_up: ['gate', 'up'] }

/** @throws TinsmithError `bad-input` when no block has one of the roles; `unsupported` for a packed linear that is not taken apart by a Split */
export function placesOf(graph: Graph, roles: readonly Role[]): Place[] {
  const { blocks } = anatomyOf(graph)
  const places = blocks.flatMap(({ linears }) =>
    [...linears].flatMap(([role, linear]) => {
      if (roles.includes(role)) return [wholePlace(linear)]
      return (packed[role] ?? []).flatMap((part, i) => (roles.includes(part) ? [partPlace(linear, part, i)] : []))
    }),
  )
  if (!places.length) {
    const known = [...new Set(blocks.flatMap(({ linears }) => [...linears.keys()]))]
    throw badInput(`no block has a linear of the role ${roles.join(' or ')}`, {
      hint: known.length ? `Roles of this graph: ${known.join(', ')}.` : 'The graph has no blocks.',
    })
  }
  return places
}

function wholePlace(linear: Linear): Place {
  const { name, output, inputs, outputs } = linear
  return { name, linear, output, inputs, outputs, isWhole: true }
}

function partPlace(linear: Linear, role: Role, index: number): Place {
  const split = linear.output.users[0]
  const output = split?.type === 'Split' ? split.outputs[index] : undefined
  const outputs = output?.shape?.at(-1)
  if (linear.output.users.length !== 1 || !output || typeof outputs !== 'number' || split.int('axis', 0) === 0)
    throw unsupported(`the ${role} of ${linear.name} is not split off, and cannot be adapted by itself`, {
      hint: 'Adapt the whole linear by its own role.',
    })
  return { name: `${linear.name}.${role}`, linear, output, inputs: linear.inputs, outputs, isWhole: false }
}

/** Columns of a packed weight that an output of a Split takes. */
export function columnsOf(split: Node, output: Value): readonly [number, number] {
  const index = split.outputs.indexOf(output)
  const sizes = split.outputs.map((value) => Number(value.shape!.at(-1)))
  const start = sizes.slice(0, index).reduce((a, b) => a + b, 0)
  return [start, start + sizes[index]]
}

/** Where an adapter adds operators: at the graph's end; {@link Graph.sort} puts them into order afterwards. */
export function netAt(graph: Graph, name: string): Net {
  return new Net(graph, undefined, name)
}

/** Lets everything that uses a value, outputs of the graph included, use what `make` makes of it. */
export function adapt(graph: Graph, value: Value, make: () => Value): Value {
  const uses = [...value.uses]
  const made = make()
  for (const { node, index } of uses) node.setInput(index, made)
  const place = graph.outputs.indexOf(value)
  if (place >= 0) {
    graph.outputs[place] = made
    const { name } = value
    graph.rename(value, graph.uniqueName(`${name}/plain`))
    graph.rename(made, name)
  }
  return made
}

/** The note of nodes whose first input is what an adapter stands on. */
const note = 'adapter'

/** Notes that a value is its producer's first input, adapted. */
export function adapting(name: string, value: Value): Value {
  value.producer!.notes.set(note, name)
  return value
}

/** A copy of a graph without what {@link adapting} noted: the model as anatomy knows it. Values keep their names. */
export function withoutAdapters(graph: Graph): Graph {
  const copy = graph.clone()
  for (const node of copy.nodes()) if (node.notes.has(note)) restore(copy, node.output, node.input(0)!)
  copy.prune()
  return copy
}

/** What adapters make of a value; the value itself where none stands on it. */
export function adaptedValue(value: Value): Value {
  const use = [...value.uses].find(({ node, index }) => index === 0 && node.notes.has(note))
  return use ? adaptedValue(use.node.output) : value
}

/** Undoes {@link adapt}: everything that uses the made value uses the plain one again. */
export function restore(graph: Graph, made: Value, plain: Value): void {
  for (const { node, index } of [...made.uses]) node.setInput(index, plain)
  const place = graph.outputs.indexOf(made)
  if (place < 0) return
  graph.outputs[place] = plain
  const { name } = made
  graph.rename(made, graph.uniqueName(`${name}/adapted`))
  graph.rename(plain, name)
}

/** A constant of the graph by its exact name's ending, with what stands before the ending. */
export function constantsEnding(graph: Graph, ending: string): { readonly constant: Value; readonly name: string }[] {
  return [...graph.constants.values()]
    .filter((constant) => constant.name.endsWith(ending))
    .map((constant) => ({ constant, name: constant.name.slice(0, -ending.length) }))
}

/** The only node that uses a value. */
export function onlyUser(value: Value): Node {
  const [user, ...more] = value.users
  if (!user || more.length) throw unsupported(`${value.name} is used by ${value.users.length} nodes, and its adapter cannot be merged`)
  return user
}

/** The linear whose output, or a part of it behind a Split, a value is. */
export function productBehind(value: Value): { readonly product: Node; readonly split: Node | null; readonly addition: Node | null } {
  const split = value.producer?.type === 'Split' ? value.producer : null
  const last = split ? split.input(0)!.producer : value.producer
  const addition = last?.type === 'Add' ? last : null
  const product = addition ? addition.inputs.find((input) => input?.producer?.type === 'MatMul')?.producer : last
  if (product?.type !== 'MatMul')
    throw unsupported(`${value.name} is not the output of a linear any more, and its adapter cannot be merged`)
  return { product, split, addition }
}

/** Gives a product another weight [in, out], computed in float64 from the present one when it is read. */
export function changeWeight(graph: Graph, product: Node, change: (weight: Float32Array) => Promise<Float64Array>): void {
  const matrix = product.input(1)!
  const tensor = plainWeight(matrix)
  const shape = matrix.shape as readonly number[]
  const next = new LazyTensor('float32', shape, async () => Float32Array.from(await change((await tensor.read()) as Float32Array)))
  product.setInput(1, replacement(graph, matrix, next))
}

/** Gives an input of a node that is a constant vector another content. */
export function changeVector(graph: Graph, node: Node, index: number, change: (vector: Float32Array) => Promise<Float64Array>): void {
  const vector = node.input(index)!
  const tensor = vector.tensor
  if (tensor?.dtype !== 'float32') throw unsupported(`${vector.name} is no float constant, and its adapter cannot be merged`)
  const next = new LazyTensor('float32', tensor.shape, async () => Float32Array.from(await change((await tensor.read()) as Float32Array)))
  node.setInput(index, replacement(graph, vector, next))
}

/** The constant itself with the new tensor, or, where others use it too, one of its own. */
function replacement(graph: Graph, value: Value, tensor: Tensor): Value {
  if (!value.tensor || value.users.length > 1)
    return graph.addConstant(graph.uniqueName(value.producer?.input(0)?.name ?? value.name), tensor)
  graph.setTensor(value, tensor)
  return value
}

/** The weight [in, out] of a product in float32. */
export function plainWeight(matrix: Value): Tensor {
  if (matrix.tensor?.dtype === 'float32') return matrix.tensor
  const source = matrix.producer?.type === 'Transpose' ? matrix.producer.input(0)?.tensor : null
  if (source?.dtype === 'float32' && source.shape.length === 2) return transposed(source)
  throw unsupported(`${matrix.name} is no float weight, and an adapter cannot be merged into it`, {
    hint: 'Merge into the float model and quantize after that.',
  })
}
