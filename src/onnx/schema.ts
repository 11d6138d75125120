/**
 * The messages of the ONNX standard as tables for {@link decode} and {@link encode}. What nothing here looks into
 * (training information, device configurations) is not listed and skipped; type protos other than tensors stay bytes.
 *
 * Source: onnx.proto of ONNX 1.23 (IR version 14)
 */
import type { DType } from '../numbers/dtype.js'
import {
  type Blob,
  blob,
  bytes,
  fixed32,
  fixed64,
  float,
  floats,
  type Integer,
  int,
  ints,
  type Message,
  manyBytes,
  message,
  messages,
  text,
  texts,
  varints,
} from './wire.js'

export interface EntryProto {
  key?: string
  value?: string
}
export const entryProto: Message<EntryProto> = { name: 'StringStringEntryProto', fields: { key: text(1), value: text(2) } }

export interface OperatorSetProto {
  domain?: string
  version?: Integer
}
export const operatorSetProto: Message<OperatorSetProto> = { name: 'OperatorSetIdProto', fields: { domain: text(1), version: int(2) } }

export interface TensorProto {
  dims: readonly Integer[]
  dataType?: Integer
  floatData: readonly Blob[]
  int32Data: readonly Blob[]
  stringData: readonly Uint8Array[]
  int64Data: readonly Blob[]
  name?: string
  rawData?: Blob
  doubleData: readonly Blob[]
  uint64Data: readonly Blob[]
  externalData: readonly EntryProto[]
  dataLocation?: Integer
}
export const tensorProto: Message<TensorProto> = {
  name: 'TensorProto',
  fields: {
    dims: ints(1),
    dataType: int(2),
    floatData: fixed32(4),
    int32Data: varints(5),
    stringData: manyBytes(6),
    int64Data: varints(7),
    name: text(8),
    rawData: blob(9),
    doubleData: fixed64(10),
    uint64Data: varints(11),
    externalData: messages(13, () => entryProto),
    dataLocation: int(14),
  },
}

export interface SparseTensorProto {
  values?: TensorProto
  indices?: TensorProto
  dims: readonly Integer[]
}
export const sparseTensorProto: Message<SparseTensorProto> = {
  name: 'SparseTensorProto',
  fields: { values: message(1, () => tensorProto), indices: message(2, () => tensorProto), dims: ints(3) },
}

export interface DimensionProto {
  value?: Integer
  parameter?: string
}
export const dimensionProto: Message<DimensionProto> = { name: 'Dimension', fields: { value: int(1), parameter: text(2) } }

export interface ShapeProto {
  dim: readonly DimensionProto[]
}
export const shapeProto: Message<ShapeProto> = { name: 'TensorShapeProto', fields: { dim: messages(1, () => dimensionProto) } }

export interface TensorTypeProto {
  elemType?: Integer
  shape?: ShapeProto
}
export const tensorTypeProto: Message<TensorTypeProto> = {
  name: 'TypeProto.Tensor',
  fields: { elemType: int(1), shape: message(2, () => shapeProto) },
}

/** The kinds of types that are no tensors are kept as they are encoded. */
export interface TypeProto {
  tensorType?: TensorTypeProto
  sequenceType?: Uint8Array
  mapType?: Uint8Array
  denotation?: string
  opaqueType?: Uint8Array
  sparseTensorType?: Uint8Array
  optionalType?: Uint8Array
}
export const typeProto: Message<TypeProto> = {
  name: 'TypeProto',
  fields: {
    tensorType: message(1, () => tensorTypeProto),
    sequenceType: bytes(4),
    mapType: bytes(5),
    denotation: text(6),
    opaqueType: bytes(7),
    sparseTensorType: bytes(8),
    optionalType: bytes(9),
  },
}

export interface ValueInfoProto {
  name?: string
  type?: TypeProto
}
export const valueInfoProto: Message<ValueInfoProto> = {
  name: 'ValueInfoProto',
  fields: { name: text(1), type: message(2, () => typeProto) },
}

export interface AttributeProto {
  name?: string
  f?: number
  i?: Integer
  s?: Uint8Array
  t?: TensorProto
  g?: GraphProto
  floats: readonly number[]
  ints: readonly Integer[]
  strings: readonly Uint8Array[]
  tensors: readonly TensorProto[]
  graphs: readonly GraphProto[]
  typeProto?: Uint8Array
  typeProtos: readonly Uint8Array[]
  type?: Integer
  reference?: string
  sparseTensor?: Uint8Array
  sparseTensors: readonly Uint8Array[]
}
export const attributeProto: Message<AttributeProto> = {
  name: 'AttributeProto',
  fields: {
    name: text(1),
    f: float(2),
    i: int(3),
    s: bytes(4),
    t: message(5, () => tensorProto),
    g: message(6, () => graphProto),
    floats: floats(7),
    ints: ints(8),
    strings: manyBytes(9),
    tensors: messages(10, () => tensorProto),
    graphs: messages(11, () => graphProto),
    typeProto: bytes(14),
    typeProtos: manyBytes(15),
    type: int(20),
    reference: text(21),
    sparseTensor: bytes(22),
    sparseTensors: manyBytes(23),
  },
}

export interface NodeProto {
  input: readonly string[]
  output: readonly string[]
  name?: string
  operator?: string
  attribute: readonly AttributeProto[]
  doc?: string
  domain?: string
  overload?: string
  metadata: readonly EntryProto[]
}
export const nodeProto: Message<NodeProto> = {
  name: 'NodeProto',
  fields: {
    input: texts(1),
    output: texts(2),
    name: text(3),
    operator: text(4),
    attribute: messages(5, () => attributeProto),
    doc: text(6),
    domain: text(7),
    overload: text(8),
    metadata: messages(9, () => entryProto),
  },
}

/** Which tensors hold the scale and zero point of a value. */
export interface AnnotationProto {
  tensorName?: string
  parameters: readonly EntryProto[]
}
export const annotationProto: Message<AnnotationProto> = {
  name: 'TensorAnnotation',
  fields: { tensorName: text(1), parameters: messages(2, () => entryProto) },
}

export interface GraphProto {
  node: readonly NodeProto[]
  name?: string
  initializer: readonly TensorProto[]
  doc?: string
  input: readonly ValueInfoProto[]
  output: readonly ValueInfoProto[]
  valueInfo: readonly ValueInfoProto[]
  annotation: readonly AnnotationProto[]
  sparseInitializer: readonly SparseTensorProto[]
  metadata: readonly EntryProto[]
}
export const graphProto: Message<GraphProto> = {
  name: 'GraphProto',
  fields: {
    node: messages(1, () => nodeProto),
    name: text(2),
    initializer: messages(5, () => tensorProto),
    doc: text(10),
    input: messages(11, () => valueInfoProto),
    output: messages(12, () => valueInfoProto),
    valueInfo: messages(13, () => valueInfoProto),
    annotation: messages(14, () => annotationProto),
    sparseInitializer: messages(15, () => sparseTensorProto),
    metadata: messages(16, () => entryProto),
  },
}

export interface FunctionProto {
  name?: string
  input: readonly string[]
  output: readonly string[]
  attribute: readonly string[]
  node: readonly NodeProto[]
  doc?: string
  operatorSet: readonly OperatorSetProto[]
  domain?: string
  attributeDefault: readonly AttributeProto[]
  valueInfo: readonly ValueInfoProto[]
  overload?: string
  metadata: readonly EntryProto[]
}
export const functionProto: Message<FunctionProto> = {
  name: 'FunctionProto',
  fields: {
    name: text(1),
    input: texts(4),
    output: texts(5),
    attribute: texts(6),
    node: messages(7, () => nodeProto),
    doc: text(8),
    operatorSet: messages(9, () => operatorSetProto),
    domain: text(10),
    attributeDefault: messages(11, () => attributeProto),
    valueInfo: messages(12, () => valueInfoProto),
    overload: text(13),
    metadata: messages(14, () => entryProto),
  },
}

export interface ModelProto {
  irVersion?: Integer
  producerName?: string
  producerVersion?: string
  domain?: string
  modelVersion?: Integer
  doc?: string
  graph?: GraphProto
  operatorSet: readonly OperatorSetProto[]
  metadata: readonly EntryProto[]
  functions: readonly FunctionProto[]
}
export const modelProto: Message<ModelProto> = {
  name: 'ModelProto',
  fields: {
    irVersion: int(1),
    producerName: text(2),
    producerVersion: text(3),
    domain: text(4),
    modelVersion: int(5),
    doc: text(6),
    graph: message(7, () => graphProto),
    operatorSet: messages(8, () => operatorSetProto),
    metadata: messages(14, () => entryProto),
    functions: messages(25, () => functionProto),
  },
}

/** A tensor without anything. */
export const emptyTensor: TensorProto = {
  dims: [],
  floatData: [],
  int32Data: [],
  stringData: [],
  int64Data: [],
  doubleData: [],
  uint64Data: [],
  externalData: [],
}

/** TensorProto.DataType by dtype. */
export const dataTypes: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  complex64: 14,
  complex128: 15,
  bfloat16: 16,
  float8e4m3fn: 17,
  float8e4m3fnuz: 18,
  float8e5m2: 19,
  float8e5m2fnuz: 20,
  uint4: 21,
  int4: 22,
  float4e2m1: 23,
  float8e8m0: 24,
  uint2: 25,
  int2: 26,
}

const dtypeByNumber = new Map((Object.keys(dataTypes) as DType[]).map((dtype) => [dataTypes[dtype], dtype]))

/** The dtype of a TensorProto.DataType; undefined when there is none. */
export function dtypeOf(dataType: Integer | undefined): DType | undefined {
  return dtypeByNumber.get(Number(dataType ?? 0))
}

/** AttributeProto.AttributeType. */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparseTensor: 11,
  sparseTensors: 12,
  typeProto: 13,
  typeProtos: 14,
} as const
