import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { MemorySource } from '../../src/base/bytes.js'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import { ggufFormats } from '../../src/formats/gguf-blocks.js'
import { FiniteTensor, GgufTensor } from '../../src/formats/index.js'
import type { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import type { Value } from '../../src/ir/node.js'
import { LazyTensor, type Tensor, transposed } from '../../src/ir/tensor.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { lower, type TargetName } from '../../src/lower/index.js'
import { Net } from '../../src/nn/net.js'
import { Parameters } from '../../src/nn/parameters.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { roundToMinifloat } from '../../src/numbers/minifloat.js'
import type { WeightBlocks } from '../../src/numbers/weight-blocks.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { closeQuantizers, openQuantizers } from '../../src/passes/training/fake-quantization.js'
import { raise } from '../../src/raise/index.js'
import { modelOf, tinyLlama } from '../support/checkpoints.js'
import { f16Bytes, joined } from '../support/gguf.js'
import { codes, distanceOf, farthest, probes, throughFile, wholeText } from '../support/graphs.js'
import { apply } from '../support/passes.js'

const targets: readonly TargetName[] = ['ort-node', 'ort-wasm']

/** A matrix [rows, columns] of random codes in blocks along its rows. */
class BlockTensor extends LazyTensor {
  readonly #blocks: WeightBlocks

  constructor(rows: number, columns: number, blocks: WeightBlocks) {
    const { codes, scales, zeroPoint, minimums, blockSize } = blocks
    super('float32', [rows, columns], async () =>
      Float32Array.from(codes, (code, i) => {
        const block = Math.floor(i / blockSize)
        return scales[block] * (code - zeroPoint) + (minimums?.[block] ?? 0)
      }),
    )
    this.#blocks = blocks
  }

  override async blocks(): Promise<WeightBlocks> {
    return this.#blocks
  }
}

function randomBlocks(random: Random, rows: number, columns: number, blockSize: number, size = 1): BlockTensor {
  const count = (rows * columns) / blockSize
  const scales = roundToMinifloat('float16', random.normals(count, size / 8))
  const minimums = random.normals(count, size)
  const codes = Uint8Array.from({ length: rows * columns }, () => random.integer(16))
  return new BlockTensor(rows, columns, { dtype: 'uint4', codes, axis: 1, blockSize, scales, zeroPoint: 0, minimums })
}

/** x W, as checkpoints hold W, with a bias or without. */
function linearModel(weights: readonly Tensor[], biased = false): Model {
  const names = weights.map((_, i) => `layer${i}`)
  const net = new Net(
    undefined,
    new Parameters(new Map(weights.map((tensor, i) => [`${names[i]}.weight`, new FiniteTensor(names[i], tensor)]))),
  )
  const [, inputs] = weights[0].shape
  const x = net.input('x', 'float32', ['batch', 'rows', inputs])
  weights.forEach(({ shape: [outputs] }, i) => {
    const module = net.at(names[i])
    const product = module.op('MatMul', [x, module.matrix('weight', inputs, outputs)])
    const bias = biased ? net.floats(`${names[i]}.bias`, [outputs], new Random(i).normals(outputs)) : null
    net.output(`y${i}`, bias ? module.op('Add', [product, bias]) : product)
  })
  tidy(net.graph)
  return new Model([['model', net.graph]])
}

/** What a value holds that is computed from constants alone. */
async function contentsOf(graph: Graph, value: Value): Promise<Float32Array> {
  const copy = graph.clone()
  copy.outputs.splice(0, copy.outputs.length, copy.value(value.name)!)
  copy.prune()
  return (await evaluateGraph(copy, Object.fromEntries(graph.inputs.map((input) => [input.name, ndarray('float32', [0, 0, 0], [])]))))[
    value.name
  ].data as Float32Array
}

const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length)

function counts(graph: Graph): Record<string, number> {
  const result: Record<string, number> = {}
  for (const { type } of graph.nodes()) result[type] = (result[type] ?? 0) + 1
  return result
}

/** Lowering keeps what the graph computes, and raising gives it back, codes and minimums included. */
async function expectLaw(graph: Graph, feeds = probes(graph)): Promise<void> {
  const text = await wholeText(graph)
  for (const target of targets) {
    const lowered = lower(graph, target)
    verify(lowered)
    expect(await distanceOf(lowered, graph, feeds)).toBeLessThanOrEqual(2e-5)
    if (target === 'ort-wasm') continue // Block codes become floats there, when a graph is loaded.
    for (const raised of [lowered.clone(), await throughFile(lowered)]) {
      raise(raised)
      verify(raised)
      expect(await wholeText(raised)).toBe(text)
      expect(await codes(raised)).toEqual(await codes(graph))
    }
  }
}

describe('a tensor that is quantized in blocks', () => {
  const named = Object.values(ggufFormats).filter(({ name }) => ['Q4_0', 'Q4_1', 'Q8_0'].includes(name))

  it.each(named.map((format) => [format.name, format] as const))(
    '%s of GGUF: every number stays the same float32',
    async (name, format) => {
      const factors = name === 'Q4_1' ? 2 : 1
      const half = fc.integer({ min: -2000, max: 2000 }).map((x) => x / 1000)
      const block = fc
        .tuple(fc.array(half, { minLength: factors, maxLength: factors }), fc.uint8Array({ minLength: 32, maxLength: 32 }))
        .map(([numbers, bytes]) => joined(f16Bytes(numbers), bytes).subarray(0, format.bytes))
      const matrix = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 })).chain(([rows, width]) =>
        fc.array(block, { minLength: rows * width, maxLength: rows * width }).map((blocks) => {
          return new GgufTensor(format, [rows, width * format.size], new MemorySource(joined(...blocks)), 0)
        }),
      )
      await fc.assert(
        fc.asyncProperty(matrix, async (tensor) => {
          const model = linearModel([tensor])
          const float = (await model.graph.constants.get('layer0.weight')!.tensor!.read()) as Float32Array
          const { details } = await apply(model, 'weight-only', { bits: name === 'Q8_0' ? 8 : 4, blockSize: 32 })
          expect(details).toHaveLength(1)
          tidy(model.graph)
          const [linear] = anatomyOf(model.graph).linears
          expect([linear.name, linear.inputs, linear.outputs]).toEqual(['layer0', tensor.shape[1], tensor.shape[0]])
          expect(bits(await contentsOf(model.graph, linear.product.input(1)!))).toEqual(bits(float))
          await expectLaw(model.graph)
        }),
        { numRuns: 15 },
      )
    },
  )

  it('gives its blocks through checks and transposition, and none once its numbers changed', async () => {
    const tensor = randomBlocks(new Random(1), 6, 64, 32)
    const blocks = (await transposed(new FiniteTensor('w', tensor)).blocks())!
    expect([blocks.axis, blocks.blockSize, blocks.codes.length, blocks.scales.length]).toEqual([0, 32, 6 * 64, 6 * 2])
    const original = await tensor.blocks()
    for (let row = 0; row < 6; row++)
      for (let column = 0; column < 64; column++) {
        expect(blocks.codes[column * 6 + row]).toBe(original.codes[row * 64 + column])
        const [at, from] = [Math.floor(column / 32) * 6 + row, row * 2 + Math.floor(column / 32)]
        expect([blocks.scales[at], blocks.minimums![at]]).toEqual([original.scales[from], original.minimums![from]])
      }
    expect(await transposed(transposed(tensor)).blocks()).toEqual(original)
    expect(await new LazyTensor('float32', [6, 64], () => tensor.read()).blocks()).toBeNull()
  })

  it('is quantized anew where other blocks are wanted', async () => {
    for (const options of [{ bits: 8 }, { blockSize: 16 }, { blockSize: 64 }, { symmetric: true }]) {
      const model = linearModel([randomBlocks(new Random(2), 8, 64, 32)])
      expect(await apply(model, 'weight-only', options)).toMatchObject({ changed: 1, details: [] })
      expect(model.graph.constants.has('layer0.weight_minimum')).toBe(false)
    }
  })

  it('is trained as other quantized weights are: opened and closed, the codes are the same', async () => {
    const model = linearModel([randomBlocks(new Random(3), 8, 64, 32)])
    await apply(model, 'weight-only')
    const [opened, before] = [model.graph.clone(), await codes(model.graph)]
    const weights = openQuantizers(opened)
    expect(weights).toHaveLength(1)
    expect(await distanceOf(opened, model.graph, probes(model.graph))).toBeLessThanOrEqual(1e-6)
    await closeQuantizers(model.graph, opened, weights)
    expect(await codes(model.graph)).toEqual(before)
  })
})

describe('products with blocks that have minimums', () => {
  it.each([16, 32, 64, 128])(
    'blocks of %i: the law, and no farther on the engine than activations in 8-bit blocks allow',
    async (blockSize) => {
      const [rows, inputs, outputs] = [5, 256, 24]
      const random = new Random(blockSize)
      const weight = randomBlocks(random, outputs, inputs, blockSize)
      const model = linearModel([weight], blockSize === 32)
      await apply(model, 'weight-only', { blockSize })
      tidy(model.graph)
      const x = random.normals(rows * inputs)
      const feeds = { x: ndarray('float32', [1, rows, inputs], x) }
      await expectLaw(model.graph, [feeds])
      const session = await openGraph(model.graph)
      const [got, expected] = [numbersOf((await session.run(feeds))['y0']), numbersOf((await evaluateGraph(model.graph, feeds))['y0'])]
      await session.dispose()
      const { codes: all, scales } = await weight.blocks()
      for (let row = 0; row < rows; row++)
        for (let n = 0; n < outputs; n++) {
          // Each activation is at most half a step of its block's grid (largest / 127) away from its code; the sums of blocks are exact.
          let bound = 1e-3
          for (let start = 0; start < inputs; start += blockSize) {
            let [largest, weights] = [0, 0]
            for (let k = start; k < start + blockSize; k++) {
              largest = Math.max(largest, Math.abs(x[row * inputs + k]))
              weights += Math.abs(scales[(n * inputs + start) / blockSize] * (all[n * inputs + k] - 8))
            }
            bound += (largest / 254) * weights
          }
          expect(Math.abs(got[row * outputs + n] - expected[row * outputs + n])).toBeLessThanOrEqual(bound)
        }
    },
  )

  it('sums of blocks are made once for all products that read a value', async () => {
    const random = new Random(4)
    const model = linearModel([24, 8, 8].map((outputs) => randomBlocks(random, outputs, 64, 32)))
    await apply(model, 'weight-only')
    tidy(model.graph)
    const lowered = counts(lower(model.graph, 'ort-node'))
    expect(lowered).toMatchObject({ 'com.microsoft.MatMulNBits': 3, ReduceSum: 1, MatMul: 3 })
    expect(lowered['DequantizeLinear'] ?? 0).toBe(0)
    await expectLaw(model.graph)
  })

  it.each([true, false])('in 16-bit floats; kept: %s', async (kept) => {
    const weight = randomBlocks(new Random(7), 24, 64, 32, 0.1)
    const model = linearModel([kept ? weight : new LazyTensor('float32', weight.shape, () => weight.read())])
    const [feeds] = probes(model.graph)
    const expected = await evaluateGraph(model.graph, feeds)
    await apply(model, 'weight-only')
    await apply(model, 'float16')
    tidy(model.graph)
    const lowered = lower(model.graph, 'ort-node')
    raise(lowered)
    expect(await wholeText(lowered)).toBe(await wholeText(model.graph))
    const session = await openGraph(model.graph)
    expect(farthest(await session.run(feeds), expected)).toBeLessThanOrEqual(kept ? 0.02 : 0.1)
    await session.dispose()
  })

  it('a decoder: roles are found, the law holds, the engine computes it', async () => {
    const sizes = { hidden: 64, heads: 4, kvHeads: 2, headSize: 16, inner: 96, vocabulary: 300, tied: true }
    const { config, tensors } = tinyLlama(new Random(5, 'tiny llama'), sizes)
    for (const [name, { shape }] of tensors)
      if (/_proj/.test(name)) tensors.set(name, randomBlocks(new Random(6, name), shape[0], shape[1], 32, 0.6 / Math.sqrt(shape[1])))
    const model = modelOf({ config, tensors })
    const original = model.clone()
    const { details } = await apply(model, 'weight-only')
    expect(details).toHaveLength(2 * 7)
    tidy(model.graph)
    expect(anatomyOf(model.graph).blocks.map(({ linears }) => [...linears.keys()].sort())).toEqual(
      new Array(2).fill(['down', 'gate', 'k', 'o', 'q', 'up', 'v']),
    )
    const lowered = counts(lower(model.graph, 'ort-node'))
    expect(lowered).toMatchObject({ 'com.microsoft.MatMulNBits': 2 * 7 + 1, ReduceSum: 2 * 4 })
    await expectLaw(model.graph)
    const session = await openGraph(model.graph)
    for (const feeds of probes(model.graph)) {
      const expected = await evaluateGraph(model.graph, feeds)
      expect(farthest(await session.run(feeds), expected)).toBeLessThanOrEqual(0.06)
      // Only the table of 300 words was rounded, to 8 bits.
      expect(farthest(expected, await evaluateGraph(original.graph, feeds))).toBeLessThanOrEqual(0.03)
    }
    await session.dispose()
  })
})
