import type { DType } from '../../src/numbers/dtype.js'

/** TensorProto.DataType */
const dataTypes: Partial<Record<DType, number>> = {
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
  bfloat16: 16,
  float8e4m3fn: 17,
  uint4: 21,
  int4: 22,
}

type Dims = readonly (number | string)[]

export interface TinyTensor {
  name: string
  dtype: DType
  dims: readonly number[]
  raw?: Uint8Array
  external?: { location: string; offset: number; length: number }
}

export interface TinyNode {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  name?: string
  domain?: string
  ints?: Readonly<Record<string, number>>
}

export interface TinyGraph {
  inputs: Readonly<Record<string, readonly [DType, Dims]>>
  outputs: Readonly<Record<string, readonly [DType, Dims]>>
  nodes: readonly TinyNode[]
  constants?: readonly TinyTensor[]
  opset?: number
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return [...bytes, value]
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

function bytes(field: number, value: Uint8Array | string): Uint8Array {
  const content = typeof value === 'string' ? new TextEncoder().encode(value) : value
  return join([Uint8Array.from([...varint(field * 8 + 2), ...varint(content.length)]), content])
}

function int(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field * 8), ...varint(value)])
}

function valueInfo(name: string, [dtype, dims]: readonly [DType, Dims]): Uint8Array {
  const shape = join(dims.map((dim) => bytes(1, typeof dim === 'number' ? int(1, dim) : bytes(2, dim))))
  const tensor = join([int(1, dataTypes[dtype]!), bytes(2, shape)])
  return join([bytes(1, name), bytes(2, bytes(1, tensor))])
}

function tensorProto({ name, dtype, dims, raw, external }: TinyTensor): Uint8Array {
  const parts = [...dims.map((dim) => int(1, dim)), int(2, dataTypes[dtype]!), bytes(8, name)]
  if (raw) parts.push(bytes(9, raw))
  if (external) {
    for (const [key, value] of Object.entries(external)) parts.push(bytes(13, join([bytes(1, key), bytes(2, String(value))])))
    parts.push(int(14, 1))
  }
  return join(parts)
}

function nodeProto({ op, inputs, outputs, name, domain, ints }: TinyNode): Uint8Array {
  return join([
    ...inputs.map((input) => bytes(1, input)),
    ...outputs.map((output) => bytes(2, output)),
    bytes(3, name ?? outputs[0]),
    bytes(4, op),
    ...Object.entries(ints ?? {}).map(([key, value]) => bytes(5, join([bytes(1, key), int(3, value), int(20, 2)]))),
    ...(domain ? [bytes(7, domain)] : []),
  ])
}

/** A small ONNX file: just what the tests of engines need, independent of the code under test. */
export function tinyOnnx({ inputs, outputs, nodes, constants = [], opset = 21 }: TinyGraph): Uint8Array {
  const graph = join([
    ...nodes.map((node) => bytes(1, nodeProto(node))),
    bytes(2, 'tiny'),
    ...constants.map((constant) => bytes(5, tensorProto(constant))),
    ...Object.entries(inputs).map(([name, type]) => bytes(11, valueInfo(name, type))),
    ...Object.entries(outputs).map(([name, type]) => bytes(12, valueInfo(name, type))),
  ])
  const opsets = [bytes(8, int(2, opset)), bytes(8, join([bytes(1, 'com.microsoft'), int(2, 1)]))]
  return join([int(1, 10), bytes(7, graph), ...opsets])
}

/** `count` products of [size, size] in a row, scaled so that numbers neither grow nor vanish: a long run of small steps. */
export function matMulChain(count: number, size: number): Uint8Array {
  const weight = new Float32Array(size * size)
  for (let i = 0; i < size; i++) weight[i * size + ((i + 1) % size)] = 1
  const raw = new Uint8Array(weight.buffer)
  const nodes = Array.from({ length: count }, (_, i): TinyNode => {
    return { op: 'MatMul', inputs: [i ? `h${i}` : 'x', 'w'], outputs: [i + 1 === count ? 'y' : `h${i + 1}`] }
  })
  return tinyOnnx({
    inputs: { x: ['float32', ['n', size]] },
    outputs: { y: ['float32', ['n', size]] },
    nodes,
    constants: [{ name: 'w', dtype: 'float32', dims: [size, size], raw }],
  })
}
