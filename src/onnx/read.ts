import type { ByteSource } from '../base/bytes.js'
import { badInput, type TinsmithError, unsupported } from '../base/errors.js'
import type { Attributes } from '../ir/attribute.js'
import { type Dim, symbol } from '../ir/dimension.js'
import { Graph } from '../ir/graph.js'
import { functionKey, Model } from '../ir/model.js'
import type { Value } from '../ir/node.js'
import type { Tensor } from '../ir/tensor.js'
import { readAttribute } from './attributes.js'
import { decode } from './decode.js'
import { ExternalFiles, type OpenExternal } from './external.js'
import { noteAnnotation, noteField, noteMetadata, noteType } from './notes.js'
import { domainOf, readOpsets } from './opsets.js'
import { inOrder, labelOf } from './order.js'
import {
  type DimensionProto,
  dtypeOf,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  modelProto,
  type NodeProto,
  type TypeProto,
  type ValueInfoProto,
} from './schema.js'
import { denseOf, tensorOf } from './tensor-proto.js'

export interface ReadOptions {
  /** Opens the files that hold tensors outside the model's own, by relative path. */
  external?: OpenExternal
  /** Name of the graph in the model; default the file's name without `.onnx`. */
  name?: string
}

/**
 * A model with one graph from an ONNX file: opsets 7 to 28 (older ones where 7 changed nothing), IR versions 3 to 14. Weights of more than 1 KiB stay in the
 * file until they are read.
 *
 * Initializers become constants, also where an input of the same name lets callers override them; nodes are put into
 * topological order; dimensions without a name get one of their own; sparse initializers become dense ones; types
 * other than tensors, doc strings, metadata and quantization annotations are kept as notes.
 *
 * @throws TinsmithError `bad-input` for files that are cut off or contradict themselves: says where; `unsupported` for
 * versions and dtypes that are not known
 * @example
 * const model = await readOnnx(await folder.open('onnx/model.onnx'), { external: (path) => folder.open(`onnx/${path}`) })
 * printGraph(model.graph)
 */
export async function readOnnx(source: ByteSource, options: ReadOptions = {}): Promise<Model> {
  const proto = await decode(modelProto, source)
  const reader = new ModelReader(source.name, new ExternalFiles(options.external))
  return reader.model(proto, options.name ?? baseName(source.name))
}

function baseName(path: string): string {
  return path.replace(/^.*[\\/]/, '').replace(/\.onnx$/, '') || 'model'
}

class ModelReader {
  readonly #where: string
  readonly #files: ExternalFiles
  /** Symbols made for dimensions without a name. */
  readonly #fresh = new Set<string>()

  constructor(where: string, files: ExternalFiles) {
    this.#where = where
    this.#files = files
  }

  async model(proto: ModelProto, name: string): Promise<Model> {
    if (!proto.graph) throw this.#bad('there is no graph in it, so this is no ONNX model')
    const version = Number(proto.irVersion ?? 0)
    if (!(version >= 3 && version <= 14)) throw unsupported(`IR version ${version} is not one of 3 to 14`, { where: this.#where })
    const model = new Model([[name, await this.#graph(proto.graph, null, readOpsets(proto.operatorSet, proto.graph.node, this.#where))]])
    for (const definition of proto.functions) await this.#function(definition, model)
    noteMetadata(model.notes, proto.metadata)
    noteField(model.notes, 'doc', proto.doc)
    noteField(model.notes, 'producerName', proto.producerName)
    noteField(model.notes, 'producerVersion', proto.producerVersion)
    noteField(model.notes, 'domain', proto.domain)
    noteField(model.notes, 'modelVersion', proto.modelVersion ? String(proto.modelVersion) : undefined)
    return model
  }

  async #function(proto: FunctionProto, model: Model): Promise<void> {
    const [domain, name, overload] = [domainOf(proto.domain), proto.name ?? '', proto.overload ?? '']
    const key = functionKey(domain, name, overload)
    if (!name || model.functions.has(key)) throw this.#bad(`the function ${key} has no name or is defined twice`)
    const named = (values: readonly string[]): ValueInfoProto[] => values.map((value) => ({ name: value }))
    const content = {
      ...proto,
      input: named(proto.input),
      output: named(proto.output),
      initializer: [],
      sparseInitializer: [],
      annotation: [],
    }
    const body = await this.#graph(content, null, readOpsets(proto.operatorSet, proto.node, this.#where))
    const defaults: Attributes = Object.fromEntries(
      await Promise.all(
        proto.attributeDefault.map(
          async (attribute) => [attribute.name ?? '', await readAttribute(attribute, key, this.#attributeParts(body))] as const,
        ),
      ),
    )
    model.functions.set(key, { domain, name, overload, attributes: proto.attribute, defaults, body })
  }

  async #graph(proto: GraphProto, parent: Graph | null, opsets: ReadonlyMap<string, number>): Promise<Graph> {
    const graph = new Graph(proto.name ?? '', parent)
    graph.opsets.clear()
    for (const [domain, version] of opsets) graph.opsets.set(domain, version)
    noteMetadata(graph.notes, proto.metadata)
    noteField(graph.notes, 'doc', proto.doc)
    for (const annotation of proto.annotation) noteAnnotation(graph.notes, annotation)

    const constants = new Set([
      ...proto.initializer.map((tensor) => tensor.name),
      ...proto.sparseInitializer.map((tensor) => tensor.values?.name),
    ])
    for (const input of proto.input)
      if (!constants.has(input.name)) this.#type(graph.addInput(this.#newName(graph, input.name), null, null), input.type, graph)
    for (const tensor of proto.initializer)
      this.#constant(graph, tensor.name, await tensorOf(tensor, this.#place(tensor.name), this.#files))
    for (const sparse of proto.sparseInitializer) {
      const { name, tensor } = await denseOf(sparse, this.#files)
      this.#constant(graph, name, tensor)
    }
    const types = new Map([...proto.valueInfo, ...proto.output].map((info) => [info.name, info.type]))
    for (const node of inOrder(proto.node, this.#where)) await this.#node(node, graph, types)
    for (const output of proto.output) {
      const value = graph.visible(output.name ?? '')
      if (!value) throw this.#bad(`nothing computes the output ${output.name ?? ''}`)
      const own = graph.value(value.name) === value
      graph.outputs.push(own ? value : graph.add('Identity', [value], { outputs: [graph.uniqueName(value.name)] }).output)
    }
    return graph
  }

  #constant(graph: Graph, name: string | undefined, tensor: Tensor): void {
    graph.addConstant(this.#newName(graph, name), tensor)
  }

  async #node(proto: NodeProto, graph: Graph, types: ReadonlyMap<string | undefined, TypeProto | undefined>): Promise<void> {
    const label = labelOf(proto)
    if (!proto.operator) throw this.#bad(`the node ${label} has no operator`)
    const attributes = new Map<string, Attributes[string]>()
    for (const attribute of proto.attribute) {
      if (!attribute.name || attributes.has(attribute.name))
        throw this.#bad(`${label} has an attribute "${attribute.name ?? ''}" without a name or twice`)
      attributes.set(attribute.name, await readAttribute(attribute, `${this.#where}, ${label}`, this.#attributeParts(graph)))
    }
    for (const name of proto.output) if (name) this.#newName(graph, name)
    const inputs = proto.input.map((name) => {
      if (!name) return null
      const value = graph.visible(name)
      if (!value) throw this.#bad(`${label} uses ${name}, which nothing computes`)
      return value
    })
    const node = graph.add(proto.operator, inputs, {
      domain: domainOf(proto.domain),
      name: proto.name ?? '',
      overload: proto.overload ?? '',
      attributes: Object.fromEntries(attributes),
      outputs: proto.output,
    })
    noteMetadata(node.notes, proto.metadata)
    noteField(node.notes, 'doc', proto.doc)
    for (const output of node.outputs) if (output.name) this.#type(output, types.get(output.name), graph)
  }

  /** How tensors and graphs inside attributes are read. */
  #attributeParts(graph: Graph) {
    return {
      tensor: (proto: Parameters<typeof tensorOf>[0], where: string) => tensorOf(proto, where, this.#files),
      graph: (proto: GraphProto) => this.#graph(proto, graph, graph.opsets),
    }
  }

  /** Sets dtype and shape; types that are no tensors are noted. */
  #type(value: Value, type: TypeProto | undefined, graph: Graph): void {
    if (!type) return
    const tensor = type.tensorType
    if (!tensor) {
      noteType(graph.notes, value.name, type)
      return
    }
    const dtype = dtypeOf(tensor.elemType)
    if (tensor.elemType && !dtype) throw unsupported(`the data type ${tensor.elemType} is not known`, { where: this.#place(value.name) })
    value.dtype = dtype ?? null
    value.shape = tensor.shape ? tensor.shape.dim.map((dim, axis) => this.#dim(dim, value.name, axis)) : null
  }

  #dim(dim: DimensionProto, value: string, axis: number): Dim {
    const size = dim.value === undefined ? -1 : Number(dim.value)
    if (size >= 0) return size
    if (dim.parameter) return symbol(dim.parameter)
    const base = `${value.replace(/[^\w./:-]/g, '_')}_dim_${axis}`
    let name = base
    for (let i = 1; this.#fresh.has(name); i++) name = `${base}_${i}`
    this.#fresh.add(name)
    return symbol(name)
  }

  #newName(graph: Graph, name: string | undefined): string {
    if (!name) throw this.#bad('an input or constant has no name')
    if (graph.value(name)) throw this.#bad(`the name ${name} is used twice`)
    return name
  }

  #place(name: string | undefined): string {
    return `${this.#where}, ${name ?? 'a tensor without a name'}`
  }

  #bad(message: string): TinsmithError {
    return badInput(message, { where: this.#where })
  }
}
