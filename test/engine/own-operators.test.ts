import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import type { Feeds } from '../../src/engine/session.js'
import { int } from '../../src/ir/attribute.js'
import { Graph } from '../../src/ir/graph.js'
import type { Value } from '../../src/ir/node.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, sizeOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'

/** Sizes of the symbolic dimensions. */
const sizes: Readonly<Record<string, number>> = { batch: 3, tokens: 5 }

function feedsOf({ inputs }: Graph, seed: number): Feeds {
  const random = new Random(seed)
  return Object.fromEntries(
    inputs.map(({ name, shape }) => {
      const own = shape!.map((dim) => (typeof dim === 'number' ? dim : sizes[dim]))
      return [
        name,
        ndarray(
          'float32',
          own,
          Array.from({ length: sizeOf(own) }, () => random.normal()),
        ),
      ]
    }),
  )
}

/** Runs a graph in machine code and by the reference; both give the same but for rounding, and the operators that ran are returned. */
async function compare(graph: Graph, seed: number, observe: readonly string[] = []): Promise<string[]> {
  const feeds = feedsOf(graph, seed)
  const expected = await evaluateGraph(graph, feeds)
  const session = await openGraph(graph, { threads: 2, machineCode: true, profile: true, observe })
  const found = await session.run(feeds)
  for (const [name, { shape, data }] of Object.entries(expected)) {
    expect(found[name].shape).toEqual(shape)
    const [got, wanted] = [found[name].data as Float32Array, data as Float32Array]
    const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
    expect(wanted.findIndex((value, i) => !(Math.abs(value - got[i]) <= 1e-5 * largest))).toBe(-1)
  }
  const times = await session.profile()
  await session.dispose()
  return times.map(({ operator }) => operator)
}

function build(make: (net: Net) => Readonly<Record<string, Value>>): Graph {
  const net = new Net(new Graph())
  for (const [name, value] of Object.entries(make(net))) net.output(name, value)
  return net.graph
}

/** The slope of GELU: its operators all lead to one. */
function slope(net: Net, x: Value): Value {
  const z = net.op('Mul', [x, net.float(Math.SQRT1_2)])
  const cumulative = net.op('Mul', [net.op('Add', [net.op('Erf', [z]), net.float(1)]), net.float(0.5)])
  const bell = net.op('Exp', [net.op('Neg', [net.op('Mul', [z, z])])])
  return net.op('Add', [cumulative, net.op('Mul', [net.op('Mul', [x, bell]), net.float(1 / Math.sqrt(2 * Math.PI))])])
}

describe('operators in machine code', () => {
  it('multiply by a matrix and add a bias', async () => {
    const graph = build((net) => {
      const x = net.input('x', 'float32', ['batch', 'tokens', 33])
      const product = net.op('MatMul', [x, net.input('w', 'float32', [33, 20])])
      return {
        y: net.op('Add', [product, net.input('b', 'float32', [20])]),
        plain: net.op('MatMul', [x, net.input('v', 'float32', [33, 16])]),
      }
    })
    await compare(graph, 1)
  })

  it('multiply transposed matrices', async () => {
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.boolean(), fc.boolean(), fc.integer({ min: 1, max: 40 }), async (transA, transB, hasBias, rows) => {
        const graph = build((net) => {
          const left = net.input('left', 'float32', transA ? [30, rows] : [rows, 30])
          const right = net.input('right', 'float32', transB ? [17, 30] : [30, 17])
          const bias = hasBias ? [net.input('bias', 'float32', [17])] : []
          return { y: net.op('Gemm', [left, right, ...bias], { transA: int(Number(transA)), transB: int(Number(transB)) }) }
        })
        await compare(graph, rows)
      }),
      { numRuns: 12 },
    )
  })

  it('run chains beside rows and columns', async () => {
    const graph = build((net) => {
      const x = net.input('x', 'float32', ['batch', 'tokens', 24])
      const [mean, inverse] = ['mean', 'inverse'].map((name) => net.input(name, 'float32', ['batch', 'tokens', 1]))
      const z = net.op('Mul', [net.op('Sub', [x, mean]), inverse])
      const y = net.op('Add', [net.op('Mul', [z, net.input('weight', 'float32', [24])]), net.input('bias', 'float32', [24])])
      return { y, slope: net.op('Mul', [net.input('dy', 'float32', ['batch', 'tokens', 24]), slope(net, x)]) }
    })
    await compare(graph, 2)
  })

  it('run fake quantization with a scale for each column, and its gradient, as one chain each', async () => {
    const graph = build((net) => {
      const [x, dy] = ['x', 'dy'].map((name) => net.input(name, 'float32', [6, 20]))
      const [scale, wide] = [net.input('scale', 'float32', [20]), net.input('wide', 'float32', [1, 20])]
      const steps = (divisor: Value) => net.op('Round', [net.op('Div', [x, divisor])])
      const [code, other] = [steps(scale), steps(wide)]
      const [low, high] = [net.op('GreaterOrEqual', [other, net.float(-3)]), net.op('LessOrEqual', [other, net.float(3)])]
      return {
        y: net.op('Mul', [net.op('Min', [net.op('Max', [code, net.float(-3)]), net.float(3)]), scale]),
        dx: net.op('Where', [net.op('And', [low, high]), dy, net.float(0)]),
      }
    })
    const operators = await compare(graph, 5)
    expect(operators.length === 2 || operators.includes('Round')).toBe(true)
  })

  it('leave values that are outputs, or are observed, where they are', async () => {
    const graph = build((net) => {
      const x = net.input('x', 'float32', ['batch', 40])
      const middle = net.op('Abs', [net.op('Neg', [x])])
      return { middle, y: net.op('Sqrt', [net.op('Add', [middle, net.float(1)])]) }
    })
    const observed = graph.nodes().next().value!.output.name
    await compare(graph, 3, [observed])
  })

  it('are used where the machine allows it', async () => {
    const graph = build((net) => ({ y: slope(net, net.input('x', 'float32', ['batch', 40])) }))
    const operators = await compare(graph, 4)
    expect(operators.length === 1 || operators.includes('Erf')).toBe(true)
  })

  it('say when sizes do not fit', async () => {
    const graph = build((net) => {
      const [x, y] = ['x', 'y'].map((name) => net.input(name, 'float32', ['batch', 40]))
      return { z: net.op('Neg', [net.op('Add', [x, y])]) }
    })
    const session = await openGraph(graph, { machineCode: true })
    const array = (rows: number) => ndarray('float32', [rows, 40], new Array(40 * rows).fill(1))
    await expect(session.run({ x: array(3), y: array(2) })).rejects.toThrow(/failed in ONNX Runtime/)
    await session.dispose()
  })
})
