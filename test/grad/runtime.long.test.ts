/** Gradients are made of operators that ONNX Runtime has; what it cannot run itself is left out. */
import { expect, test } from 'vitest'
import { openGraph } from '../../src/engine/open.js'
import type { Feeds } from '../../src/engine/session.js'
import { gradient } from '../../src/grad/index.js'
import { int } from '../../src/ir/attribute.js'
import { Graph } from '../../src/ir/index.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { inferNode } from '../../src/ops/infer.js'
import { attentionCases, microsoftCases } from './cases/attention.js'
import { elementwiseCases } from './cases/elementwise.js'
import { layerCases } from './cases/layers.js'
import { shapeCases } from './cases/shape.js'
import { buildGraph, type Case, type Cases, narrow, random, weightedLoss } from './differences.js'

/** Its draws are ONNX Runtime's own. */
const { Dropout: _, ...elementwise } = elementwiseCases
const cases: Cases = { ...elementwise, ...shapeCases, ...layerCases, ...attentionCases, ...microsoftCases }

async function run(graph: Graph, feeds: Feeds): Promise<Record<string, ArrayLike<number>>> {
  const session = await openGraph(graph, { threads: 1 })
  try {
    const results = await session.run(feeds)
    return Object.fromEntries(graph.outputs.map(({ name }) => [name, Array.from(numbersOf(results[name]))]))
  } finally {
    await session.dispose()
  }
}

/** The graph of a case in float32, and the one of its gradients. */
async function graphsOf(spec: Case): Promise<{ plain: Graph; gradients: Graph; feeds: Feeds }> {
  const feeds = Object.fromEntries(Object.entries(spec.feeds).map(([name, array]) => [name, narrow(array)]))
  const { graph, inputs, outputs } = buildGraph({ ...spec, feeds })
  graph.outputs.push(...outputs)
  const plain = graph.clone()
  const arrays = await evaluateGraph(plain, feeds)
  const shapes = outputs.map((output) => arrays[output.name].shape)
  const loss = weightedLoss(graph, outputs, shapes, 'float32')
  const names = Object.keys(spec.feeds).filter((name) => spec.feeds[name].dtype === 'float64' && !spec.constant?.includes(name))
  graph.outputs.splice(0, outputs.length, ...gradient(graph, { loss, wrt: names.map((name) => inputs[name]) }))
  graph.prune()
  const weights = Object.fromEntries(shapes.map((shape, i) => [`weights_${i}`, narrow(random(shape, 900 + i))]))
  return { plain, gradients: graph, feeds: { ...feeds, ...weights } }
}

function deviationOf(have: ArrayLike<number>, want: ArrayLike<number>): number {
  const scale = Array.from(want).reduce((max, x) => Math.max(max, Math.abs(x)), 1)
  return Array.from(want, (x, i) => Math.abs(have[i] - x) / scale).reduce((worst, x) => (x <= worst ? worst : x), 0)
}

test.for(Object.entries(cases))('%s', async ([, spec], { skip }) => {
  const { plain, gradients, feeds } = await graphsOf(spec)
  const got = await run(gradients, feeds).catch(async (error: Error) => {
    const known = await run(plain, feeds).then(
      () => false,
      () => true,
    )
    if (known) return null
    throw error
  })
  if (!got) return skip('ONNX Runtime cannot run this node itself')
  const want = await evaluateGraph(gradients, feeds)
  for (const [name, values] of Object.entries(got)) expect(deviationOf(values, numbersOf(want[name]))).toBeLessThan(1e-4)
})

test.each([2, 40])('rows of a table of %i that many threads add to are all counted', async (rows) => {
  const [count, width] = [2048, 384]
  const graph = new Graph('lookup')
  const table = graph.addInput('table', 'float32', [rows, width])
  const indices = graph.addInput('indices', 'int64', [count])
  const taken = graph.add('Gather', [table, indices]).output
  const loss = graph.add('ReduceSum', [taken], { attributes: { keepdims: int(0) } }).output
  for (const value of [taken, loss]) inferNode(value.producer!)
  graph.outputs.push(...gradient(graph, { loss, wrt: [table] }))
  const session = await openGraph(graph, { threads: 2 })
  const feeds = {
    table: { dtype: 'float32', shape: [rows, width], data: new Float32Array(rows * width) },
    indices: ndarray('int64', [count], new Array(count).fill(1)),
  } as const
  const wanted = Object.fromEntries(session.inputs.map(({ name }) => [name, feeds[name as keyof typeof feeds]]))
  for (let round = 0; round < 30; round++) {
    const sums = numbersOf((await session.run(wanted))[graph.outputs[0].name])
    expect(Array.from(sums).every((sum, i) => sum === (Math.floor(i / width) === 1 ? count : 0))).toBe(true)
  }
  await session.dispose()
})
