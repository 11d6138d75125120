import { describe, expect, it } from 'vitest'
import { anatomyOf, type Linear } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import type { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import { verify } from '../../src/ir/verify.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { encoderOf } from '../support/blocks.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { completed } from '../support/goldens.js'
import { distanceOf } from '../support/graphs.js'
import { apply } from '../support/passes.js'

/** The parts of a quantized weight as numbers. */
async function parts(graph: Graph, name: string) {
  const read = async (suffix: string) => {
    const tensor = graph.constants.get(name + suffix)?.tensor
    return tensor ? { dtype: tensor.dtype, shape: tensor.shape, data: Array.from((await tensor.read()) as Uint8Array, Number) } : null
  }
  return { codes: (await read(''))!, scale: (await read('_scale'))!, zeroPoint: await read('_zero_point') }
}

/** The weights of a linear alone, [in, out]. */
function linearModel(inputs: number, outputs: number, weight: ArrayLike<number>): Model {
  const net = new Net()
  const x = net.input('x', 'float32', ['rows', inputs])
  net.output('y', net.op('MatMul', [x, net.floats('layer.weight', [inputs, outputs], weight)]))
  return new Model([['model', net.graph]])
}

const floatsOf = async ({ weight }: Linear) => (await weight.tensor!.read()) as Float32Array
const column = (data: ArrayLike<number>, n: number, width: number) =>
  Array.from({ length: data.length / width }, (_, k) => data[k * width + n])

describe('dynamic-int8', () => {
  it.each([
    ['ignore', 127],
    ['7-bit', 63],
  ] as const)('saturation %s: codes are the nearest of a symmetric grid for each output', async (saturation, most) => {
    const [model, original] = [tinyBertModel(1), tinyBertModel(1)]
    const { changed } = await apply(model, 'dynamic-int8', { saturation })
    const { linears } = anatomyOf(original.graph)
    expect(changed).toBe(linears.length)
    for (const linear of linears) {
      const float = await floatsOf(linear)
      const { codes, scale, zeroPoint } = await parts(model.graph, linear.weight.name)
      expect([codes.dtype, codes.shape, scale.shape, zeroPoint]).toEqual(['int8', [linear.inputs, linear.outputs], [linear.outputs], null])
      for (let n = 0; n < linear.outputs; n++) {
        const [w, q, s] = [column(float, n, linear.outputs), column(codes.data, n, linear.outputs), scale.data[n]]
        expect(s).toBeCloseTo(Math.max(...w.map(Math.abs)) / most, 7)
        w.forEach((x, k) => {
          expect(Math.abs(q[k])).toBeLessThanOrEqual(most)
          expect(Math.abs(x - s * q[k])).toBeLessThanOrEqual(s * (0.5 + 1e-5))
        })
      }
    }
  })

  it('by default no pair of products can overflow 16 bits', async () => {
    const model = linearModel(
      33,
      20,
      new Random(1).normals(33 * 20).map((x) => Math.sign(x) * Math.abs(x) ** 0.3),
    )
    await apply(model, 'dynamic-int8')
    const { codes } = await parts(model.graph, 'layer.weight')
    for (let n = 0; n < 20; n++) {
      const q = column(codes.data, n, 20)
      for (let k = 0; k + 1 < 33; k += 2) expect(255 * Math.abs(q[k] + q[k + 1])).toBeLessThan(32768)
    }
  })

  it('reads an activation once for all linears that share it', async () => {
    const model = tinyBertModel(1)
    await apply(model, 'dynamic-int8')
    const quantizers = [...model.graph.nodes()].filter(({ type }) => type === 'DynamicQuantizeLinear')
    const perBlock = 4
    expect(quantizers).toHaveLength(2 * perBlock + 1)
    for (const { linears } of anatomyOf(model.graph).blocks)
      expect(linears.get('q')!.product.input(0)).toBe(linears.get('v')!.product.input(0))
  })

  it('is near the float model, but depends on the batch', async () => {
    const [model, original] = [linearModel(16, 8, new Random(2).normals(128)), linearModel(16, 8, new Random(2).normals(128))]
    await apply(model, 'dynamic-int8')
    const small = new Random(3).normals(16)
    const run = async (rows: Float32Array) =>
      numbersOf((await evaluateGraph(model.graph, { x: ndarray('float32', [rows.length / 16, 16], rows) }))['y'])
    const alone = await run(small)
    const together = await run(Float32Array.from([...small, ...small.map((x) => 100 * x)]))
    expect(await distanceOf(model.graph, original.graph)).toBeLessThanOrEqual(0.03)
    expect(Math.max(...alone.map((y, n) => Math.abs(y - together[n])))).toBeGreaterThan(0.05)
  })

  it('quantizes a shared weight once', async () => {
    const net = new Net()
    const x = net.input('x', 'float32', ['rows', 16])
    const weight = net.floats('shared.weight', [16, 16], new Random(1).normals(256))
    net.output('y', net.op('MatMul', [net.op('Relu', [net.op('MatMul', [x, weight])]), weight]))
    for (const [pass, options] of [
      ['dynamic-int8', {}],
      ['weight-only', { blockSize: 16 }],
    ] as const) {
      const model = new Model([['model', net.graph.clone()]])
      await apply(model, pass, options)
      verify(model.graph)
      const matrices = [...model.graph.constants.values()].filter(({ shape }) => shape!.length === 2 && shape![0] === 16)
      expect(matrices.map(({ name, dtype }) => [name, dtype])).toEqual([['shared.weight', pass === 'weight-only' ? 'uint4' : 'int8']])
      expect(await distanceOf(model.graph, net.graph)).toBeLessThanOrEqual(0.3)
    }
  })

  it('tables of many rows get a scale for each row', async () => {
    const [model, original] = [tinyBertModel(1, { vocabulary: 1100 }), tinyBertModel(1, { vocabulary: 1100 })]
    await apply(model, 'dynamic-int8')
    const name = 'embeddings.word_embeddings.weight'
    const { codes, scale } = await parts(model.graph, name)
    expect([codes.dtype, codes.shape, scale.shape]).toEqual(['int8', [1100, 16], [1100]])
    const float = (await original.graph.constants.get(name)!.tensor!.read()) as Float32Array
    float.forEach((x, i) => {
      const s = scale.data[Math.floor(i / 16)]
      expect(Math.abs(x - s * codes.data[i])).toBeLessThanOrEqual(s * (0.5 + 1e-5))
    })
    const without = tinyBertModel(1, { vocabulary: 1100 })
    await apply(without, 'dynamic-int8', { embeddings: false })
    expect(without.graph.constants.get(name)!.dtype).toBe('float32')
  })
})

describe('static-int8', () => {
  it('gives a text the same result alone and in any batch', async () => {
    const model = tinyBertModel(5)
    await apply(model, 'static-int8')
    const ids = [3, 1, 4, 1, 5, 9]
    const run = async (rows: number[][]) =>
      (await evaluateGraph(model.graph, completed(model.graph, { input_ids: ndarray('int64', [rows.length, 6], rows.flat()) })))[
        'last_hidden_state'
      ]
    const [alone, together] = [numbersOf(await run([ids])), numbersOf(await run([ids, [30, 31, 32, 33, 34, 35], [0, 0, 0, 0, 0, 0]]))]
    expect([...together.slice(0, alone.length)]).toEqual([...alone])
  })

  it('is near the float model', async () => {
    for (const build of [() => tinyBertModel(6), () => tinyLlamaModel(6)]) {
      const [model, original] = [build(), build()]
      const { changed } = await apply(model, 'static-int8', { ranges: 'minmax' })
      verify(model.graph)
      expect(changed).toBeGreaterThan(10)
      expect(await distanceOf(model.graph, original.graph)).toBeLessThanOrEqual(0.25)
    }
  })
})

describe('weight-only', () => {
  it('is lossless where weights lie on the grid', async () => {
    const random = new Random(1)
    for (const [bits, most] of [
      [4, 15],
      [8, 255],
    ] as const) {
      const [inputs, outputs, blockSize] = [64, 6, 32]
      const weight = new Float32Array(inputs * outputs)
      for (let n = 0; n < outputs; n++)
        for (let block = 0; block < 2; block++) {
          const [scale, zero] = [2 ** -random.integer(6), bits === 8 ? 128 : random.integer(16)]
          const order = random.permutation(blockSize)
          for (let k = 0; k < blockSize; k++) {
            // Both ends of the grid are taken, so that its scale is seen; symmetric ones have 127 as their end.
            const code =
              order[k] === 0 ? (bits === 8 ? 1 : 0) : order[k] === 1 ? most : bits === 8 ? 1 + random.integer(255) : random.integer(16)
            weight[(block * blockSize + k) * outputs + n] = scale * (code - zero)
          }
        }
      const [model, original] = [linearModel(inputs, outputs, weight), linearModel(inputs, outputs, weight)]
      await apply(model, 'weight-only', { bits, blockSize })
      expect(await distanceOf(model.graph, original.graph)).toBe(0)
    }
  })

  it.each([
    { bits: 4, blockSize: 16, symmetric: false },
    { bits: 4, blockSize: 32, symmetric: true },
    { bits: 8, blockSize: 64, symmetric: true },
  ])('from extremes: no weight is farther than half a step, %j', async (options) => {
    const [inputs, outputs] = [72, 10]
    const weight = new Random(2).normals(inputs * outputs)
    const model = linearModel(inputs, outputs, weight)
    await apply(model, 'weight-only', { ...options, search: false })
    const { codes, scale, zeroPoint } = await parts(model.graph, 'layer.weight')
    const blocks = Math.ceil(inputs / options.blockSize)
    expect([codes.dtype, scale.shape, zeroPoint!.shape]).toEqual([`uint${options.bits}`, [blocks, outputs], [blocks, outputs]])
    weight.forEach((w, i) => {
      const group = Math.floor(Math.floor(i / outputs) / options.blockSize) * outputs + (i % outputs)
      const s = scale.data[group]
      expect(Math.abs(w - s * (codes.data[i] - zeroPoint!.data[group]))).toBeLessThanOrEqual(s * (1 + 1e-4) * (options.symmetric ? 0.5 : 1))
      if (options.symmetric) expect(zeroPoint!.data[group]).toBe(2 ** (options.bits - 1))
    })
  })

  it('searched scales leave no larger error than those from extremes', async () => {
    const weight = new Random(3).normals(64 * 8).map((x) => x ** 3)
    const error = async (options: Record<string, unknown>) => {
      const model = linearModel(64, 8, weight)
      await apply(model, 'weight-only', options)
      const identity = Array.from({ length: 64 * 64 }, (_, i) => (i % 65 === 0 ? 1 : 0))
      const { y } = await evaluateGraph(model.graph, { x: ndarray('float32', [64, 64], identity) })
      return Array.from(numbersOf(y)).reduce((sum, w, i) => sum + (w - weight[i]) ** 2, 0)
    }
    for (const symmetric of [true, false]) expect(await error({ symmetric })).toBeLessThan(await error({ symmetric, search: false }))
    expect(await error({})).toBeLessThanOrEqual(await error({ symmetric: true }))
  })

  it.each([16, 24])('a table that the head shares is stored once, width %i', async (hidden) => {
    const [model, original] = [0, 1].map(() => tinyLlamaModel(1, { hidden, vocabulary: 300, tied: true }))
    await apply(model, 'weight-only', { blockSize: 16 })
    verify(model.graph)
    const codes = model.graph.constants.get('model.embed_tokens.weight')!
    expect([codes.dtype, codes.shape]).toEqual(['uint8', [300, hidden]])
    const readers = codes.users.flatMap((node) => node.output.users.map(({ type }) => type)).sort()
    expect(readers).toEqual(['Gather', 'Transpose'])
    expect([...model.graph.constants.values()].filter(({ shape }) => sizeOf(shape as number[]) >= 300 * hidden)).toHaveLength(1)
    expect(await distanceOf(model.graph, original.graph)).toBeLessThanOrEqual(0.3)
  })

  it('a head of its own, and tables, have 8 bits; both stay as they are on request', async () => {
    const dtypes = async (options: Record<string, unknown>) => {
      const model = tinyLlamaModel(1, { vocabulary: 300 })
      await apply(model, 'weight-only', options)
      return ['lm_head.weight', 'model.embed_tokens.weight', 'model.layers.0.mlp.up_proj.weight'].map(
        (name) => model.graph.constants.get(name)!.dtype,
      )
    }
    expect(await dtypes({})).toEqual(['uint8', 'uint8', 'uint4'])
    expect(await dtypes({ embeddings: false })).toEqual(['float32', 'float32', 'uint4'])
    expect(await dtypes({ bits: 8, exclude: ['lm_head'] })).toEqual(['float32', 'uint8', 'uint8'])
  })

  it('does nothing twice', async () => {
    const model = tinyBertModel(1)
    await apply(model, 'weight-only')
    const { changed, refused } = await apply(model, 'weight-only')
    expect(changed).toBe(0)
    expect(refused).toContainEqual({ what: 'encoder.layer.0.intermediate.dense', why: 'its weight is uint4 already' })
    expect((await apply(model, 'dynamic-int8')).changed).toBe(0)
  })
})

describe('selection of layers', () => {
  const quantized = async (pass: string, options: Record<string, unknown>) => {
    const model = tinyBertModel(1)
    await apply(model, pass, options)
    return anatomyOf(model.graph).linears.flatMap(({ name, dtype }) => (dtype === 'float32' ? [] : [name]))
  }

  it.each(['dynamic-int8', 'static-int8', 'weight-only'])('%s takes what include names and exclude does not', async (pass) => {
    expect(await quantized(pass, { include: ['encoder.layer.0.**'], exclude: ['**.query', '**.output.dense'] })).toEqual([
      'encoder.layer.0.attention.self.key',
      'encoder.layer.0.attention.self.value',
      'encoder.layer.0.intermediate.dense',
    ])
    expect(await quantized(pass, { include: ['encoder.layer.?.intermediate.*'] })).toHaveLength(2)
  })

  it.each(['dynamic-int8', 'static-int8', 'weight-only'])('%s knows a typing error and names the nearest layer', async (pass) => {
    for (const options of [{ include: ['encoder.layer.1.intermediate.dens'] }, { exclude: ['encoder.layer.1.intermediate.dens'] }])
      await expect(quantized(pass, options)).rejects.toMatchObject({
        code: 'bad-input',
        message: expect.stringContaining('encoder.layer.1.intermediate.dens'),
        hint: 'Did you mean "encoder.layer.1.intermediate.dense"?',
      })
    // One star stays within one part of a name.
    await expect(quantized(pass, { include: ['encoder.*.dense'] })).rejects.toMatchObject({ code: 'bad-input' })
    // Signs of regular expressions mean themselves.
    await expect(quantized(pass, { include: ['encoder(.*)'] })).rejects.toMatchObject({ code: 'bad-input' })
  })

  it('an empty selection says why nothing happened', async () => {
    const result = await apply(tinyBertModel(1), 'weight-only', { exclude: ['**'] })
    expect(result).toMatchObject({ changed: 0, refused: [{ why: expect.any(String) }] })
  })
})

describe('blocks in any form', () => {
  it.each(['dynamic-int8', 'weight-only'] as const)('%s keeps a graph correct and near', async (pass) => {
    for (const attention of ['fused', 'expanded'] as const)
      for (const norm of ['before', 'after'] as const) {
        const build = () => new Model([['model', encoderOf({ attention, norm, feedForward: 'gate_up', projections: 'qkv' })]])
        const [model, original] = [build(), build()]
        await apply(model, pass, pass === 'weight-only' ? { blockSize: 16 } : {})
        verify(model.graph)
        expect(await distanceOf(model.graph, original.graph)).toBeLessThanOrEqual(pass === 'weight-only' ? 0.35 : 0.1)
      }
  })

  it('16-bit tables are not taken for float32 ones', async () => {
    const model = tinyBertModel(1, { vocabulary: 1100 })
    await apply(model, 'float16')
    for (const pass of ['dynamic-int8', 'weight-only']) expect((await apply(model, pass)).changed).toBe(0)
    verify(model.graph)
  })
})
