import { badInput } from '../base/errors.js'
import type { Attribute } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import type { Tensor } from '../ir/tensor.js'
import { decodeBytes } from './decode.js'
import { encodeBytes } from './encode.js'
import { type AttributeProto, attributeProto, attributeTypes, type GraphProto, type TensorProto } from './schema.js'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

export const emptyAttribute: AttributeProto = {
  floats: [],
  ints: [],
  strings: [],
  tensors: [],
  graphs: [],
  typeProtos: [],
  sparseTensors: [],
}

/** An attribute from its message; `parts` reads what may lie inside. */
export async function readAttribute(
  proto: AttributeProto,
  where: string,
  parts: { tensor(proto: TensorProto, where: string): Promise<Tensor>; graph(proto: GraphProto): Promise<Graph> },
): Promise<Attribute> {
  const type = Number(proto.type ?? 0) || guessType(proto)
  if (proto.reference) return { kind: 'reference', value: proto.reference, type }
  const place = `${where}, ${proto.name}`
  switch (type) {
    case attributeTypes.float:
      return { kind: 'float', value: proto.f ?? 0 }
    case attributeTypes.int:
      return { kind: 'int', value: proto.i ?? 0 }
    case attributeTypes.string:
      return readTexts([proto.s ?? new Uint8Array(0)], ([value]) => ({ kind: 'string', value })) ?? opaque(proto, type)
    case attributeTypes.tensor:
      return { kind: 'tensor', value: await parts.tensor(present(proto.t, place), place) }
    case attributeTypes.graph:
      return { kind: 'graph', value: await parts.graph(present(proto.g, place)) }
    case attributeTypes.floats:
      return { kind: 'floats', value: proto.floats }
    case attributeTypes.ints:
      return { kind: 'ints', value: proto.ints }
    case attributeTypes.strings:
      return readTexts(proto.strings, (value) => ({ kind: 'strings', value })) ?? opaque(proto, type)
    case attributeTypes.tensors:
      return { kind: 'tensors', value: await inTurn(proto.tensors, (tensor) => parts.tensor(tensor, place)) }
    case attributeTypes.graphs:
      return { kind: 'graphs', value: await inTurn(proto.graphs, (graph) => parts.graph(graph)) }
    case attributeTypes.sparseTensor:
    case attributeTypes.sparseTensors:
    case attributeTypes.typeProto:
    case attributeTypes.typeProtos:
      return opaque(proto, type)
    default:
      throw badInput(`the attribute has no value of a known type (${type})`, { where: place })
  }
}

/** The message of an attribute; `parts` makes the messages of what lies inside. */
export async function writeAttribute(
  name: string,
  attribute: Attribute,
  parts: { tensor(tensor: Tensor): Promise<TensorProto>; graph(graph: Graph): Promise<GraphProto> },
): Promise<AttributeProto> {
  const base = { ...emptyAttribute, name }
  switch (attribute.kind) {
    case 'int':
      return { ...base, type: attributeTypes.int, i: attribute.value }
    case 'float':
      return { ...base, type: attributeTypes.float, f: attribute.value }
    case 'string':
      return { ...base, type: attributeTypes.string, s: encoder.encode(attribute.value) }
    case 'ints':
      return { ...base, type: attributeTypes.ints, ints: attribute.value }
    case 'floats':
      return { ...base, type: attributeTypes.floats, floats: attribute.value }
    case 'strings':
      return { ...base, type: attributeTypes.strings, strings: attribute.value.map((text) => encoder.encode(text)) }
    case 'tensor':
      return { ...base, type: attributeTypes.tensor, t: await parts.tensor(attribute.value) }
    case 'tensors':
      return { ...base, type: attributeTypes.tensors, tensors: await inTurn(attribute.value, parts.tensor) }
    case 'graph':
      return { ...base, type: attributeTypes.graph, g: await parts.graph(attribute.value) }
    case 'graphs':
      return { ...base, type: attributeTypes.graphs, graphs: await inTurn(attribute.value, parts.graph) }
    case 'reference':
      return { ...base, type: attribute.type, reference: attribute.value }
    case 'opaque':
      return { ...decodeBytes(attributeProto, attribute.value), name, type: attribute.type }
  }
}

/** Files of early versions name no type; the field that is there tells it. */
function guessType(proto: AttributeProto): number {
  if (proto.f !== undefined) return attributeTypes.float
  if (proto.i !== undefined) return attributeTypes.int
  if (proto.s) return attributeTypes.string
  if (proto.t) return attributeTypes.tensor
  if (proto.g) return attributeTypes.graph
  if (proto.floats.length) return attributeTypes.floats
  if (proto.ints.length) return attributeTypes.ints
  if (proto.strings.length) return attributeTypes.strings
  if (proto.tensors.length) return attributeTypes.tensors
  if (proto.graphs.length) return attributeTypes.graphs
  return 0
}

/** Texts where the bytes are UTF-8, which the standard does not ask for. */
function readTexts(values: readonly Uint8Array[], make: (texts: string[]) => Attribute): Attribute | null {
  try {
    return make(values.map((bytes) => utf8.decode(bytes)))
  } catch {
    return null
  }
}

/** The message itself, for kinds that nothing looks into. */
function opaque(proto: AttributeProto, type: number): Attribute {
  const { s, strings, typeProto, typeProtos, sparseTensor, sparseTensors } = proto
  return {
    kind: 'opaque',
    type,
    value: encodeBytes(attributeProto, { ...emptyAttribute, s, strings, typeProto, typeProtos, sparseTensor, sparseTensors }),
  }
}

function present<T>(part: T | undefined, where: string): T {
  if (part === undefined) throw badInput('the attribute has no value', { where })
  return part
}

async function inTurn<From, To>(list: readonly From[], make: (item: From) => Promise<To>): Promise<To[]> {
  const made: To[] = []
  for (const item of list) made.push(await make(item))
  return made
}
