import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { flatKernels } from '../../../../src/engine/compiled/flat-kernels.browser.js'
import { sumLanes } from '../../../../src/engine/compiled/flat-kernels.js'
import { mostArrays, pieceElements } from '../../../../src/engine/compiled/wasm/loaded-loop.js'
import { Graph } from '../../../../src/ir/graph.js'
import { Net } from '../../../../src/nn/net.js'
import { optimizerFrom, optimizerNames } from '../../../../src/train/optimizers/index.js'
import type { ElementwiseOptimizer } from '../../../../src/train/optimizers/optimizer.js'
import { flatArithmetic } from '../../../../src/train/pieces.js'
import { updateGraph } from '../../../../src/train/updater.js'
import { type ElementwiseCase, expectedOutputs, feedsFor, randomCase } from '../x64/elementwise-cases.js'

const kernels = flatKernels()
const scalarsOf = ({ graph, feeds }: ElementwiseCase) =>
  Object.fromEntries(graph.inputs.filter(({ shape }) => !shape!.length).map(({ name }) => [name, Number(feeds[name].data[0])]))

type Place = (elements: number) => Float32Array

/** Where arrays may lie: in memory of WebAssembly, or anywhere. */
const places: readonly (readonly [string, Place])[] = [
  ['where they are', (elements) => kernels.allocate!(elements)!],
  ['by copies', (elements) => new Float32Array(elements)],
]

/** Runs a case; in place, the first outputs lie over the first inputs. Arrays have neighbours, which must stay as they are. */
async function outputsOf(one: ElementwiseCase, place: Place): Promise<Record<string, Float32Array>> {
  const graph = (await kernels.elementwise(one.graph))!
  const neighbours: Float32Array[] = []
  const array = () => {
    const whole = place(one.length + 2).fill(7)
    neighbours.push(whole.subarray(0, 1), whole.subarray(one.length + 1))
    return whole.subarray(1, one.length + 1)
  }
  const vectors = one.graph.inputs.filter(({ shape }) => shape!.length).map(({ name }) => name)
  const inputs = Object.fromEntries(vectors.map((name) => [name, array()]))
  for (const name of vectors) inputs[name].set(one.feeds[name].data as Float32Array)
  const outputs = Object.fromEntries(one.graph.outputs.map(({ name }, i) => [name, (one.inPlace && inputs[vectors[i]]) || array()]))
  await graph.run(inputs, outputs, scalarsOf(one))
  await graph.dispose()
  expect(neighbours.every(([element]) => element === 7)).toBe(true)
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, Float32Array.from(output)]))
}

const updates = [
  ...optimizerNames.map((name) => optimizerFrom({ name })),
  optimizerFrom({ name: 'sgd', momentum: 0.9 }),
  optimizerFrom({ name: 'sgd', momentum: 0.9, nesterov: true }),
].filter((optimizer): optimizer is ElementwiseOptimizer => 'state' in optimizer)

function updateCase(optimizer: ElementwiseOptimizer, length: number): ElementwiseCase {
  const graph = updateGraph(optimizer, ['n'])
  const order = ['parameter', ...optimizer.state]
  graph.inputs.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  return { graph, length, feeds: feedsFor(graph, length, new Random(length)), inPlace: false }
}

describe.each(places)('elementwise graphs as WebAssembly, arrays %s', (_, place) => {
  it('give the bits of the reference evaluation', async () => {
    const cases = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 70 }), fc.boolean())
    const property = fc.asyncProperty(cases, async (words) => {
      const one = randomCase(...words)
      expect(await outputsOf(one, place)).toEqual(await expectedOutputs(one))
    })
    await fc.assert(property, { numRuns: 200 })
  })

  it.each(updates.map((optimizer, i) => [`${optimizer.name}, ${i}`, optimizer] as const))('update: %s', async (_name, optimizer) => {
    for (const length of [1, 30, 2 * pieceElements + 5]) {
      const one = updateCase(optimizer, length)
      expect(await outputsOf(one, place)).toEqual(await expectedOutputs(one))
    }
  })
})

describe('elementwise graphs as WebAssembly', () => {
  it('work on arrays of several memories', async () => {
    const graph = (await kernels.elementwise(updateGraph(updates[0], ['n'])))!
    const length = pieceElements + 3
    const names = ['parameter', 'gradient', ...updates[0].state]
    const run = async (place: Place) => {
      const inputs = Object.fromEntries(names.map((name) => [name, place(length)]))
      names.forEach((name, i) => void inputs[name].set(new Random(i).normals(length).map(Math.abs)))
      const next = Object.fromEntries(names.filter((name) => name !== 'gradient').map((name) => [`${name}/next`, inputs[name]]))
      await graph.run(inputs, next, { ...updates[0].scalars({ step: 2, learningRate: 0.01, weightDecay: 0 }), factor: 1 })
      return Object.values(inputs).map((array) => Float32Array.from(array))
    }
    let turn = 0
    const mixed = await run((elements) => places[turn++ % 2][1](elements))
    expect(mixed).toEqual(await run(places[0][1]))
    await graph.dispose()
  })

  it('leave other graphs to others', async () => {
    const many = new Net(new Graph())
    const inputs = Array.from({ length: mostArrays }, (_, i) => many.input(`x${i}`, 'float32', ['n']))
    many.output(
      'y',
      inputs.reduce((sum, input) => many.op('Add', [sum, input])),
    )
    expect(await kernels.elementwise(many.graph)).toBeUndefined()
    const net = new Net(new Graph())
    net.output('y', net.op('Exp', [net.input('x', 'float32', ['n'])]))
    expect(await kernels.elementwise(net.graph)).toBeUndefined()
  })

  it('refuse arrays of different lengths and missing ones', async () => {
    const net = new Net(new Graph())
    net.output('y', net.op('Mul', [net.input('x', 'float32', ['n']), net.input('factor', 'float32', [])]))
    const graph = (await kernels.elementwise(net.graph))!
    const x = Float32Array.of(1, 2, 3)
    await expect(graph.run({ x }, { y: new Float32Array(2) }, { factor: 2 })).rejects.toThrow(/output y .* 2 elements/)
    await expect(graph.run({ x }, { y: x })).rejects.toThrow(/scalar factor/)
    await expect(graph.run({}, { y: x }, { factor: 2 })).rejects.toThrow(/input x/)
    await expect(graph.run({ x }, {}, { factor: 2 })).rejects.toThrow(/output y/)
  })
})

describe('sums of squares in WebAssembly', () => {
  const numbers = (length: number) => new Random(length).normals(length).map((x, i) => x * 2 ** ((i % 90) - 45))

  it.each([0, 1, 15, 16, 17, 1001, 4 * pieceElements + 70])('of %i elements are those of plain loops, bit for bit', async (length) => {
    const [own, plain] = [await flatArithmetic(kernels), await flatArithmetic(null)]
    for (const [, place] of places) {
      const memory = place(length + 1).subarray(1)
      memory.set(numbers(length))
      expect((await kernels.sumsOfSquares(memory)).length).toBe(2 * sumLanes)
      expect(await own.norm(memory)).toBe(await plain.norm(memory))
    }
    await own.dispose()
  })

  it('may be asked for at the same time', async () => {
    const memories = [numbers(3 * pieceElements), numbers(pieceElements + 9)]
    const alone = [await kernels.sumsOfSquares(memories[0]), await kernels.sumsOfSquares(memories[1])]
    expect(await Promise.all(memories.map((memory) => kernels.sumsOfSquares(memory)))).toEqual(alone)
  })
})

describe('where threads may not share memory', () => {
  afterEach(() => void vi.unstubAllGlobals())

  it('loops work by copies', async () => {
    vi.stubGlobal('crossOriginIsolated', false)
    vi.resetModules()
    const { flatKernels: unshared } = await import('../../../../src/engine/compiled/flat-kernels.browser.js')
    const alone = unshared()
    expect(alone.allocate!(1)).toBeUndefined()
    const net = new Net(new Graph())
    net.output('y', net.op('Neg', [net.input('x', 'float32', ['n'])]))
    const x = new Random(1).normals(pieceElements + 3)
    const y = new Float32Array(x.length)
    await (await alone.elementwise(net.graph))!.run({ x }, { y })
    expect(y).toEqual(x.map((value) => -value))
    expect(await alone.sumsOfSquares(x)).toEqual(await kernels.sumsOfSquares(x))
  })
})
