import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { flatKernels } from '#flat-kernels'
import { Random } from '../../src/base/random.js'
import { Graph } from '../../src/ir/graph.js'
import { Net } from '../../src/nn/net.js'
import { optimizerFrom } from '../../src/train/optimizers/index.js'
import type { ElementwiseOptimizer } from '../../src/train/optimizers/optimizer.js'
import { flatArithmetic, openFlat } from '../../src/train/pieces.js'
import { updateGraph } from '../../src/train/updater.js'

/** Numbers of very different sizes, zeros of both signs among them. */
const noise = new Random(1).normals(2 ** 17).map((x, i) => (i % 7 ? x * 2 ** ((i % 61) - 40) : i % 2 ? 0 : -0))

function numbers(seed: number, length: number): Float32Array {
  return noise.slice(seed % 1000, (seed % 1000) + length)
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

const optimizers = [
  optimizerFrom({ name: 'adamw' }),
  optimizerFrom({ name: 'sgd' }),
  optimizerFrom({ name: 'sgd', momentum: 0.9 }),
  optimizerFrom({ name: 'sgd', momentum: 0.9, nesterov: true }),
  optimizerFrom({ name: 'lion' }),
].filter((optimizer): optimizer is ElementwiseOptimizer => 'state' in optimizer)

describe.skipIf(!flatKernels())('machine code and the engine (skipped where machine code does not run)', () => {
  it.each(optimizers.map((optimizer, i) => [`${optimizer.name}, ${i}`, optimizer] as const))(
    'update to the same bits: %s',
    async (_, optimizer) => {
      const length = 2 ** 16 + 5
      const results = []
      for (const kernels of [flatKernels(), null]) {
        const graph = await openFlat(updateGraph(optimizer, ['n']), kernels)
        const memories = Object.fromEntries(
          ['parameter', ...optimizer.state].map((name, i) => [name, numbers(i, length).map(i === 2 ? Math.abs : Number)]),
        )
        const next = Object.fromEntries(Object.entries(memories).map(([name, memory]) => [`${name}/next`, memory]))
        for (let step = 1; step <= 3; step++) {
          const scalars = optimizer.scalars({ step, learningRate: 1e-3, weightDecay: 0.01 })
          await graph.run({ ...memories, gradient: numbers(10 + step, length) }, next, { ...scalars, factor: 0.7 })
        }
        await graph.dispose()
        results.push(memories)
      }
      expect(results[0]).toEqual(results[1])
      expect(results[0].parameter).not.toEqual(numbers(0, length))
    },
  )

  it('refuses arrays of different lengths and missing ones', async () => {
    const net = new Net(new Graph())
    net.output('y', net.op('Mul', [net.input('x', 'float32', ['n']), net.input('factor', 'float32', [])]))
    const graph = await openFlat(net.graph)
    const x = Float32Array.of(1, 2, 3)
    await expect(graph.run({ x }, { y: new Float32Array(2) }, { factor: 2 })).rejects.toThrow(/output y .* 2 elements/)
    await expect(graph.run({ x }, { y: x })).rejects.toThrow(/scalar factor/)
    await expect(graph.run({}, { y: x }, { factor: 2 })).rejects.toThrow(/input x/)
    await graph.run({ x }, { y: x }, { factor: 2 })
    expect([...x]).toEqual([2, 4, 6])
    await graph.dispose()
  })
})

describe.each([
  ['machine code', flatKernels()],
  ['plain loops', null],
] as const)('arithmetic of flat memory, %s', (name, kernels) => {
  const lengths = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 2 ** 14 - 40, max: 2 ** 14 + 40 }))

  it.skipIf(name === 'machine code' && !kernels)('norms are those of float64, sums those of float32', async () => {
    const arithmetic = await flatArithmetic(kernels)
    const property = fc.asyncProperty(lengths, fc.nat(), async (length, seed) => {
      const [x, y] = [numbers(seed, length), numbers(seed + 1, length)]
      const norm = Math.hypot(...x.subarray(0, 1000), Math.sqrt(x.subarray(1000).reduce((sum, value) => sum + value * value, 0)))
      expect(Math.abs((await arithmetic.norm(x)) - norm)).toBeLessThanOrEqual(1e-12 * norm)
      const sum = x.map((value, i) => value + y[i])
      await arithmetic.add(x, y)
      expect(bytesOf(x).equals(bytesOf(sum))).toBe(true)
    })
    await fc.assert(property, { numRuns: 30 })
    await arithmetic.dispose()
  })

  it.skipIf(name === 'machine code' && !kernels)('norms are not finite where an element is not, and do not overflow', async () => {
    const { norm } = await flatArithmetic(kernels)
    expect(await norm(Float32Array.of(1, Number.NaN))).toBeNaN()
    expect(await norm(Float32Array.of(1, Number.NEGATIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY)
    expect(await norm(new Float32Array(4).fill(2 ** 120))).toBe(2 ** 121)
  })
})

it.skipIf(!flatKernels())('norms have the same bits in machine code and in plain loops', async () => {
  const [native, plain] = [await flatArithmetic(), await flatArithmetic(null)]
  for (const length of [1, 15, 16, 17, 33, 1000, 70_003])
    expect(await native.norm(numbers(length, length))).toBe(await plain.norm(numbers(length, length)))
})
