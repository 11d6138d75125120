import { describe, expect, test } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import {
  ArrayTensor,
  attribute,
  type Graph,
  LazyTensor,
  Node,
  printGraph,
  StoredTensor,
  transposed,
  Value,
  verify,
} from '../../src/ir/index.js'
import { ndarray } from '../../src/numbers/dtype.js'
import { branching, scalar, tiny } from './graphs.js'

describe('the printer', () => {
  test('shows inputs, constants, nodes, branches and outputs', () => {
    expect(printGraph(branching())).toBe(`tiny(x: float32[n, 2], condition: bool[]) {
  a: ? = Relu(x)
  const c: float32[] = 3
  y: ? = Add(a, c)
  z: ? = If(condition; else_branch=
      else_branch() {
        const inner: float32[] = 1
        difference: ? = Sub(a, inner)
        return difference
      }, then_branch=
      then_branch() {
        const inner: float32[] = 1
        difference: ? = Sub(a, inner)
        return difference
      })
  return y, z
}`)
  })

  test('tells ints from floats, and shows attributes in the order of their names', () => {
    const graph = tiny()
    const { int, ints, float, floats, string, strings, tensor } = attribute
    const attributes = {
      g: tensor(scalar(2)),
      f: strings(['a']),
      e: string('b"'),
      d: floats([1, 0.1]),
      c: float(1),
      b: ints([1, 2]),
      a: int(1),
    }
    graph.add('Custom', [null, graph.inputs[0]], { domain: 'my', attributes, outputs: ['o', ''] })
    expect(printGraph(graph).split('\n').at(-3)).toBe(
      '  o: ?, _ = my.Custom(_, x; a=1, b=[1, 2], c=1.0, d=[1.0, 0.1], e="b\\"", f=["a"], g=float32[]2)',
    )
  })
})

describe('verify', () => {
  test.each<[string, (graph: Graph) => void, string]>([
    [
      'a use before its value',
      (graph) => graph.move(graph.last!, { before: graph.first! }),
      'Add add uses a, which nothing computes before it',
    ],
    ['an input twice', (graph) => void graph.inputs.push(graph.inputs[0]), 'the input x is listed twice'],
    ['an output of another graph', (graph) => void graph.outputs.push(new Value('far')), 'nothing computes the output far'],
    ['a constant without a tensor', (graph) => void Object.assign(graph.value('c')!, { tensor: null }), 'the constant c has no tensor'],
    ['a use that the value does not know', (graph) => graph.value('a')!._uses.clear(), 'a does not know that Add add uses it'],
    [
      'an input of another graph',
      (graph) => graph.last!.setInput(0, tiny().value('a')!),
      'Add add uses a, which nothing computes before it',
    ],
  ])('finds %s', (_, spoil, message) => {
    const graph = tiny()
    verify(graph)
    spoil(graph)
    expect(() => verify(graph)).toThrow(message)
  })

  test('looks into branches', () => {
    const graph = branching()
    graph.value('z')!.producer!.subgraphs[0].outputs.push(new Value('far'))
    expect(() => verify(graph)).toThrow('far')
  })
})

describe('attributes of a node', () => {
  test('are asked for by kind', () => {
    const node = new Node('Op', [], [], { attributes: { i: attribute.int(3), f: attribute.float(0.1) } })
    expect([node.int('i'), node.int('none', 7), node.int('none'), node.float('f')]).toEqual([3, 7, undefined, Math.fround(0.1)])
    expect(() => node.float('i')).toThrow('attribute i of Op is of kind int and must be float')
    node.setAttribute('i', null)
    expect(node.attributes).toEqual({ f: attribute.float(0.1) })
  })
})

describe('tensors', () => {
  test('stored ones are read when asked for, once while held', async () => {
    let reads = 0
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3).buffer)
    const source = new MemorySource(bytes)
    const read = (offset: number, length: number) => {
      reads++
      return source.read(offset, length)
    }
    const counted = { name: 'x', size: bytes.length, read }
    const tensor = new StoredTensor('float32', [2], counted, 4)
    expect([tensor.byteLength, tensor.size, tensor.elements, reads]).toEqual([8, 2, null, 0])
    expect(await tensor.read()).toEqual(Float32Array.of(2, 3))
    expect((await tensor.array()).shape).toEqual([2])
    expect(reads).toBe(1)
    await expect(new StoredTensor('float32', [4], source, 0).read()).rejects.toThrow('the file has 12')
  })

  test('computed ones have the size that they say', async () => {
    await expect(new LazyTensor('float32', [2], async () => new Float32Array(3)).read()).rejects.toThrow('got 3 elements')
    const matrix = ArrayTensor.of(ndarray('int8', [2, 3], [1, 2, 3, 4, 5, 6]))
    expect(await transposed(matrix).read()).toEqual(Int8Array.of(1, 4, 2, 5, 3, 6))
    const [rows, columns] = [19, 5]
    const wide = Int32Array.from({ length: rows * columns }, (_, i) => i)
    const turned = await transposed(new ArrayTensor('int32', [rows, columns], wide)).read()
    wide.forEach((element, i) => {
      expect(turned[(i % columns) * rows + Math.floor(i / columns)]).toBe(element)
    })
    expect(() => new ArrayTensor('float32', [2], new Float32Array(3))).toThrow('needs 2 elements and has 3')
  })
})
