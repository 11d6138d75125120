/** What the traversal itself promises, whatever the operators. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gradient } from '../../src/grad/index.js'
import { ArrayTensor, attribute, Graph, type Value } from '../../src/ir/index.js'
import { type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { nothingFlows } from '../../src/ops/gradients/rule.js'
import { operators } from '../../src/ops/index.js'
import { call, deviation, random } from './differences.js'

const { int } = attribute

function sum(graph: Graph, x: Value): Value {
  return graph.add('ReduceSum', [x], { attributes: { keepdims: int(0) } }).output
}

/** A chain of layers x -> tanh(x W) with their outputs. */
function chain(layers: number, parameters: number) {
  const graph = new Graph('chain')
  const x = graph.addInput('x', 'float64', ['batch', 3])
  const weights = Array.from({ length: parameters }, (_, i) => graph.addConstant(`weight_${i}`, ArrayTensor.of(random([3, 3], i + 1))))
  const hidden: Value[] = []
  let y = x
  for (let i = 0; i < layers; i++) {
    y = graph.add('Tanh', [graph.add('MatMul', [y, weights[i % parameters]]).output]).output
    hidden.push(y)
  }
  return { graph, x, weights, hidden, loss: sum(graph, y) }
}

async function values(graph: Graph, outputs: readonly Value[], feeds: Record<string, NDArray>): Promise<number[][]> {
  graph.outputs.push(...outputs)
  graph.prune()
  const results = await evaluateGraph(graph, feeds)
  return outputs.map((output) => Array.from(numbersOf(results[output.name])))
}

describe('recomputation', () => {
  test('gives the same gradients', async () => {
    const run = async (layers: number, parameters: number, kept: readonly number[]) => {
      const feeds = { x: random([2, 3], 9) }
      const plain = chain(layers, parameters)
      const want = await values(plain.graph, gradient(plain.graph, { loss: plain.loss, wrt: [plain.x, ...plain.weights] }), feeds)
      const sparing = chain(layers, parameters)
      const checkpoints = sparing.hidden.filter((_, i) => kept.includes(i) && i < layers - 1)
      const found = gradient(sparing.graph, { loss: sparing.loss, wrt: [sparing.x, ...sparing.weights], checkpoints })
      expect(await values(sparing.graph, found, feeds)).toEqual(want)
    }
    const shape = fc
      .integer({ min: 2, max: 6 })
      .chain((layers) => fc.tuple(fc.constant(layers), fc.integer({ min: 1, max: layers }), fc.subarray([0, 1, 2, 3, 4])))
    await fc.assert(
      fc.asyncProperty(shape, ([layers, parameters, kept]) => run(layers, parameters, kept)),
      { numRuns: 20 },
    )
  })

  test('computes what lies between checkpoints twice', () => {
    const { graph, loss, weights, hidden } = chain(4, 4)
    graph.outputs.push(...gradient(graph, { loss, wrt: weights, checkpoints: [hidden[0], hidden[2]] }))
    graph.prune()
    expect([...graph.nodes()].filter((node) => node.operator === 'Tanh')).toHaveLength(4 + 2)
  })

  test('refuses a checkpoint that the loss does not wait for', () => {
    const { graph, x, loss, weights } = chain(2, 2)
    expect(() => gradient(graph, { loss, wrt: weights, checkpoints: [x] })).toThrow(/x cannot be a checkpoint/)
    expect(() => gradient(graph, { loss, wrt: weights, checkpoints: [loss] })).toThrow(/reducesum cannot be a checkpoint/)
  })
})

describe('where gradients end', () => {
  test('stopped values count as constants', async () => {
    const build = (stopped: boolean) => {
      const graph = new Graph('stop')
      const x = graph.addInput('x', 'float64', [3])
      const square = graph.add('Mul', [x, x]).output
      const loss = sum(graph, graph.add('Mul', [square, x]).output)
      return values(graph, gradient(graph, { loss, wrt: [x], stop: stopped ? [square] : [] }), { x: ndarray('float64', [3], [1, 2, 3]) })
    }
    expect(await build(false)).toEqual([[3, 12, 27]])
    expect(await build(true)).toEqual([[1, 4, 9]])
  })

  test('a parameter behind a stop is not reached', () => {
    const { graph, loss, weights, hidden } = chain(2, 2)
    expect(() => gradient(graph, { loss, wrt: weights, stop: [hidden[0]] })).toThrow(/the loss reducesum does not depend on weight_0/)
  })

  test('a loss that is no float scalar is refused', () => {
    const { graph, hidden, weights } = chain(1, 1)
    expect(() => gradient(graph, { loss: hidden[0], wrt: weights })).toThrow(/tanh has shape \[batch, 3\] and must be a scalar/)
    const count = graph.add('Size', [hidden[0]]).output
    expect(() => gradient(graph, { loss: count, wrt: weights })).toThrow(/size is int64 and must be a float/)
  })

  test('a parameter that is not used is named', () => {
    const { graph, loss } = chain(1, 1)
    const other = graph.addConstant('other', ArrayTensor.of(random([3], 1)))
    expect(() => gradient(graph, { loss, wrt: [other] })).toThrow(/the loss reducesum does not depend on other/)
  })

  const flat = ['Floor', 'Ceil', 'Round', 'Sign', 'Hardmax']
  test.each(flat)('%s is named where the gradient ends at it', (operator) => {
    const graph = new Graph('flat')
    const x = graph.addInput('x', 'float64', [3])
    const loss = sum(graph, graph.add(operator, [x], { name: 'steps' }).output)
    expect(() => gradient(graph, { loss, wrt: [x] })).toThrow(`no gradient of ${loss.name} reaches x: it ends at ${operator} steps`)
  })

  test('comparisons, indices and shapes pass nothing on', () => {
    const graph = new Graph('flat')
    const x = graph.addInput('x', 'float64', [3])
    const zero = graph.addConstant('zero', ArrayTensor.of(ndarray('float64', [], [0])))
    const through = (operator: string, inputs: Value[]) =>
      graph.add('Cast', [graph.add(operator, inputs, { name: operator }).output], { attributes: { to: int(11) } }).output
    for (const [operator, inputs] of [
      ['Greater', [x, zero]],
      ['ArgMax', [x]],
      ['Shape', [x]],
      ['NonZero', [x]],
      ['IsNaN', [x]],
    ] as const) {
      const loss = sum(graph, through(operator, [...inputs]))
      expect(() => gradient(graph, { loss, wrt: [x] })).toThrow(`it ends at ${operator}`)
    }
  })

  test('an operator without a gradient says why', () => {
    const graph = new Graph('branches')
    const x = graph.addInput('x', 'float64', [3])
    const condition = graph.addInput('condition', 'bool', [])
    const branch = (name: string, operator: string) => {
      const body = new Graph(name, graph)
      body.outputs.push(body.add(operator, [x]).output)
      return attribute.graph(body)
    }
    const attributes = { then_branch: branch('yes', 'Neg'), else_branch: branch('no', 'Abs') }
    const loss = sum(graph, graph.add('If', [condition], { name: 'choice', attributes }).output)
    expect(() => gradient(graph, { loss, wrt: [x] })).toThrow(/no gradient passes through If choice: what its branches do/)
  })

  test('every operator answers', () => {
    for (const { name, gradient: answer } of operators) {
      if (typeof answer === 'function') continue
      if ('expand' in answer) expect(answer.expand, name).toBeTypeOf('function')
      else expect(answer.impossible, name).toMatch(/^[a-z].{20,}[^.]$/)
    }
    expect(operators.filter(({ gradient: answer }) => answer === nothingFlows).length).toBeGreaterThan(20)
  })
})

test('random shapes broadcast back', async () => {
  const dims = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 })
  const cut = (shape: readonly number[], ones: readonly boolean[], drop: number) => shape.map((dim, i) => (ones[i] ? 1 : dim)).slice(drop)
  const pair = fc.tuple(
    dims,
    fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
    fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
    fc.integer({ min: 0, max: 2 }),
  )
  await fc.assert(
    fc.asyncProperty(pair, fc.constantFrom('Add', 'Sub', 'Mul', 'Div', 'Max'), async ([shape, left, right, drop], operator) => {
      const spec = call(operator, { a: random(cut(shape, left, 0), 1), b: random(cut(shape, right, drop), 2, { gap: 0.5 }) })
      expect(await deviation(spec)).toBeLessThan(1e-7)
    }),
    { numRuns: 25 },
  )
})

test('random matrix products', async () => {
  const size = fc.integer({ min: 1, max: 3 })
  const batch = fc.tuple(fc.array(size, { maxLength: 2 }), fc.boolean(), fc.boolean())
  await fc.assert(
    fc.asyncProperty(batch, size, size, size, async ([outer, leftOnes, rightOnes], rows, inner, columns) => {
      const ones = (flag: boolean) => (flag ? outer.map(() => 1) : outer)
      const spec = call('MatMul', { a: random([...ones(leftOnes), rows, inner], 1), b: random([...ones(rightOnes), inner, columns], 2) })
      expect(await deviation(spec)).toBeLessThan(1e-7)
    }),
    { numRuns: 20 },
  )
})
