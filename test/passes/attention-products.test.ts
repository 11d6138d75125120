import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { lower } from '../../src/lower/index.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { importModel } from '../../src/raise/import.js'
import { raise } from '../../src/raise/index.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { completed, goldens, reference } from '../support/goldens.js'
import { distanceOf, farthest, probes, throughFile, wholeText } from '../support/graphs.js'
import { apply } from '../support/passes.js'

async function quantized(model: Model, options: Record<string, unknown> = {}): Promise<Model> {
  await apply(model, 'static-int8', { attention: true, ranges: 'minmax', ...options })
  tidy(model.graph)
  verify(model.graph)
  return model
}

const typesOf = (graph: Graph) => [...graph.nodes()].map(({ type }) => type)
const count = (graph: Graph, type: string) => typesOf(graph).filter((each) => each === type).length

const golden = goldens().find(({ name }) => name === 'bert')
const models: [string, () => Promise<Model>][] = [
  ['an encoder', async () => tinyBertModel(1)],
  ['a decoder with a cache and shared key heads', async () => tinyLlamaModel(1, { headSize: 8 })],
  ...(golden ? [['golden bert', async () => (await importModel(golden.folder)).model] as [string, () => Promise<Model>]] : []),
]

describe.each(models)('products of attention in 8 bits: %s', (name, open) => {
  it.each(['ort-node', 'ort-wasm'] as const)('the law holds for %s', async (target) => {
    const { graph } = await quantized(await open())
    const before = await wholeText(graph)
    const lowered = lower(graph, target)
    const blocks = anatomyOf(graph).blocks.length
    const linears = anatomyOf(graph).linears.filter(({ dtype }) => dtype === 'int8').length
    expect(count(lowered, 'com.microsoft.MatMulIntegerToFloat')).toBe(linears + 2 * blocks)
    expect(await distanceOf(lowered, graph)).toBeLessThanOrEqual(2e-5)
    for (const raised of [lowered.clone(), await throughFile(lowered)]) {
      raise(raised)
      expect(await wholeText(raised)).toBe(before)
    }
  })

  it('is near the float model, on the engine as by the reference evaluation', async () => {
    const [{ graph: original }, { graph }] = [await open(), await quantized(await open())]
    const feeds = name.startsWith('golden') ? [completed(original, (await reference(golden!)).inputs)] : probes(original)
    const session = await openGraph(graph)
    for (const feed of feeds) {
      const [got, exact] = [await evaluateGraph(graph, feed), await evaluateGraph(original, feed)]
      expect(farthest(got, exact)).toBeLessThanOrEqual(0.15)
      expect(farthest(await session.run(feed), got)).toBeLessThanOrEqual(0.05)
    }
    await session.dispose()
  })

  it('keeps the anatomy', async () => {
    const outline = ({ graph }: Model) =>
      anatomyOf(graph).blocks.map(({ linears, mixer }) => [[...linears.keys()].sort(), mixer.heads, mixer.kvHeads])
    expect(outline(await quantized(await open()))).toEqual(outline(await open()))
  })
})

describe('what products of attention are made of', () => {
  it('unsigned queries and probabilities, signed keys and values that no pair of products overflows, floats for scores', async () => {
    const { graph } = await quantized(tinyBertModel(2))
    for (const node of [...graph.nodes()].filter(({ type }) => type === 'Softmax')) {
      const product = (value = node.input(0)) => value!.producer!.input(1)!.producer!.input(0)!.producer!
      expect(product().type).toBe('MatMul')
      const mixing = node.output.users[0].output.users[0].output.users[0]
      const dtypes = [product(), mixing].flatMap((each) => each.inputs.map((input) => input!.producer!.input(0)!.dtype))
      expect(dtypes).toEqual(['uint8', 'int8', 'uint8', 'int8'])
      const [scale, zero] = await Promise.all(
        [1, 2].map(async (i) => numbersOf(await mixing.input(0)!.producer!.input(i)!.tensor!.array())[0]),
      )
      expect([scale, zero]).toEqual([Math.fround(1 / 255), 0])
      for (const each of [product(), mixing]) graph.outputs.push(each.input(1)!.producer!.input(0)!)
    }
    const [feed] = probes(graph)
    const loud = {
      ...feed,
      token_type_ids: ndarray(
        'int64',
        feed['input_ids'].shape,
        numbersOf(feed['input_ids']).map(() => 1),
      ),
    }
    const results = Object.values(await evaluateGraph(graph, loud)).filter(({ dtype }) => dtype === 'int8')
    expect(results).toHaveLength(4)
    for (const { data } of results) for (const code of data as Int8Array) expect(Math.abs(code)).toBeLessThanOrEqual(64)
  })

  it.each(['minmax', 'percentile', 'mse', 'output'])('ranges: %s', async (ranges) => {
    const [original, model] = [tinyBertModel(3), await quantized(tinyBertModel(3), { ranges, embeddings: false })]
    expect(await distanceOf(model.graph, original.graph)).toBeLessThanOrEqual(0.15)
  })

  it('without saturation to fear keys and values have 8 bits', async () => {
    const { graph } = await quantized(tinyBertModel(2), { saturation: 'ignore' })
    expect(typesOf(graph)).not.toContain('Clip')
  })

  it('attentions are chosen by name; off by default', async () => {
    expect(count((await quantized(tinyBertModel(2), { exclude: ['encoder.layer.0.**'] })).graph, 'Softmax')).toBe(1)
    expect(count((await quantized(tinyBertModel(2), { attention: false })).graph, 'Softmax')).toBe(0)
  })

  it('attention may be expanded already', async () => {
    const [model, original] = [tinyBertModel(4), tinyBertModel(4)]
    await apply(model, 'expand-attention')
    const { graph } = await quantized(model)
    expect(count(lower(graph, 'ort-node'), 'com.microsoft.MatMulIntegerToFloat')).toBe(2 * (6 + 2) + 1)
    expect(await distanceOf(graph, original.graph)).toBeLessThanOrEqual(0.15)
  })
})

describe('MatMulIntegerToFloat', () => {
  it.each([
    [
      [2, 3, 5, 8],
      [2, 3, 8, 7],
    ],
    [
      [2, 3, 64, 32],
      [2, 3, 32, 64],
    ],
    [
      [2, 3, 1, 33],
      [1, 3, 33, 9],
    ],
  ])('[%s] by [%s]: the engine computes what the reference evaluation computes', async (left, right) => {
    const net = new Net()
    const random = new Random(1, 'products')
    const [a, b] = [net.input('a', 'uint8', left), net.input('b', 'int8', right)]
    const scalar = (name: string, dtype: 'float32' | 'uint8' | 'int8', value: number) =>
      net.graph.addConstant(name, ArrayTensor.of(ndarray(dtype, [], [value])))
    const parameters = [scalar('as', 'float32', 0.01), scalar('bs', 'float32', 0.02), scalar('az', 'uint8', 117), scalar('bz', 'int8', 0)]
    net.output('y', net.op('MatMulIntegerToFloat', [a, b, ...parameters], {}, { domain: 'com.microsoft' }))
    const feeds = {
      a: ndarray(
        'uint8',
        left,
        Array.from({ length: left.reduce((x, y) => x * y) }, () => random.integer(256)),
      ),
      b: ndarray(
        'int8',
        right,
        Array.from({ length: right.reduce((x, y) => x * y) }, () => random.integer(129) - 64),
      ),
    }
    const session = await openGraph(net.graph)
    expect(farthest(await session.run(feeds), await evaluateGraph(net.graph, feeds))).toBeLessThanOrEqual(1e-6)
    await session.dispose()
  })
})
