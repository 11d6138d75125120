import fs from 'node:fs'
import path from 'node:path'
import ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { Random } from '../../src/base/random.js'
import { type Graph, type Model, printGraph, type Tensor, verify } from '../../src/ir/index.js'
import { encodeOnnx, readOnnx } from '../../src/onnx/index.js'
import { unpackArchive } from '../../src/ops/conformance-archive.js'
import { sharedPath } from '../support/shared.js'

const exported = sharedPath('golden', 'exported')
const archive = sharedPath('conformance', 'onnx-node-tests.tar.gz')

function* tensorsOf(graph: Graph): Generator<[string, Tensor]> {
  for (const [name, value] of graph.constants) yield [name, value.tensor!]
  for (const node of graph.nodes()) {
    for (const [name, attribute] of Object.entries(node.attributes))
      if (attribute.kind === 'tensor') yield [`${node.name}.${name}`, attribute.value]
    for (const subgraph of node.subgraphs) yield* tensorsOf(subgraph)
  }
}

function withoutProducer(model: Model): Map<string, string> {
  return new Map([...model.notes].filter(([key]) => !key.includes('producer')))
}

async function expectSame(model: Model, again: Model): Promise<void> {
  expect(printGraph(again.graph)).toBe(printGraph(model.graph))
  expect(again.graph.opsets).toEqual(model.graph.opsets)
  expect(withoutProducer(again)).toEqual(withoutProducer(model))
  const tensors = [...tensorsOf(again.graph)]
  for (const [i, [name, tensor]] of [...tensorsOf(model.graph)].entries()) {
    const [otherName, other] = tensors[i]
    expect(otherName).toBe(name)
    expect(other.dtype).toBe(tensor.dtype)
    if (tensor.dtype === 'string') expect(await other.read()).toEqual(await tensor.read())
    else expect(Buffer.compare(await other.bytes(), await tensor.bytes()), name).toBe(0)
  }
}

async function roundTrip(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const model = await readOnnx(new MemorySource(bytes, name))
  verify(model.graph)
  const written = await encodeOnnx(model)
  const again = await readOnnx(new MemorySource(written, name))
  verify(again.graph)
  await expectSame(model, again)
  expect(Buffer.compare(await encodeOnnx(again), written)).toBe(0)
  return written
}

function randomFeeds(session: ort.InferenceSession): Record<string, ort.Tensor> {
  const random = new Random(3)
  const sizes = new Map<string, number>()
  const feeds = session.inputMetadata.map((input) => {
    if (!input.isTensor) throw new Error('only tensors are fed')
    const shape = input.shape.map((dim) => {
      if (typeof dim === 'number') return dim
      if (!sizes.has(dim)) sizes.set(dim, 2 + (sizes.size % 2))
      return sizes.get(dim)!
    })
    const count = shape.reduce((a, b) => a * b, 1)
    const data =
      input.type === 'int64'
        ? BigInt64Array.from({ length: count }, () => BigInt(input.name.includes('mask') ? 1 : random.integer(2)))
        : random.normals(count)
    return [input.name, new ort.Tensor(input.type, data as Float32Array, shape)] as const
  })
  return Object.fromEntries(feeds)
}

describe.skipIf(!exported)('exported models', () => {
  for (const file of exported ? fs.readdirSync(exported).filter((name) => name.endsWith('.onnx')) : [])
    test(file, async () => {
      const original = fs.readFileSync(path.join(exported!, file))
      const written = await roundTrip(original, file)
      const before = await ort.InferenceSession.create(original)
      const after = await ort.InferenceSession.create(written)
      const feeds = randomFeeds(before)
      const [expected, got] = [await before.run(feeds), await after.run(feeds)]
      for (const name of before.outputNames)
        expect(Buffer.compare(Buffer.from(bytesOf(got[name])), Buffer.from(bytesOf(expected[name]))), name).toBe(0)
    })
})

function bytesOf(tensor: ort.Tensor): Uint8Array {
  const data = tensor.data as Float32Array
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

describe.skipIf(!archive)('conformance models', () => {
  test('mean the same after reading and writing', async () => {
    const folder = await unpackArchive(new MemorySource(fs.readFileSync(archive!), archive!))
    let count = 0
    let accepted = 0
    for (const [name, bytes] of folder.files) {
      if (!name.endsWith('model.onnx')) continue
      const written = await roundTrip(bytes, name)
      count++
      if (!(await loads(bytes))) continue
      accepted++
      expect(await loads(written), `${name} loads after writing`).toBe(true)
    }
    expect(count).toBeGreaterThan(1500)
    expect(accepted).toBeGreaterThan(1000)
  })
})

async function loads(bytes: Uint8Array): Promise<boolean> {
  try {
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 4 })
    await session.release()
    return true
  } catch {
    return false
  }
}
