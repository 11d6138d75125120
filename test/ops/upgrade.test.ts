import { describe, expect, test } from 'vitest'
import { float, floats, int, ints, string, tensor } from '../../src/ir/attribute.js'
import { type Attributes, Graph, printGraph, verify } from '../../src/ir/index.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { arrayOf } from '../../src/ops/support.js'
import { upgradeGraph } from '../../src/ops/upgrade.js'
import { numbers } from './call.js'
import { listOf } from './reference.js'

interface Form {
  operator: string
  attributes?: Attributes
  /** Inputs after the data. */
  more?: NDArray[]
  outputs?: number
}

/** A graph of one node as a file of the given opset has it. */
function graphOf(opset: number, { operator, attributes, more = [], outputs = 1 }: Form, data: NDArray): Graph {
  const graph = new Graph('old')
  graph.opsets.set('', opset)
  const x = graph.addInput('x', data.dtype, data.shape)
  const others = more.map((array) => graph.addConstant('input', ArrayTensor.of(array)))
  graph.outputs.push(...graph.add(operator, [x, ...others], { attributes, outputs }).outputs)
  return graph
}

async function run(graph: Graph, data: NDArray): Promise<NDArray[]> {
  const results = await evaluateGraph(graph, { x: data })
  return graph.outputs.map((output) => results[output.name])
}

const data = numbers(
  'float32',
  [1, 4, 3],
  Array.from({ length: 12 }, (_, i) => ((i * 5) % 12) - 4),
)
const image = numbers('float32', [1, 1, 2, 2], [1, 2, 3, 4])

function vector(...values: number[]): NDArray {
  return ndarray('int64', [values.length], values)
}

describe('an old form and the present one give the same', () => {
  const scalar = (value: number) => numbers('float32', [], [value])
  const cases: [string, number, Form, Form][] = [
    ['Squeeze 11', 11, { operator: 'Squeeze', attributes: { axes: ints([0]) } }, { operator: 'Squeeze', more: [vector(0)] }],
    ['Unsqueeze 11', 11, { operator: 'Unsqueeze', attributes: { axes: ints([0, 2]) } }, { operator: 'Unsqueeze', more: [vector(0, 2)] }],
    ['ReduceSum 11', 11, { operator: 'ReduceSum', attributes: { axes: ints([1]) } }, { operator: 'ReduceSum', more: [vector(1)] }],
    [
      'ReduceMean 13',
      13,
      { operator: 'ReduceMean', attributes: { axes: ints([-1]), keepdims: int(0) } },
      { operator: 'ReduceMean', more: [vector(-1)], attributes: { keepdims: int(0) } },
    ],
    ['ReduceMax 13', 13, { operator: 'ReduceMax' }, { operator: 'ReduceMax' }],
    [
      'Slice 7',
      7,
      { operator: 'Slice', attributes: { starts: ints([1, 0]), ends: ints([3, -1]), axes: ints([1, 2]) } },
      { operator: 'Slice', more: [vector(1, 0), vector(3, -1), vector(1, 2)] },
    ],
    [
      'Split 11',
      11,
      { operator: 'Split', attributes: { axis: int(1), split: ints([1, 3]) }, outputs: 2 },
      { operator: 'Split', attributes: { axis: int(1) }, more: [vector(1, 3)], outputs: 2 },
    ],
    [
      'Split 13',
      13,
      { operator: 'Split', attributes: { axis: int(1) }, outputs: 2 },
      { operator: 'Split', attributes: { axis: int(1), num_outputs: int(2) }, outputs: 2 },
    ],
    [
      'Pad 7',
      7,
      { operator: 'Pad', attributes: { pads: ints([0, 1, 0, 0, 0, 2]), value: float(7) } },
      { operator: 'Pad', more: [vector(0, 1, 0, 0, 0, 2), scalar(7)] },
    ],
    [
      'TopK 9',
      9,
      { operator: 'TopK', attributes: { k: int(2), axis: int(1) }, outputs: 2 },
      { operator: 'TopK', attributes: { axis: int(1) }, more: [vector(2)], outputs: 2 },
    ],
    ['Clip 7', 7, { operator: 'Clip', attributes: { min: float(-1), max: float(2) } }, { operator: 'Clip', more: [scalar(-1), scalar(2)] }],
    ['Clip 7 without bounds', 7, { operator: 'Clip' }, { operator: 'Clip' }],
    [
      'Scatter 9',
      9,
      { operator: 'Scatter', attributes: { axis: int(1) }, more: [ndarray('int64', [1, 1, 1], [2]), numbers('float32', [1, 1, 1], [9])] },
      {
        operator: 'ScatterElements',
        attributes: { axis: int(1) },
        more: [ndarray('int64', [1, 1, 1], [2]), numbers('float32', [1, 1, 1], [9])],
      },
    ],
  ]

  test.each(cases)('%s', async (_, opset, old, present) => {
    const graph = graphOf(opset, old, data)
    upgradeGraph(graph)
    verify(graph)
    expect(graph.opsets.get('')).toBe(28)
    expect(await run(graph, data)).toEqual(await run(graphOf(28, present, data), data))
  })

  test('Upsample repeats elements', async () => {
    const graph = graphOf(7, { operator: 'Upsample', attributes: { scales: floats([1, 1, 2, 3]), mode: string('nearest') } }, image)
    const { name } = graph.outputs[0]
    upgradeGraph(graph)
    expect(graph.outputs[0].name).toBe(name)
    const [result] = await run(graph, image)
    expect(result.shape).toEqual([1, 1, 4, 6])
    expect(listOf(result)).toEqual([1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4])
  })

  test('Clip of float16 gets a float16 bound', () => {
    const graph = new Graph('half')
    graph.opsets.set('', 7)
    const x = graph.addInput('x', 'float32', [2])
    const half = graph.add('Cast', [x], { attributes: { to: int(10) } }).output
    graph.outputs.push(graph.add('Clip', [half], { attributes: { min: float(0) } }).output)
    upgradeGraph(graph)
    expect([...graph.constants.values()].map((constant) => constant.dtype)).toEqual(['float16'])
  })
})

describe('Constant nodes', () => {
  function graphWithConstants(): Graph {
    const graph = new Graph('constants')
    const x = graph.addInput('x', 'float32', [2])
    const one = graph.add('Constant', [], {
      attributes: { value: tensor(ArrayTensor.of(arrayOf('float32', [], [1]))) },
      outputs: ['one'],
    }).output
    const two = graph.add('Constant', [], { attributes: { value_float: float(2) }, outputs: ['two'] }).output
    graph.outputs.push(graph.add('Add', [x, one]).output, two)
    return graph
  }

  test('become constants of the graph and keep their names', async () => {
    const graph = graphWithConstants()
    upgradeGraph(graph)
    verify(graph)
    expect(graph.constants.has('one')).toBe(true)
    expect([...graph.nodes()].map((node) => node.operator)).toEqual(['Add', 'Identity'])
    expect(graph.outputs.map((output) => output.name)).toEqual(['add', 'two'])
    expect((await run(graph, numbers('float32', [2], [1, 2]))).map(listOf)).toEqual([[2, 3], [2]])
  })

  test('a second upgrade changes nothing', () => {
    const graph = graphWithConstants()
    upgradeGraph(graph)
    const text = printGraph(graph)
    upgradeGraph(graph)
    expect(printGraph(graph)).toBe(text)
  })
})

describe('what cannot be translated', () => {
  test('is named', () => {
    const graph = graphOf(17, { operator: 'DFT', attributes: { axis: int(1) } }, data)
    expect(() => upgradeGraph(graph)).toThrow(/opset 17 has other forms of DFT/)
  })

  test('opsets beyond the present one and before 7', () => {
    expect(() => upgradeGraph(graphOf(29, { operator: 'Relu' }, data))).toThrow(/of opset 29/)
    expect(() => upgradeGraph(graphOf(5, { operator: 'Add', more: [data] }, data))).toThrow(/of opset 5/)
    expect(() => upgradeGraph(graphOf(5, { operator: 'Not' }, data))).not.toThrow()
  })
})
