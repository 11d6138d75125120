import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import { int } from '../../src/ir/attribute.js'
import { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import { addOperatorNames, removeOperatorNames } from '../../src/ir/module-names.js'
import { printGraph } from '../../src/ir/print.js'
import { applyRules } from '../../src/ir/rewrite.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { lower, type TargetName } from '../../src/lower/index.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { raise } from '../../src/raise/index.js'
import { encoderOf } from '../support/blocks.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { distanceOf, farthest, probes, wholeText } from '../support/graphs.js'
import { apply } from '../support/passes.js'

const targets: readonly TargetName[] = ['ort-node', 'ort-wasm']

function counts(graph: Graph): Record<string, number> {
  const result: Record<string, number> = {}
  for (const { type } of graph.nodes()) result[type] = (result[type] ?? 0) + 1
  return result
}

describe('every place is lowered, not the first alone', () => {
  it('block products', async () => {
    const model = tinyBertModel(1, { layers: 3 })
    await apply(model, 'weight-only')
    const lowered = counts(lower(model.graph, 'ort-node'))
    expect(lowered).toMatchObject({ 'com.microsoft.MatMulNBits': 3 * 6 + 1, 'com.microsoft.MultiHeadAttention': 3 })
    expect(lowered['MatMul'] ?? 0).toBe(0)
    expect(lowered['DequantizeLinear'] ?? 0).toBe(0)
  })

  it.each(targets)('integer products for %s', async (target) => {
    const model = tinyBertModel(1, { layers: 3 })
    await apply(model, 'dynamic-int8')
    const lowered = counts(lower(model.graph, target))
    expect(lowered['com.microsoft.MatMulIntegerToFloat']).toBe(3 * 6 + 1)
    expect(lowered['MatMul'] ?? 0).toBe(0)
  })

  it('a decoder', () => {
    expect(counts(lower(tinyLlamaModel(1, { layers: 3, headSize: 8 }).graph, 'ort-node'))).toMatchObject({
      'com.microsoft.GroupQueryAttention': 3,
      'com.microsoft.RotaryEmbedding': 6,
      'com.microsoft.QuickGelu': 3,
      SimplifiedLayerNormalization: 7,
    })
  })
})

describe('graphs may change while they are walked', () => {
  const chain = (length: number) => {
    const graph = new Graph()
    let value = graph.addInput('x', 'float32', [1])
    for (let i = 0; i < length; i++) value = graph.add(i % 2 ? 'Add' : 'MatMul', i % 2 ? [value, value] : [value, value]).output
    graph.outputs.push(value)
    return graph
  }

  it('pairs of neighbours replaced at the first of them, to the end', () => {
    const graph = chain(10)
    const done = applyRules(
      graph,
      [
        {
          name: 'pair',
          at: ['MatMul'],
          rewrite(node, inside) {
            const add = node.output.users[0]
            const merged = inside.add('Gemm', node.inputs, { before: add }).output
            inside.replaceAllUses(add.output, merged)
            inside.remove(add)
            inside.remove(node)
            return true
          },
        },
      ],
      undefined,
    )
    expect(done).toEqual(new Map([['pair', 5]]))
    verify(graph)
    expect([...graph.nodes()].map(({ type }) => type)).toEqual(new Array(5).fill('Gemm'))
  })

  it('forwards and backwards, when everything goes at once', () => {
    for (const walk of ['nodes', 'nodesBackwards'] as const) {
      const graph = chain(6)
      graph.outputs.length = 0
      let seen = 0
      for (const _ of graph[walk]()) {
        seen++
        for (const node of graph.nodesBackwards()) graph.remove(node)
      }
      expect([seen, graph.size]).toEqual([1, 0])
    }
  })
})

describe('block products on the engine', () => {
  it.each([
    [4, 16],
    [4, 32],
    [8, 32],
    [8, 128],
  ])('%i bits in blocks of %i: no farther than activations in 8-bit blocks allow', async (bits, blockSize) => {
    const [rows, inputs, outputs] = [5, 256, 24]
    const net = new Net()
    const weight = new Random(1).normals(inputs * outputs)
    net.output('y', net.op('MatMul', [net.input('x', 'float32', ['rows', inputs]), net.floats('layer.weight', [inputs, outputs], weight)]))
    const model = new Model([['model', net.graph]])
    await apply(model, 'weight-only', { bits, blockSize })
    const x = new Random(2).normals(rows * inputs)
    const feeds = { x: ndarray('float32', [rows, inputs], x) }
    const session = await openGraph(model.graph)
    const [got, expected] = [numbersOf((await session.run(feeds))['y']), numbersOf((await evaluateGraph(model.graph, feeds))['y'])]
    await session.dispose()
    const identity = Array.from({ length: inputs * inputs }, (_, i) => (i % (inputs + 1) === 0 ? 1 : 0))
    const stored = numbersOf((await evaluateGraph(model.graph, { x: ndarray('float32', [inputs, inputs], identity) }))['y'])
    for (let row = 0; row < rows; row++)
      for (let n = 0; n < outputs; n++) {
        // Each activation is at most half a step of its block's grid (largest / 127) away from its code.
        let bound = 1e-4
        for (let start = 0; start < inputs; start += blockSize) {
          let [largest, weights] = [0, 0]
          for (let k = start; k < start + blockSize; k++) {
            largest = Math.max(largest, Math.abs(x[row * inputs + k]))
            weights += Math.abs(stored[k * outputs + n])
          }
          bound += (largest / 254) * weights
        }
        expect(Math.abs(got[row * outputs + n] - expected[row * outputs + n])).toBeLessThanOrEqual(bound)
      }
  })

  it('tables looked up by ids of any rank', async () => {
    for (const shape of [['n'], ['a', 'b'], ['a', 'b', 'c']]) {
      const net = new Net()
      const table = net.floats('table.weight', [300, 32], new Random(1).normals(300 * 32))
      net.output('rows', net.op('Gather', [table, net.input('ids', 'int64', shape)], { axis: int(0) }))
      const model = new Model([['model', net.graph]])
      await apply(model, 'weight-only')
      const feeds = {
        ids: ndarray(
          'int64',
          shape.map(() => 2),
          Array.from({ length: 2 ** shape.length }, (_, i) => i * 37),
        ),
      }
      const expected = await evaluateGraph(model.graph, feeds)
      const session = await openGraph(model.graph)
      expect(farthest(await session.run(feeds), expected), `rank ${shape.length}`).toBeLessThanOrEqual(1e-6)
      await session.dispose()
      for (const target of targets) expect(await distanceOf(lower(model.graph, target), model.graph, [feeds])).toBeLessThanOrEqual(1e-6)
    }
  })
})

describe('weights at the edge', () => {
  const random = new Random(4)
  const weights: Record<string, Float32Array> = {
    'all positive': random.normals(32 * 16).map(Math.abs),
    'all negative': random.normals(32 * 16).map((x) => -Math.abs(x)),
    'all zero': new Float32Array(32 * 16),
    'all the same': new Float32Array(32 * 16).fill(0.37),
    'one column of zeros': random.normals(32 * 16).map((x, i) => (i % 16 === 3 ? 0 : x)),
    tiny: random.normals(32 * 16, 1e-30),
    huge: random.normals(32 * 16, 1e30),
  }

  describe.each(Object.entries(weights))('%s', (_, weight) => {
    it.each([
      ['dynamic-int8', {}],
      ['dynamic-int8', { saturation: 'ignore' }],
      ['weight-only', {}],
      ['weight-only', { bits: 8, blockSize: 16 }],
      ['weight-only', { symmetric: true, search: false }],
      ['weight-only', { blockSize: 256 }],
    ])('%s %j', async (pass, options) => {
      const net = new Net()
      const product = net.op('MatMul', [net.input('x', 'float32', ['rows', 32]), net.floats('layer.weight', [32, 16], weight)])
      net.output('y', net.op('Add', [product, net.floats('layer.bias', [16], new Float32Array(16))]))
      const model = new Model([['model', net.graph]])
      const original = model.clone()
      await apply(model, pass, options)
      tidy(model.graph)
      const [feeds] = probes(original.graph)
      const expected = await evaluateGraph(original.graph, feeds)
      const quantized = await evaluateGraph(model.graph, feeds)
      expect(farthest(quantized, expected)).toBeLessThanOrEqual(pass === 'dynamic-int8' ? 0.03 : 0.15)
      for (const target of targets) {
        const lowered = lower(model.graph, target)
        expect(farthest(await evaluateGraph(lowered, feeds), quantized)).toBeLessThanOrEqual(2e-5)
        if (target === 'ort-wasm' && pass === 'weight-only') continue
        raise(lowered)
        expect(await wholeText(lowered)).toBe(await wholeText(model.graph))
      }
      // Processors without VNNI cut sums of such products off.
      if ('saturation' in options) return
      const session = await openGraph(model.graph)
      expect(farthest(await session.run(feeds), quantized)).toBeLessThanOrEqual(0.03)
      await session.dispose()
    })
  })
})

describe('attention', () => {
  it.each([
    ['heads of 4', { heads: 4, kvHeads: 2, headSize: 4 }],
    ['heads of 12', { heads: 2, kvHeads: 1, headSize: 12 }],
    ['heads of 8', { heads: 4, kvHeads: 4, headSize: 8 }],
  ])('a decoder with %s runs', async (_, sizes) => {
    const { graph } = tinyLlamaModel(1, sizes)
    const session = await openGraph(graph)
    for (const feeds of probes(graph))
      expect(farthest(await session.run(feeds), await evaluateGraph(graph, feeds))).toBeLessThanOrEqual(2e-5)
    await session.dispose()
  })

  it.each(['fused', 'expanded'] as const)('%s, in encoders of any form', async (attention) => {
    for (const form of [{}, { norm: 'before', feedForward: 'gated' }, { projections: 'qkv', mask: 'Where' }, { mask: 'none' }] as const) {
      const graph = encoderOf({ attention, ...form })
      graph.prune()
      tidy(graph)
      // Raising may fuse what is spelled out.
      const raised = graph.clone()
      raise(raised)
      expect(await distanceOf(raised, graph)).toBeLessThanOrEqual(2e-5)
      const session = await openGraph(graph)
      for (const feeds of probes(graph))
        expect(farthest(await session.run(feeds), await evaluateGraph(graph, feeds))).toBeLessThanOrEqual(2e-5)
      await session.dispose()
      for (const target of targets) {
        const lowered = lower(graph, target)
        expect(await distanceOf(lowered, graph)).toBeLessThanOrEqual(2e-5)
        raise(lowered)
        expect(await wholeText(lowered), JSON.stringify([form, target])).toBe(await wholeText(raised))
      }
    }
  })
})

describe('observed values', () => {
  it('come beside the outputs, and no fusion swallows them', async () => {
    for (const pass of [null, 'dynamic-int8', 'weight-only']) {
      const model = tinyBertModel(1)
      if (pass) await apply(model, pass)
      tidy(model.graph)
      const names = anatomyOf(model.graph).linears.flatMap(({ product, output, input }) => [product.output.name, output.name, input.name])
      const observe = [...new Set(names)].filter((name) => !model.graph.outputs.some((output) => output.name === name))
      const [feeds] = probes(model.graph)
      const expected = model.graph.clone()
      for (const name of observe) expected.outputs.push(expected.value(name)!)
      const session = await openGraph(model.graph, { observe })
      const got = await session.run(feeds)
      await session.dispose()
      expect(Object.keys(got).sort()).toEqual(expected.outputs.map(({ name }) => name).sort())
      expect(farthest(got, await evaluateGraph(expected, feeds))).toBeLessThanOrEqual(pass ? 0.05 : 2e-5)
      expect(model.graph.outputs).toHaveLength(2)
    }
  })

  it('an unknown one is named', () => {
    expect(() => lower(tinyBertModel(1).graph, 'ort-node', { observe: ['nobody'] })).toThrow(/nobody/)
  })
})

describe('names of modules', () => {
  it('become one for each node in files, and come back', () => {
    const { graph } = tinyLlamaModel(1)
    const before = printGraph(graph)
    const modules = [...graph.allNodes()].map(({ name }) => name)
    addOperatorNames(graph)
    const named = [...graph.allNodes()].map(({ name }) => name)
    expect(new Set(named).size).toBe(named.length)
    removeOperatorNames(graph)
    expect([...graph.allNodes()].map(({ name }) => name)).toEqual(modules)
    expect(printGraph(graph)).toBe(before)
  })

  it("other tools' names stay", () => {
    const graph = new Graph()
    const x = graph.addInput('x', 'float32', [1])
    const names = ['/encoder/layer.0/MatMul', 'Relu_3', 'node 7', '', 'relu_relu', 'a.b.c']
    for (const name of names) graph.add('Relu', [x], { name })
    removeOperatorNames(graph)
    expect([...graph.nodes()].map(({ name }) => name)).toEqual(names)
  })
})

describe('tidy', () => {
  it('gives equal graphs equal texts, whatever the order and the names were', () => {
    const { graph } = tinyBertModel(1)
    const before = printGraph(graph)
    const random = new Random(1)
    const shuffled = graph.clone()
    for (const node of shuffled.nodes())
      for (const output of node.outputs)
        if (!shuffled.outputs.includes(output)) shuffled.rename(output, shuffled.uniqueName(`v${random.integer(1000)}`))
    for (const node of [...shuffled.nodes()]) {
      // As late as its first reader allows.
      const readers = node.output.users
      if (!shuffled.outputs.includes(node.output) && readers.length === 1) shuffled.move(node, { before: readers[0] })
    }
    verify(shuffled)
    tidy(shuffled)
    verify(shuffled)
    expect(printGraph(shuffled)).toBe(before)
    tidy(shuffled)
    expect(printGraph(shuffled)).toBe(before)
  })
})
