import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { printGraph, StoredTensor, verify } from '../../src/ir/index.js'
import { dtypes } from '../../src/numbers/dtype.js'
import { encodeOnnx, inlineFunctions, readOnnx } from '../../src/onnx/index.js'
import { type EntryProto, emptyTensor, type FunctionProto, type GraphProto, type ModelProto } from '../../src/onnx/schema.js'
import { floatsOf, graphOf, infoOf, modelOf, noAttribute, nodeOf } from './protos.js'

const read = (graph: Partial<GraphProto>, more: Partial<ModelProto> = {}) =>
  readOnnx(new MemorySource(modelOf(graph, more), 'folder/tiny.onnx'))
const [x, y] = [infoOf('x', ['n', 2]), infoOf('y')]

describe('a graph', () => {
  test('with inputs, constants, nodes, types and notes', async () => {
    const node = nodeOf('Add', ['x', 'c', ''], ['y', ''], { name: 'add', doc: 'a sum', metadata: [{ key: 'pass', value: 'none' }] })
    const model = await read(
      { node: [node], input: [x], output: [y], initializer: [floatsOf('c', [1, 2])], metadata: [{ key: 'k', value: 'v' }] },
      { producerName: 'test' },
    )
    expect([...model.graphs.keys()]).toEqual(['tiny'])
    verify(model.graph)
    expect(printGraph(model.graph).split('\n')).toEqual([
      'main(x: float32[n, 2]) {',
      '  const c: float32[2] = <data>',
      expect.stringContaining('  y: float32, _ = Add(x, c, _)'),
      '  return y',
      '}',
    ])
    expect(model.graph.value('c')!.tensor!.elements).toEqual(Float32Array.of(1, 2))
    expect(model.graph.notes.get('k')).toBe('v')
    expect(model.graph.first!.notes.get('pass')).toBe('none')
    expect(model.graph.opsets).toEqual(new Map([['', 21]]))
  })

  test('weights stay in the file, small ones are at hand', async () => {
    const { graph } = await read({ initializer: [floatsOf('large', new Array(300).fill(1)), floatsOf('small', [1])] })
    expect(graph.value('large')!.tensor).toBeInstanceOf(StoredTensor)
    expect(graph.value('small')!.tensor!.elements).toEqual(Float32Array.of(1))
  })

  test('nodes in any order are sorted by their names', async () => {
    const chain = Array.from({ length: 20 }, (_, i) => nodeOf('Relu', [i ? `v${i}` : 'x'], [`v${i + 1}`]))
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(chain, { minLength: 20 }), async (node) => {
        const { graph } = await read({ node, input: [x], output: [infoOf('v20')] })
        verify(graph)
        expect([...graph.nodes()].map(({ output }) => output.name)).toEqual(chain.map(({ output }) => output[0]))
      }),
    )
  })

  test('inputs with an initializer are constants', async () => {
    const { graph } = await read(
      { input: [x, infoOf('c', [1])], initializer: [floatsOf('c', [1])], node: [nodeOf('Add', ['x', 'c'], ['y'])], output: [y] },
      { irVersion: 3 },
    )
    expect(graph.inputs.map(({ name }) => name)).toEqual(['x'])
  })

  test('dimensions without a name get different ones', async () => {
    const { graph } = await read({ input: [infoOf('a', ['', '', 'n']), infoOf('b', ['', -1])] })
    const dims = graph.inputs.flatMap(({ shape }) => shape!)
    expect(dims).toEqual(['a_dim_0', 'a_dim_1', 'n', 'b_dim_0', 'b_dim_1'])
  })

  test('branches see the graph around them', async () => {
    const branch = (name: string) => graphOf({ name, node: [nodeOf('Neg', ['later'], [`${name}_y`])], output: [infoOf(`${name}_y`)] })
    const attribute = ['then_branch', 'else_branch'].map((name) => ({ ...noAttribute, name, type: 5, g: branch(name) }))
    const nodes = [nodeOf('If', ['c'], ['y'], { attribute }), nodeOf('Relu', ['x'], ['later'])]
    const model = await read({ node: nodes, input: [x, infoOf('c', [], 9)], output: [y] })
    verify(model.graph)
    expect([...model.graph.nodes()].map(({ operator }) => operator)).toEqual(['Relu', 'If'])
    expect([...model.graph.value('later')!.uses].length).toBe(2)
    const again = await readOnnx(new MemorySource(await encodeOnnx(model)))
    expect(printGraph(again.graph)).toBe(printGraph(model.graph))
  })

  test('a branch that returns an outer value gets an Identity', async () => {
    const attribute = ['then_branch', 'else_branch'].map((name) => ({
      ...noAttribute,
      name,
      type: 5,
      g: graphOf({ output: [infoOf('x')] }),
    }))
    const { graph } = await read({ node: [nodeOf('If', ['c'], ['y'], { attribute })], input: [x, infoOf('c', [], 9)], output: [y] })
    verify(graph)
    expect(graph.first!.subgraphs.map(({ first }) => first!.operator)).toEqual(['Identity', 'Identity'])
  })

  test('sequence types are kept', async () => {
    const sequence = { name: 's', type: { sequenceType: Uint8Array.of(0x0a, 4, 0x0a, 2, 8, 1) } }
    const model = await read({
      input: [sequence],
      node: [nodeOf('SequenceLength', ['s'], ['y'])],
      output: [y],
      annotation: [{ tensorName: 'y', parameters: [{ key: 'SCALE_TENSOR', value: 's' }] }],
    })
    expect(model.graph.inputs[0].dtype).toBeNull()
    const bytes = await encodeOnnx(model)
    expect(Buffer.from(bytes).includes(Buffer.from(sequence.type.sequenceType))).toBe(true)
    expect(Buffer.from(bytes).includes('SCALE_TENSOR')).toBe(true)
    expect((await readOnnx(new MemorySource(bytes))).graph.notes).toEqual(model.graph.notes)
  })

  test('attributes of every kind come back', async () => {
    const bytes = Uint8Array.of(0xff, 0xfe)
    const attribute = [
      { ...noAttribute, name: 'a', type: 1, f: 0.5 },
      { ...noAttribute, name: 'b', type: 2, i: 2n ** 60n + 1n },
      { ...noAttribute, name: 'c', type: 3, s: new TextEncoder().encode('é') },
      { ...noAttribute, name: 'd', type: 3, s: bytes },
      { ...noAttribute, name: 'e', type: 6, floats: [1, 2] },
      { ...noAttribute, name: 'f', type: 7, ints: [1, -2] },
      { ...noAttribute, name: 'g', type: 8, strings: [new TextEncoder().encode('a')] },
      { ...noAttribute, name: 'h', type: 4, t: floatsOf('', [3]) },
      { ...noAttribute, name: 'i', type: 13, typeProto: Uint8Array.of(0x0a, 2, 8, 1) },
      { ...noAttribute, name: 'j', i: 0 },
      { ...noAttribute, name: '__proto__', type: 2, i: 4 },
      { ...noAttribute, name: 'k', type: 7 },
    ]
    const model = await read({ input: [x], node: [nodeOf('Custom', ['x'], ['y'], { domain: 'my', attribute })], output: [y] })
    const node = model.graph.first!
    expect([node.float('a'), node.attributes['b'].value, node.string('c'), node.attributes['d'].kind]).toEqual([
      0.5,
      2n ** 60n + 1n,
      'é',
      'opaque',
    ])
    expect([node.floats('e'), node.ints('f'), node.strings('g'), node.tensor('h')!.elements, node.ints('k')]).toEqual([
      [1, 2],
      [1, -2],
      ['a'],
      Float32Array.of(3),
      [],
    ])
    expect([node.attributes['i'].kind, node.attributes['j'], Object.keys(node.attributes).length]).toEqual([
      'opaque',
      { kind: 'int', value: 0 },
      12,
    ])
    const again = (await readOnnx(new MemorySource(await encodeOnnx(model)))).graph.first!
    expect(Object.fromEntries(Object.entries(again.attributes).sort())).toEqual(Object.fromEntries(Object.entries(node.attributes).sort()))
  })
})

describe('graphs that contradict themselves', () => {
  const relu = (from: string, to: string) => nodeOf('Relu', [from], [to], { name: `${from}_${to}` })
  const cases: [string, Partial<GraphProto>, string][] = [
    ['a cycle', { node: [relu('a', 'b'), relu('b', 'a')] }, 'the graph has a cycle through Relu a_b'],
    ['a dangling input', { node: [relu('nowhere', 'b')] }, 'Relu nowhere_b uses nowhere, which nothing computes'],
    ['a dangling output', { output: [infoOf('nowhere')] }, 'nothing computes the output nowhere'],
    ['a value computed twice', { node: [relu('x', 'y'), relu('x', 'y')] }, 'two nodes compute y'],
    ['a value that is an input too', { node: [relu('x', 'x')] }, /cycle|the name x is used twice/.source],
    ['two constants of one name', { initializer: [floatsOf('c', [1]), floatsOf('c', [1])] }, 'the name c is used twice'],
    ['two inputs of one name', { input: [x, x] }, 'the name x is used twice'],
    ['a constant without a name', { initializer: [floatsOf('', [1])] }, 'an input or constant has no name'],
    ['a node without an operator', { node: [nodeOf('', ['x'], ['y'])] }, 'has no operator'],
    [
      'an attribute twice',
      { node: [nodeOf('R', ['x'], ['y'], { attribute: [1, 2].map((i) => ({ ...noAttribute, name: 'a', i })) })] },
      'without a name or twice',
    ],
    [
      'an attribute without a tensor',
      { node: [nodeOf('R', ['x'], ['y'], { attribute: [{ ...noAttribute, name: 'a', type: 4 }] })] },
      'has no value',
    ],
    [
      'a tensor that is too short',
      { initializer: [{ ...floatsOf('c', [1]), dims: [2] }] },
      'there are 4 bytes and dtype float32 with shape [2] needs 8',
    ],
  ]
  test.each(cases)('%s', async (_, graph, message) => {
    await expect(read({ input: [x], ...graph })).rejects.toMatchObject({
      code: 'bad-input',
      sentence: expect.stringMatching(escaped(message)),
    })
  })

  const escaped = (text: string) => (text.includes('|') ? new RegExp(text) : new RegExp(text.replace(/[[\]().*+?]/g, '\\$&')))

  test('a cycle through a branch', async () => {
    const branch = graphOf({ node: [nodeOf('Neg', ['y2'], ['z'])], output: [infoOf('z')] })
    const attribute = [{ ...noAttribute, name: 'then_branch', type: 5, g: branch }]
    await expect(read({ input: [x], node: [nodeOf('If', ['x'], ['y'], { attribute }), relu('y', 'y2')] })).rejects.toThrow('cycle')
  })

  test('versions that are not known', async () => {
    await expect(read({}, { irVersion: 2 })).rejects.toThrow('IR version 2 is not one of 3 to 14')
    await expect(read({}, { irVersion: 15 })).rejects.toThrow('IR version 15')
    await expect(read({}, { operatorSet: [{ version: 29 }] })).rejects.toThrow('opset 29 is not one of 7 to 28')
    await expect(read({ node: [relu('x', 'y')], input: [x] }, { operatorSet: [{ version: 5 }] })).rejects.toThrow('opset 5')
    const early = await read({ node: [nodeOf('Not', ['x'], ['y'])], input: [x] }, { operatorSet: [{ domain: 'ai.onnx', version: 1 }] })
    expect(early.graph.opsets).toEqual(new Map([['', 7]]))
  })
})

describe('external data', () => {
  const externalOf = (entries: Record<string, string>, dims = [300]) =>
    modelOf({
      initializer: [
        {
          ...emptyTensor,
          name: 'w',
          dims,
          dataType: 1,
          dataLocation: 1,
          externalData: Object.entries(entries).map(([key, value]): EntryProto => ({ key, value })),
        },
      ],
    })
  const values = Float32Array.from({ length: 400 }, (_, i) => i)
  const folder = new MemoryFolder(new Map([['data/w.bin', new Uint8Array(values.buffer)]]), 'folder')
  const readIt = (bytes: Uint8Array) => readOnnx(new MemorySource(bytes, 'm.onnx'), { external: (path) => folder.open(path) })

  test('is read where it lies', async () => {
    const { graph } = await readIt(externalOf({ location: 'data/w.bin', offset: '64', length: '1200' }))
    expect(await graph.value('w')!.tensor!.read()).toEqual(values.subarray(16, 316))
    const small = await readIt(externalOf({ location: 'data/w.bin', offset: '8' }, [2]))
    expect(small.graph.value('w')!.tensor!.elements).toEqual(Float32Array.of(2, 3))
  })

  test.each(['', '/etc/passwd', '../w.bin', 'data/../../w.bin', '..\\w.bin', 'C:\\w.bin', '\\w.bin', 'a\0b'])(
    'may not lie at %j',
    async (location) => {
      await expect(readIt(externalOf({ location }))).rejects.toThrow('is no path inside the model')
    },
  )

  test.each([
    [{ offset: '500' }, 'bytes 500 to 1700 of data/w.bin are meant but the file has 1600'],
    [{ length: '1199' }, 'the external data have 1199 bytes and dtype and shape need 1200'],
    [{ offset: '-4' }, 'offset is "-4"'],
    [{ offset: '9999999999999999' }, 'offset is'],
    [{ offset: '1e3' }, 'offset is "1e3"'],
  ])('must lie within its file: %j', async (entries, message) => {
    await expect(readIt(externalOf({ location: 'data/w.bin', ...entries }))).rejects.toThrow(message)
  })

  test('that is missing is named', async () => {
    await expect(readIt(externalOf({ location: 'data/v.bin' }))).rejects.toThrow('data/v.bin')
    await expect(readOnnx(new MemorySource(externalOf({ location: 'data/v.bin' })))).rejects.toThrow(
      'the bytes lie in data/v.bin, which was not given',
    )
  })
})

describe('functions', () => {
  const scaled: FunctionProto = {
    name: 'Scaled',
    domain: 'my',
    input: ['a', 'b'],
    output: ['r'],
    attribute: ['alpha'],
    attributeDefault: [{ ...noAttribute, name: 'gamma', type: 1, f: 2 }],
    node: [
      nodeOf('Elu', ['a'], ['t'], { attribute: [{ ...noAttribute, name: 'alpha', type: 1, reference: 'alpha' }] }),
      nodeOf('Selu', ['t'], ['u'], { attribute: [{ ...noAttribute, name: 'gamma', type: 1, reference: 'gamma' }] }),
      nodeOf('Clip', ['u', 'b'], ['r']),
    ],
    operatorSet: [{ version: 21 }],
    valueInfo: [],
    metadata: [],
  }
  const calls = [
    nodeOf('Scaled', ['x'], ['t'], { domain: 'my', name: 'one', attribute: [{ ...noAttribute, name: 'alpha', type: 1, f: 3 }] }),
    nodeOf('Scaled', ['t', 'c'], ['y'], { domain: 'my' }),
  ]
  const withFunctions = (functions: FunctionProto[]) =>
    read(
      { input: [x], node: calls, initializer: [floatsOf('c', [1])], output: [y] },
      { functions, operatorSet: [{ version: 21 }, { domain: 'my', version: 1 }] },
    )

  test('come back after writing', async () => {
    const model = await withFunctions([scaled])
    const again = await readOnnx(new MemorySource(await encodeOnnx(model)))
    const [before, after] = [model, again].map(({ functions }) => functions.get('my.Scaled')!)
    expect(printGraph(after.body)).toBe(printGraph(before.body))
    expect([after.attributes, after.defaults]).toEqual([['alpha'], { gamma: { kind: 'float', value: 2 } }])
  })

  test('are put in the place of their calls', async () => {
    const model = await withFunctions([scaled])
    expect(inlineFunctions(model)).toBe(2)
    verify(model.graph)
    expect(printGraph(model.graph).replace(/: \?/g, '').split('\n').slice(1, -1)).toEqual([
      '  t_1 = Elu(x; alpha=3.0)',
      '  u = Selu(t_1; gamma=2.0)',
      '  t = Clip(u, _)',
      '  t_2 = Elu(t)',
      '  u_1 = Selu(t_2; gamma=2.0)',
      '  const c: float32[1] = {1}',
      '  y: float32 = Clip(u_1, c)',
      '  return y',
    ])
  })

  test('that call themselves', async () => {
    const model = await withFunctions([{ ...scaled, node: [nodeOf('Scaled', ['a', 'b'], ['r'], { domain: 'my' })] }])
    expect(() => inlineFunctions(model)).toThrow('a function calls itself')
  })

  test('of another opset', async () => {
    const model = await withFunctions([{ ...scaled, operatorSet: [{ version: 13 }] }])
    expect(() => inlineFunctions(model)).toThrow('the function Scaled is of opset 13 and its caller of 21')
  })
})

test('every dtype has a place in the tables', () => {
  expect(Object.keys(dtypes).length).toBe(26)
})
