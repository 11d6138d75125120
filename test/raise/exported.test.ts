import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { float, int, ints } from '../../src/ir/attribute.js'
import type { Value } from '../../src/ir/node.js'
import { verify } from '../../src/ir/verify.js'
import { Net } from '../../src/nn/net.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { inferShapes } from '../../src/ops/infer.js'
import { importModel } from '../../src/raise/import.js'
import { raise } from '../../src/raise/index.js'
import { farthest, probes } from '../support/graphs.js'
import { sharedPath } from '../support/shared.js'

const width = 8

/** What raising makes of a function of x [batch, tokens, 8] and a mask [batch, tokens], which must go on computing the same. */
async function raised(build: (net: Net, x: Value, mask: Value) => Value): Promise<string[]> {
  const net = new Net()
  const x = net.input('x', 'float32', ['batch', 'tokens', width])
  const mask = net.input('attention_mask', 'int64', ['batch', 'tokens'])
  net.output('y', net.op('Identity', [build(net, x, mask)]))
  const { graph } = net
  inferShapes(graph)
  const [feeds] = probes(graph)
  const before = await evaluateGraph(graph, feeds)
  raise(graph)
  verify(graph)
  expect(farthest(await evaluateGraph(graph, feeds), before)).toBeLessThanOrEqual(1e-6)
  return [...graph.nodes()].map((node) => node.type).filter((type) => type !== 'Identity')
}

const numbers = (net: Net, name: string, shape: readonly number[]) =>
  net.floats(
    name,
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(1 + i + name.length)),
  )
const shapeOf = (net: Net, x: Value, axis: number) => net.op('Shape', [x], { start: int(axis), end: int(axis + 1) })

describe('what exporters spell out is raised', () => {
  const gate = (net: Net, x: Value) => net.op('Add', [net.op('Erf', [net.op('Div', [x, net.float(Math.SQRT2)])]), net.float(1)])

  it.each<[string, (net: Net, x: Value) => Value]>([
    ['x gate / 2', (net, x) => net.op('Mul', [net.op('Mul', [x, gate(net, x)]), net.float(0.5)])],
    ['(x / 2) gate', (net, x) => net.op('Mul', [net.op('Mul', [net.float(0.5), x]), gate(net, x)])],
    ['(gate / 2) x', (net, x) => net.op('Mul', [net.op('Mul', [gate(net, x), net.float(0.5)]), x])],
  ])('GELU by erf: %s', async (_, build) => expect(await raised(build)).toEqual(['Gelu']))

  it('GELU by tanh, Swish, and not what only looks like them', async () => {
    const tanhGelu = (cubic: number) => (net: Net, x: Value) => {
      const sum = net.op('Add', [x, net.op('Mul', [net.op('Pow', [x, net.float(3)]), net.float(cubic)])])
      const tanh = net.op('Tanh', [net.op('Mul', [sum, net.float(Math.sqrt(2 / Math.PI))])])
      return net.op('Mul', [net.op('Mul', [x, net.float(0.5)]), net.op('Add', [tanh, net.float(1)])])
    }
    expect(await raised(tanhGelu(0.044715))).toEqual(['Gelu'])
    expect(await raised(tanhGelu(0.05))).toContain('Tanh')
    expect(await raised((net, x) => net.op('Mul', [net.op('Sigmoid', [x]), x]))).toEqual(['Swish'])
    const scaled = (net: Net, x: Value) => net.op('Mul', [x, net.op('Sigmoid', [net.op('Mul', [x, net.float(1.702)])])])
    expect(await raised(scaled)).toEqual(['Swish'])
    expect(await raised((net, x) => net.op('Mul', [net.op('Sigmoid', [x]), net.op('Neg', [x])]))).toContain('Sigmoid')
  })

  it('norms by mean and square root', async () => {
    const mean = (net: Net, x: Value) => net.op('ReduceMean', [x, net.ints([-1])], { keepdims: int(1) })
    const root = (net: Net, square: Value) => net.op('Sqrt', [net.op('Add', [mean(net, square), net.float(1e-6)])])
    const gain = (net: Net) => numbers(net, 'weight', [width])
    const rms = (net: Net, x: Value) => {
      const inverse = net.op('Reciprocal', [root(net, net.op('Pow', [x, net.float(2)]))])
      return net.op('Mul', [gain(net), net.op('Mul', [x, inverse])])
    }
    const layer = (net: Net, x: Value) => {
      const centred = net.op('Sub', [x, mean(net, x)])
      const quotient = net.op('Div', [centred, root(net, net.op('Mul', [centred, centred]))])
      return net.op('Add', [net.op('Mul', [quotient, gain(net)]), numbers(net, 'bias', [width])])
    }
    expect(await raised(rms)).toEqual(['RMSNormalization'])
    expect(await raised(layer)).toEqual(['LayerNormalization'])
  })

  it('linears on flattened rows, with the weight [in, out] or [out, in]', async () => {
    const linear = (transB: number) => (net: Net, x: Value) => {
      const flat = net.op('Reshape', [x, net.ints([-1, width])])
      const weight = numbers(net, 'weight', transB ? [5, width] : [width, 5])
      const product = net.op('Gemm', [flat, weight, numbers(net, 'bias', [5])], { transB: int(transB), alpha: float(1), beta: float(1) })
      return net.op('Reshape', [product, net.op('Concat', [shapeOf(net, x, 0), shapeOf(net, x, 1), net.ints([5])], { axis: int(0) })])
    }
    for (const transB of [0, 1]) expect(await raised(linear(transB))).toEqual(['MatMul', 'Add'])
  })

  /** Two heads of four. */
  const heads = (net: Net, x: Value) => {
    const shape = net.op('Concat', [shapeOf(net, x, 0), shapeOf(net, x, 1), net.ints([2, 4])], { axis: int(0) })
    return net.op('Transpose', [net.op('Reshape', [x, shape])], { perm: ints([0, 2, 1, 3]) })
  }
  const mixed = (net: Net, x: Value, probabilities: Value) => {
    const context = net.op('Transpose', [net.op('MatMul', [probabilities, heads(net, x)])], { perm: ints([0, 2, 1, 3]) })
    const shape = net.op('Concat', [shapeOf(net, x, 0), shapeOf(net, x, 1), net.ints([width])], { axis: int(0) })
    return net.op('Reshape', [context, shape])
  }
  const scores = (net: Net, x: Value) => {
    const columns = net.op('Transpose', [heads(net, x)], { perm: ints([0, 1, 3, 2]) })
    return net.op('Div', [net.op('MatMul', [heads(net, x), columns]), net.float(2)])
  }
  const softmax = (net: Net, x: Value) => net.op('Softmax', [x], { axis: int(-1) })
  const lowest = -3.4028234663852886e38

  it('attention without a mask, its scale at the scores or on both sides', async () => {
    expect(await raised((net, x) => mixed(net, x, softmax(net, scores(net, x))))).toEqual(['Attention'])
    const both = (net: Net, x: Value) => {
      const half = (value: Value) => net.op('Mul', [value, net.float(Math.SQRT1_2)])
      const columns = net.op('Transpose', [heads(net, x)], { perm: ints([0, 1, 3, 2]) })
      return mixed(net, x, softmax(net, net.op('MatMul', [half(heads(net, x)), half(columns)])))
    }
    expect(await raised(both)).toEqual(['Attention'])
  })

  it('attention behind padding, added or filled in', async () => {
    const wide = (net: Net, mask: Value) => net.op('Unsqueeze', [mask, net.ints([1, 2])])
    const added = (net: Net, x: Value, mask: Value) => {
      const hidden = net.op('Sub', [net.float(1), net.op('Cast', [wide(net, mask)], { to: int(1) })])
      return mixed(net, x, softmax(net, net.op('Add', [scores(net, x), net.op('Mul', [hidden, net.float(lowest)])])))
    }
    const filled = (net: Net, x: Value, mask: Value) => {
      const hidden = net.op('Equal', [wide(net, mask), net.ints(0)])
      return mixed(net, x, softmax(net, net.op('Where', [hidden, net.float(lowest), scores(net, x)])))
    }
    for (const build of [added, filled]) expect(await raised(build)).toEqual(['Cast', 'Unsqueeze', 'Attention'])
  })

  it('a mask along the queries is no padding mask', async () => {
    const build = (net: Net, x: Value, mask: Value) => {
      const rows = net.op('Unsqueeze', [net.op('Cast', [mask], { to: int(1) }), net.ints([1, 3])])
      const bias = net.op('Mul', [net.op('Sub', [net.float(1), rows]), net.float(-1e5)])
      return mixed(net, x, softmax(net, net.op('Add', [scores(net, x), bias])))
    }
    expect(await raised(build)).toContain('Mul')
  })

  it('rotary positions by halves', async () => {
    const build = (net: Net, x: Value) => {
      const place = net.op('Cast', [net.op('Range', [net.ints(0), net.op('Squeeze', [shapeOf(net, x, 1)]), net.ints(1)])], { to: int(1) })
      const column = net.op('Unsqueeze', [place, net.ints([0, 2])])
      const angles = net.op('MatMul', [column, net.floats('frequencies', [1, 1, 2], [1, 0.1])])
      const twice = net.op('Concat', [angles, angles], { axis: int(-1) })
      const [cos, sin] = ['Cos', 'Sin'].map((type) => net.op('Unsqueeze', [net.op(type, [twice]), net.ints([1])]))
      const split = heads(net, x)
      const slice = (start: number, end: number) =>
        net.op('Slice', [split, net.ints([start]), net.ints([end]), net.ints([3]), net.ints([1])])
      const rotated = net.op('Concat', [net.op('Neg', [slice(2, 2 ** 31)]), slice(0, 2)], { axis: int(-1) })
      const turned = net.op('Add', [net.op('Mul', [split, cos]), net.op('Mul', [rotated, sin])])
      return mixed(net, x, softmax(net, net.op('MatMul', [turned, net.op('Transpose', [turned], { perm: ints([0, 1, 3, 2]) })])))
    }
    const types = await raised(build)
    expect(types).toContain('RotaryEmbedding')
    expect(types).not.toContain('Neg')
  })
})

const folder = sharedPath('golden', 'exported')
const files = (folder ? fs.readdirSync(folder).sort() : []).filter((file) => /^(bert|distilbert|gpt2|llama|qwen3|roberta|vit)\b/.test(file))

describe.skipIf(!files.length)('files of torch.onnx', () => {
  it.each(files)('%s', async (file) => {
    const { model } = await importModel(path.join(folder!, file))
    const types = new Set([...model.graph.nodes()].map((node) => node.type))
    for (const type of ['Erf', 'Gemm', 'Neg', 'Pow', 'ReduceMean', 'Sigmoid', 'IsNaN']) expect(types).not.toContain(type)
    const roles = anatomyOf(model.graph).blocks.map(({ linears }) => [...linears.keys()].sort().join(' '))
    const wanted = file.startsWith('gpt2') ? 'down o qkv up' : /^(llama|qwen3)/.test(file) ? 'down gate k o q up v' : 'down k o q up v'
    expect(roles).toEqual([wanted, wanted])
  })
})
