import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ByteSink, type ByteSource, MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { ArrayTensor, Graph, LazyTensor, printGraph, StoredTensor, type Tensor } from '../../src/ir/index.js'
import { allocate, type DType, dtypes, ndarray } from '../../src/numbers/dtype.js'
import { decodeBytes } from '../../src/onnx/decode.js'
import { encodeOnnx, onnxBytes, readOnnx, splitOnnx, writeOnnx } from '../../src/onnx/index.js'
import { modelProto } from '../../src/onnx/schema.js'

function graphOf(tensors: Tensor[]): Graph {
  const graph = new Graph('main')
  graph.opsets.set('', 21)
  const constants = tensors.map((tensor, i) => graph.addConstant(`c${i}`, tensor))
  graph.outputs.push(graph.add('Sum', constants, { outputs: ['y'] }).output)
  return graph
}

const floats = (count: number, seed = 0) =>
  ArrayTensor.of(
    ndarray(
      'float32',
      [count],
      Array.from({ length: count }, (_, i) => i + seed),
    ),
  )
const imports = (bytes: Uint8Array) => decodeBytes(modelProto, bytes)

describe('a file', () => {
  test('holds tensors of every dtype', async () => {
    for (const dtype of Object.keys(dtypes) as DType[]) {
      const count = 5
      const data = dtype === 'string' ? ['a', '', 'ž', 'b', 'c'] : allocate(dtype, count)
      if (!Array.isArray(data)) for (let i = 0; i < data.length; i++) data[i] = dtype.includes('int64') ? 1n : 1
      const bytes = await encodeOnnx(graphOf([new ArrayTensor(dtype, [count], data)]))
      const { graph } = await readOnnx(new MemorySource(bytes))
      const tensor = graph.value('c0')!.tensor!
      expect([tensor.dtype, tensor.shape]).toEqual([dtype, [count]])
      expect(await tensor.read(), dtype).toEqual(data)
    }
  })

  test('is the same for the same graph, byte for byte', async () => {
    const graph = graphOf([floats(3), floats(200)])
    const bytes = await encodeOnnx(graph)
    expect(await encodeOnnx(graph.clone())).toEqual(bytes)
    const again = await readOnnx(new MemorySource(bytes))
    expect(await encodeOnnx(again)).toEqual(bytes)
    expect(printGraph(again.graph)).toBe(printGraph(graph))
  })

  test('says IR version 10 unless dtypes or opset need more', async () => {
    const version = async (dtype: DType, opset: number) => {
      const graph = graphOf([new ArrayTensor(dtype, [1], allocate(dtype, 1))])
      return Number(imports(await encodeOnnx(graph, { opset })).irVersion)
    }
    expect(
      await Promise.all([
        version('float32', 17),
        version('int4', 21),
        version('float4e2m1', 21),
        version('float8e8m0', 21),
        version('uint2', 21),
      ]),
    ).toEqual([10, 10, 11, 12, 13])
    expect(await Promise.all([22, 23, 24, 25, 27, 28].map((opset) => version('float32', opset)))).toEqual([10, 11, 12, 13, 13, 14])
  })

  test('imports the domains that its nodes are from', async () => {
    const graph = graphOf([floats(1)])
    graph.outputs[0] = graph.add('FusedMatMul', [graph.outputs[0], graph.outputs[0]], { domain: 'com.microsoft' }).output
    const { operatorSet } = imports(await encodeOnnx(graph))
    expect(operatorSet).toEqual([
      { domain: '', version: 21 },
      { domain: 'com.microsoft', version: 1 },
    ])
  })
})

describe('external data', () => {
  async function write(graph: Graph, options: { chunkBytes?: number; threshold?: number } = {}) {
    const folder = new MemoryFolder()
    await writeOnnx(graph, await folder.create('model.onnx'), {
      externalData: { file: (name) => folder.create(name), basename: 'model.onnx_data', when: 'always', ...options },
    })
    const read = async () => (await readOnnx(await folder.open('model.onnx'), { external: (path) => folder.open(path) })).graph
    return { folder, read }
  }

  test('comes back, in one file or many, aligned and below the limit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 4000, max: 30_000 }),
        async (sizes, chunkBytes) => {
          const graph = graphOf(sizes.map(floats))
          const { folder, read } = await write(graph, { chunkBytes })
          for (const [name, constant] of (await read()).constants)
            expect(await constant.tensor!.read()).toEqual(graph.value(name)!.tensor!.elements)
          const places = imports(folder.files.get('model.onnx')!).graph!.initializer.filter(({ dataLocation }) => dataLocation)
          for (const { externalData } of places)
            expect(Number(new Map(externalData.map(({ key, value }) => [key, value])).get('offset')) % 64).toBe(0)
          const files = (await folder.list()).filter((name) => name !== 'model.onnx')
          files.forEach((name, i) => {
            expect(files).toContain(i ? `model.onnx_data_${i}` : 'model.onnx_data')
            expect(folder.files.get(name)!.length).toBeLessThanOrEqual(Math.max(chunkBytes, 12_000))
          })
        },
      ),
      { numRuns: 50 },
    )
  })

  test('leaves small tensors in the model and writes a shared one once', async () => {
    const shared = floats(1000)
    const { folder, read } = await write(graphOf([shared, shared, floats(10)]))
    expect(folder.files.get('model.onnx_data')!.length).toBe(4000)
    const graph = await read()
    for (const name of ['c0', 'c1']) expect(await graph.value(name)!.tensor!.read()).toEqual(shared.elements)
  })

  test('begins large tensors on pages', async () => {
    const { folder, read } = await write(graphOf([floats(1000), floats(300_000)]))
    expect(folder.files.get('model.onnx_data')!.length).toBe(4096 + 1_200_000)
    expect(((await read()).value('c1')!.tensor as StoredTensor).offset).toBe(4096)
  })
})

describe('a graph in memory', () => {
  test('has its large constants apart, each read once and named as the file says', async () => {
    const reads: string[] = []
    const counted = (name: string, count: number) =>
      new LazyTensor('int8', [count], async () => {
        reads.push(name)
        return new Int8Array(count).fill(name.length)
      })
    const [small, large, shared] = [counted('a', 100), counted('bb', 5000), counted('ccc', 6000)]
    const graph = graphOf([small, large, shared, shared])
    const { bytes, constants } = await splitOnnx(graph)
    expect(reads.sort()).toEqual(['a', 'bb', 'ccc'])
    expect(constants.map(({ name, bytes: contents }) => [name, contents.length, contents[0]])).toEqual([
      ['c1', 5000, 2],
      ['c2', 6000, 3],
      ['c3', 6000, 3],
    ])
    const files = new Map(constants.map(({ location, bytes: contents }) => [location, contents]))
    expect(files.size).toBe(2)
    const open = async (path: string) => new MemorySource(files.get(path)!)
    const again = (await readOnnx(new MemorySource(bytes), { external: open })).graph
    for (const [name, { tensor }] of graph.constants) expect(await again.value(name)!.tensor!.read()).toEqual(await tensor!.read())
  })

  test('keeps in the graph what inner graphs share with it', async () => {
    const shared = floats(1000)
    const graph = graphOf([shared, floats(2000, 1)])
    const inner = graphOf([shared])
    graph.add('If', [graph.addConstant('flag', ArrayTensor.of(ndarray('bool', [], [1])))], {
      outputs: ['z'],
      attributes: { then_branch: { kind: 'graph', value: inner } },
    })
    expect((await splitOnnx(graph)).constants.map(({ name }) => name)).toEqual(['c1'])
  })

  test('tells its size as a file without reading anything', async () => {
    const unread = new LazyTensor('float32', [5000], () => Promise.reject(new Error('read')))
    const graph = graphOf([unread, floats(10)])
    const written = graphOf([floats(5000), floats(10)])
    expect(await onnxBytes(graph)).toBe((await encodeOnnx(written)).length)
    const folder = new MemoryFolder()
    const externalData = { file: (name: string) => folder.create(name), basename: 'd', when: 'always', chunkBytes: 10_000 } as const
    await writeOnnx(written, await folder.create('m'), { externalData })
    const total = [...folder.files.values()].reduce((sum, { length }) => sum + length, 0)
    expect(await onnxBytes(graph, { externalData })).toBe(total)
  })
})

describe('more than 1.9 GB', () => {
  /** Bytes that nobody has. */
  const zeros: ByteSource = { name: 'zeros', size: 2 ** 40, read: async (_, length) => new Uint8Array(length) }
  const graph = graphOf([new StoredTensor('uint8', [1.2e9], zeros, 0), new StoredTensor('uint8', [1e9], zeros, 2 ** 35), floats(4)])
  const counting = () => {
    const sink = { bytes: 0, largest: 0, closed: false }
    const write = async (bytes: Uint8Array) => {
      sink.bytes += bytes.length
      sink.largest = Math.max(sink.largest, bytes.length)
    }
    return Object.assign(sink, { write, close: async () => void Object.assign(sink, { closed: true }) }) satisfies ByteSink
  }

  test('goes to files of its own, piece by piece', async () => {
    const files = new Map<string, ReturnType<typeof counting>>()
    const sink = counting()
    const file = async (name: string) => {
      files.set(name, counting())
      return files.get(name)!
    }
    await writeOnnx(graph, sink, { externalData: { file, basename: 'm.onnx_data' } })
    expect([...files].map(([name, { bytes, closed }]) => [name, bytes, closed])).toEqual([
      ['m.onnx_data', 1.2e9, true],
      ['m.onnx_data_1', 1e9, true],
    ])
    expect(Math.max(...[...files.values()].map(({ largest }) => largest))).toBeLessThanOrEqual(2 ** 24)
    expect(sink.bytes).toBeLessThan(1000)
  })

  test('is refused without', async () => {
    const sink = counting()
    await expect(writeOnnx(graph, sink)).rejects.toThrow('a file without external data may take 1900000000')
    expect(sink.bytes).toBe(0)
  })

  test('a computed tensor that gives other bytes than it says is an error', async () => {
    class Liar extends LazyTensor {
      override bytes = async () => new Uint8Array(3)
    }
    await expect(encodeOnnx(graphOf([new Liar('uint8', [4], async () => new Uint8Array(4))]))).rejects.toThrow('a tensor of 4 bytes gave 3')
  })
})
