import { describe, expect, test } from 'vitest'
import { graph as graphAttribute, int, ints } from '../../src/ir/attribute.js'
import { Graph, verify } from '../../src/ir/index.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { inferShapes } from '../../src/ops/infer.js'
import { upgradeGraph } from '../../src/ops/upgrade.js'
import { numbers } from './call.js'
import { listOf } from './reference.js'

/** x -> twice x where x > 0, else zero: branches that read the value around them. */
function conditionalGraph(): Graph {
  const graph = new Graph('main')
  const x = graph.addInput('x', 'float32', [])
  const zero = graph.addConstant('zero', ArrayTensor.of(numbers('float32', [], [0])))
  const condition = graph.add('Greater', [x, zero]).output
  const yes = new Graph('yes', graph)
  yes.outputs.push(yes.add('Add', [x, x], { outputs: ['double'] }).output)
  const no = new Graph('no', graph)
  no.outputs.push(zero)
  const attributes = { then_branch: graphAttribute(yes), else_branch: graphAttribute(no) }
  graph.outputs.push(graph.add('If', [condition], { attributes }).output)
  return graph
}

test('If runs one branch, which sees the values around it', async () => {
  const graph = conditionalGraph()
  verify(graph)
  inferShapes(graph)
  expect([graph.outputs[0].dtype, graph.outputs[0].shape]).toEqual(['float32', []])
  const at = async (x: number) => listOf((await evaluateGraph(graph, { x: numbers('float32', [], [x]) }))['if'])
  expect(await at(3)).toEqual([6])
  expect(await at(-3)).toEqual([0])
})

/** x, 2x, 4x ... while below a limit, and what went by. */
function doublingLoop(): Graph {
  const graph = new Graph('main')
  const count = graph.addInput('count', 'int64', [])
  const x = graph.addInput('x', 'float32', [1])
  const limit = graph.addConstant('limit', ArrayTensor.of(numbers('float32', [1], [20])))
  const body = new Graph('body', graph)
  body.addInput('turn', null, null)
  body.addInput('going', null, null)
  const carried = body.addInput('carried', null, null)
  const double = body.add('Add', [carried, carried], { outputs: ['doubled'] }).output
  body.outputs.push(body.add('Less', [double, limit], { outputs: ['below'] }).output, double, carried)
  graph.outputs.push(
    ...graph.add('Loop', [count, null, x], { attributes: { body: graphAttribute(body) }, outputs: ['last', 'all'] }).outputs,
  )
  return graph
}

describe('Loop', () => {
  const run = (count: number) => evaluateGraph(doublingLoop(), { count: ndarray('int64', [], [count]), x: numbers('float32', [1], [3]) })

  test('stops at the trip count or when its condition says so', async () => {
    const few = await run(2)
    expect([few['last'], few['all']].map(listOf)).toEqual([[12], [3, 6]])
    const many = await run(100)
    expect([many['last'], many['all']].map(listOf)).toEqual([[24], [3, 6, 12]])
    expect(many['all'].shape).toEqual([3, 1])
  })

  test('dtypes enter the body', () => {
    const graph = doublingLoop()
    inferShapes(graph)
    expect(graph.outputs.map((output) => output.dtype)).toEqual(['float32', 'float32'])
  })
})

/** Running sums along an axis. */
function scanGraph(opset: number, shape: readonly number[], attributes = {}): Graph {
  const graph = new Graph('main')
  graph.opsets.set('', opset)
  const state = graph.addInput('state', 'float32', opset < 9 ? [shape[0], 2] : [2])
  const x = graph.addInput('x', 'float32', shape)
  const body = new Graph('body', graph)
  const [sum, element] = [body.addInput('sum', 'float32', [2]), body.addInput('element', 'float32', [2])]
  const next = body.add('Add', [sum, element], { outputs: ['next'] }).output
  body.outputs.push(next, next)
  const inputs = opset < 9 ? [null, state, x] : [state, x]
  const node = graph.add('Scan', inputs, { attributes: { ...attributes, body: graphAttribute(body), num_scan_inputs: int(1) }, outputs: 2 })
  graph.outputs.push(...node.outputs)
  return graph
}

describe('Scan', () => {
  const feeds = (shape: readonly number[], values: number[], states = 1): Record<string, NDArray> => ({
    state: numbers('float32', states > 1 ? [states, 2] : [2], Array(2 * states).fill(0)),
    x: numbers('float32', shape, values),
  })
  const run = async (graph: Graph, given: Record<string, NDArray>) => {
    inferShapes(graph)
    const results = await evaluateGraph(graph, given)
    return graph.outputs.map((output) => {
      expect(output.shape).toEqual(results[output.name].shape)
      return listOf(results[output.name])
    })
  }

  test('forwards', async () => {
    expect(await run(scanGraph(28, [3, 2]), feeds([3, 2], [1, 2, 3, 4, 5, 6]))).toEqual([
      [9, 12],
      [1, 2, 4, 6, 9, 12],
    ])
  })

  test('along another axis, backwards', async () => {
    const attributes = {
      scan_input_axes: ints([1]),
      scan_input_directions: ints([1]),
      scan_output_axes: ints([-1]),
      scan_output_directions: ints([1]),
    }
    expect(await run(scanGraph(28, [2, 3], attributes), feeds([2, 3], [1, 3, 5, 2, 4, 6]))).toEqual([
      [9, 12],
      [9, 8, 5, 12, 10, 6],
    ])
  })

  test('of opset 8 goes through a batch', async () => {
    const graph = scanGraph(8, [2, 2, 2])
    upgradeGraph(graph)
    verify(graph)
    expect(await run(graph, feeds([2, 2, 2], [1, 2, 3, 4, 10, 20, 30, 40], 2))).toEqual([
      [4, 6, 40, 60],
      [1, 2, 4, 6, 10, 20, 40, 60],
    ])
  })
})
