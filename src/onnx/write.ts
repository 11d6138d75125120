import { type ByteSink, concatenate } from '../base/bytes.js'
import { unsupported } from '../base/errors.js'
import type { Attribute } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import { type FunctionDefinition, Model } from '../ir/model.js'
import type { Node, Value } from '../ir/node.js'
import type { Tensor } from '../ir/tensor.js'
import type { DType } from '../numbers/dtype.js'
import { writeAttribute } from './attributes.js'
import { type Encoded, encode } from './encode.js'
import { type ExternalData, isExternal, type Place, planExternal, writeExternal } from './external-plan.js'
import { notedAnnotations, notedField, notedMetadata, notedType } from './notes.js'
import { irVersionFor, writeOpsets } from './opsets.js'
import { TensorBytes, tensorPieces } from './pieces.js'
import {
  dataTypes,
  emptyTensor,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  modelProto,
  type NodeProto,
  type TensorProto,
  type TypeProto,
  type ValueInfoProto,
} from './schema.js'

export type { ExternalData } from './external-plan.js'

export interface WriteOptions {
  /** Version of the standard's operators to declare; default the graph's. Nodes are written as they are. */
  opset?: number
  /** Default 10, or what dtypes and opsets need. */
  irVersion?: number
  /** Functions that nodes call; default the model's. */
  functions?: Iterable<FunctionDefinition>
  producer?: { readonly name: string; readonly version: string }
  externalData?: ExternalData
}

/** A protobuf file ends at 2^31 bytes. */
const largestFile = 1.9e9
const externalLocation = 1

/**
 * Writes a graph, or a model's only graph, as an ONNX file and closes the sink; external data first. Sizes are computed
 * before and tensors written one by one, so no two of them are in memory at once. The same graph gives the same bytes.
 *
 * @throws TinsmithError `unsupported` for more than 1.9 * 10^9 bytes without `externalData`
 * @example
 * await writeOnnx(graph, await folder.create('model.onnx'), {
 *   externalData: { file: (name) => folder.create(name), basename: 'model.onnx_data' },
 * })
 */
export async function writeOnnx(model: Graph | Model, sink: ByteSink, options: WriteOptions = {}): Promise<void> {
  const { graph } = partsOf(model, options)
  const external = options.externalData
  const places = placesOf(graph, external)
  const { byteLength, parts } = await encodeModel(model, options, places)
  if (byteLength > largestFile)
    throw unsupported(`the model takes ${byteLength} bytes and a file without external data may take ${largestFile}`, {
      where: graph.name,
      hint: 'Pass externalData.',
    })
  if (external) await writeExternal(places, external)
  for await (const piece of piecesOf(parts)) await sink.write(piece)
  await sink.close()
}

/** Bytes that `writeOnnx` writes with the same options, external data included; no tensor is read and nothing is written. */
export async function onnxBytes(model: Graph | Model, options: WriteOptions = {}): Promise<number> {
  const places = placesOf(partsOf(model, options).graph, options.externalData)
  const { byteLength } = await encodeModel(model, options, places)
  const ends = new Map([...places].map(([tensor, { file, offset }]) => [file, offset + tensor.byteLength]))
  return [...ends.values()].reduce((sum, end) => sum + end, byteLength)
}

/** The bytes of an ONNX file in memory. */
export async function encodeOnnx(model: Graph | Model, options: Omit<WriteOptions, 'externalData'> = {}): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  await writeOnnx(model, { write: async (bytes) => void chunks.push(bytes), close: async () => {} }, options)
  return concatenate(chunks)
}

/** A constant that an ONNX file says lies in another, and its storage form as it lies in memory. */
export interface ExternalConstant {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Name of the file that would hold it, from its first byte to its last. */
  readonly location: string
  readonly bytes: Uint8Array
}

export interface SplitOnnx {
  readonly bytes: Uint8Array
  readonly constants: readonly ExternalConstant[]
}

/**
 * A graph for a runtime in this process: an ONNX file in memory, and its large constants beside it, each read once and not
 * copied.
 *
 * @example
 * const { bytes, constants } = await splitOnnx(graph)
 */
export async function splitOnnx(graph: Graph): Promise<SplitOnnx> {
  const inner = new Set([...graph.nodes()].flatMap((node) => node.subgraphs.flatMap((subgraph) => [...tensorsOf(subgraph)])))
  const large = [...graph.constants.values()].filter(({ tensor }) => isExternal(tensor!) && !inner.has(tensor!))
  const places = new Map<Tensor, Place>()
  for (const { tensor } of large) if (!places.has(tensor!)) places.set(tensor!, { file: `constant${places.size}`, offset: 0 })
  const { parts } = await encodeModel(graph, {}, places)
  const chunks: Uint8Array[] = []
  for await (const piece of piecesOf(parts)) chunks.push(piece)
  const contents = await readAll([...places.keys()])
  const constants = large.map(({ name, tensor }): ExternalConstant => {
    const { dtype, shape } = tensor!
    return { name, dtype, shape, location: places.get(tensor!)!.file, bytes: contents.get(tensor!)! }
  })
  return { bytes: concatenate(chunks), constants }
}

/** Two at a time, for one is computed while the next comes from the disk. */
async function readAll(tensors: readonly Tensor[]): Promise<Map<Tensor, Uint8Array>> {
  const contents = new Map<Tensor, Uint8Array>()
  const waiting = tensors.values()
  const lane = async () => {
    for (const tensor of waiting) contents.set(tensor, await tensor.bytes())
  }
  await Promise.all([lane(), lane()])
  return contents
}

function placesOf(graph: Graph, external: ExternalData | undefined): Map<Tensor, Place> {
  const tensors = [...tensorsOf(graph)]
  const total = tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0)
  return external && (external.when === 'always' || total > largestFile) ? planExternal(tensors, external) : new Map()
}

async function encodeModel(model: Graph | Model, options: WriteOptions, places: ReadonlyMap<Tensor, Place>): Promise<Encoded> {
  const { graph, functions } = partsOf(model, options)
  return encode(modelProto, await new GraphWriter(places).model(model, graph, functions, options))
}

async function* piecesOf(parts: Encoded['parts']): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Uint8Array) yield part
    else if (part instanceof TensorBytes) yield* tensorPieces(part.tensor)
    else yield await part.read()
  }
}

function partsOf(model: Graph | Model, options: WriteOptions): { graph: Graph; functions: FunctionDefinition[] } {
  const isModel = model instanceof Model
  return { graph: isModel ? model.graph : model, functions: [...(options.functions ?? (isModel ? model.functions.values() : []))] }
}

/** Tensors of the constants of a graph and of the graphs inside it. */
function* tensorsOf(graph: Graph): Generator<Tensor> {
  for (const constant of graph.constants.values()) yield constant.tensor!
  for (const node of graph.nodes()) for (const subgraph of node.subgraphs) yield* tensorsOf(subgraph)
}

class GraphWriter {
  readonly #places: ReadonlyMap<Tensor, Place>
  readonly #dtypes = new Set<DType>()
  readonly #domains = new Set<string>()

  constructor(places: ReadonlyMap<Tensor, Place>) {
    this.#places = places
  }

  async model(model: Graph | Model, graph: Graph, functions: readonly FunctionDefinition[], options: WriteOptions): Promise<ModelProto> {
    const notes = model instanceof Model ? model.notes : new Map<string, string>()
    const graphMessage = await this.#graph(graph)
    const functionMessages: FunctionProto[] = []
    const domains = new Set(this.#domains)
    for (const definition of functions) {
      functionMessages.push(await this.#function(definition))
      domains.add(definition.domain)
    }
    const opsets = writeOpsets(graph, domains, options.opset)
    return {
      irVersion: options.irVersion ?? irVersionFor(this.#dtypes, [...opsets, ...functions.flatMap(({ body }) => writeOpsets(body, []))]),
      producerName: options.producer?.name ?? 'tinsmith',
      producerVersion: options.producer?.version,
      domain: notedField(notes, 'domain'),
      modelVersion: integerOf(notedField(notes, 'modelVersion')),
      doc: notedField(notes, 'doc'),
      graph: graphMessage,
      operatorSet: opsets,
      metadata: notedMetadata(notes),
      functions: functionMessages,
    }
  }

  async #function(definition: FunctionDefinition): Promise<FunctionProto> {
    const { body } = definition
    this.#domains.clear()
    const { node, valueInfo, metadata, doc } = await this.#graph(body)
    return {
      name: definition.name,
      input: body.inputs.map((input) => input.name),
      output: body.outputs.map((output) => output.name),
      attribute: definition.attributes,
      node: [...(await this.#constantNodes(body)), ...node],
      doc,
      operatorSet: writeOpsets(body, this.#domains),
      domain: definition.domain,
      attributeDefault: await this.#attributes(definition.defaults ?? {}),
      valueInfo,
      overload: definition.overload || undefined,
      metadata,
    }
  }

  async #graph(graph: Graph): Promise<GraphProto> {
    const ends = new Set<Value>([...graph.inputs, ...graph.outputs])
    const node: NodeProto[] = []
    const valueInfo: ValueInfoProto[] = []
    for (const each of graph.nodes()) {
      node.push(await this.#node(each))
      for (const output of each.outputs) {
        if (!output.name || ends.has(output)) continue
        const info = this.#info(output, graph)
        if (info.type) valueInfo.push(info)
      }
    }
    const initializer: TensorProto[] = []
    for (const constant of graph.constants.values())
      initializer.push(await this.#tensor(constant.tensor!, constant.name, this.#places.get(constant.tensor!)))
    return {
      node,
      name: graph.name,
      initializer,
      doc: notedField(graph.notes, 'doc'),
      input: graph.inputs.map((input) => this.#info(input, graph)),
      output: graph.outputs.map((output) => this.#info(output, graph)),
      valueInfo,
      annotation: notedAnnotations(graph.notes),
      sparseInitializer: [],
      metadata: notedMetadata(graph.notes),
    }
  }

  async #node(node: Node): Promise<NodeProto> {
    this.#domains.add(node.domain)
    return {
      input: node.inputs.map((input) => input?.name ?? ''),
      output: node.outputs.map((output) => output.name),
      name: node.name || undefined,
      operator: node.operator,
      attribute: await this.#attributes(node.attributes),
      doc: notedField(node.notes, 'doc'),
      domain: node.domain || undefined,
      overload: node.overload || undefined,
      metadata: notedMetadata(node.notes),
    }
  }

  async #attributes(attributes: Readonly<Record<string, Attribute>>): Promise<NodeProto['attribute']> {
    const parts = { tensor: (tensor: Tensor) => this.#tensor(tensor), graph: (graph: Graph) => this.#graph(graph) }
    const messages = []
    for (const name of Object.keys(attributes).sort()) messages.push(await writeAttribute(name, attributes[name], parts))
    return messages
  }

  /** Functions have no initializers, so that their constants are nodes. */
  async #constantNodes(body: Graph): Promise<NodeProto[]> {
    const nodes: NodeProto[] = []
    for (const { name, tensor } of body.constants.values())
      nodes.push({
        input: [],
        output: [name],
        operator: 'Constant',
        attribute: await this.#attributes({ value: { kind: 'tensor', value: tensor! } }),
        metadata: [],
      })
    return nodes
  }

  async #tensor(tensor: Tensor, name?: string, place?: Place): Promise<TensorProto> {
    this.#dtypes.add(tensor.dtype)
    const message: TensorProto = { ...emptyTensor, dims: tensor.shape, dataType: dataTypes[tensor.dtype], name }
    if (tensor.dtype === 'string')
      return { ...message, stringData: ((await tensor.read()) as string[]).map((text) => encoder.encode(text)) }
    if (!place) return { ...message, rawData: new TensorBytes(tensor) }
    const externalData = Object.entries({ location: place.file, offset: place.offset, length: tensor.byteLength }).map(([key, value]) => ({
      key,
      value: String(value),
    }))
    return { ...message, externalData, dataLocation: externalLocation }
  }

  #info(value: Value, graph: Graph): ValueInfoProto {
    if (value.dtype) this.#dtypes.add(value.dtype)
    return { name: value.name, type: value.dtype ? typeOf(value.dtype, value) : notedType(graph.notes, value.name) }
  }
}

const encoder = new TextEncoder()

function typeOf(dtype: DType, { shape }: Value): TypeProto {
  const dims = shape?.map((dim) => (typeof dim === 'number' ? { value: dim } : { parameter: dim }))
  return { tensorType: { elemType: dataTypes[dtype], shape: dims && { dim: dims } } }
}

function integerOf(text: string | undefined): bigint | undefined {
  return text === undefined ? undefined : BigInt(text)
}
