import { encodeBytes } from '../../src/onnx/encode.js'
import {
  emptyTensor,
  type GraphProto,
  type ModelProto,
  modelProto,
  type NodeProto,
  type TensorProto,
  type TypeProto,
  type ValueInfoProto,
} from '../../src/onnx/schema.js'

export const noAttribute = { floats: [], ints: [], strings: [], tensors: [], graphs: [], typeProtos: [], sparseTensors: [] }

export function nodeOf(operator: string, input: string[], output: string[], more: Partial<NodeProto> = {}): NodeProto {
  return { operator, input, output, attribute: [], metadata: [], ...more }
}

export function infoOf(name: string, dims?: (number | string)[], elemType = 1): ValueInfoProto {
  const shape = dims && { dim: dims.map((dim) => (typeof dim === 'number' ? { value: dim } : dim ? { parameter: dim } : {})) }
  return { name, type: { tensorType: { elemType, shape } } satisfies TypeProto }
}

export function floatsOf(name: string, values: number[]): TensorProto {
  return { ...emptyTensor, name, dims: [values.length], dataType: 1, rawData: new Uint8Array(Float32Array.from(values).buffer) }
}

export function graphOf(parts: Partial<GraphProto>): GraphProto {
  return {
    name: 'main',
    node: [],
    initializer: [],
    input: [],
    output: [],
    valueInfo: [],
    annotation: [],
    sparseInitializer: [],
    metadata: [],
    ...parts,
  }
}

export function modelOf(graph: Partial<GraphProto>, more: Partial<ModelProto> = {}): Uint8Array {
  return encodeBytes(modelProto, {
    irVersion: 10,
    operatorSet: [{ version: 21 }],
    metadata: [],
    functions: [],
    graph: graphOf(graph),
    ...more,
  })
}
