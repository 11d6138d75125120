import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { int } from '../../src/ir/attribute.js'
import { Graph } from '../../src/ir/graph.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { Net } from '../../src/nn/net.js'
import { type NDArray, ndarray, sizeOf } from '../../src/numbers/dtype.js'
import { type CodeDType, integerGrid } from '../../src/numbers/quantizer.js'
import { dataTypes } from '../../src/onnx/schema.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { quantizersAsArithmetic } from '../../src/train/float-quantizers.js'

interface Case {
  readonly shape: readonly number[]
  readonly dtype: CodeDType
  /** Axis of the scales; null for one scale. */
  readonly axis: number | null
  readonly hasZeroPoint: boolean
  readonly blockSize?: number
  readonly seed: number
}

/** Numbers to codes and back, and the codes themselves; many numbers lie beyond the grid, some between two codes. */
function quantizer({ shape, dtype, axis, hasZeroPoint, blockSize, seed }: Case): { graph: Graph; feeds: Record<string, NDArray> } {
  const random = new Random(seed)
  const net = new Net(new Graph())
  const own = axis === null ? [] : blockSize ? shape.with(axis, Math.ceil(shape[axis] / blockSize)) : [shape[axis]]
  const { min, max } = integerGrid(dtype)
  const zeros = Array.from({ length: sizeOf(own) }, () => min + random.integer(max - min + 1))
  const [x, scale] = [net.input('x', 'float32', shape), net.input('scale', 'float32', own)]
  const zeroPoint = hasZeroPoint ? net.graph.addConstant('zero', ArrayTensor.of(ndarray(dtype, own, zeros))) : null
  const place = { ...(axis === null ? {} : { axis: int(axis) }), ...(blockSize ? { block_size: int(blockSize) } : {}) }
  const codes = net.op('QuantizeLinear', [x, scale, zeroPoint], {
    ...place,
    ...(hasZeroPoint ? {} : { output_dtype: int(dataTypes[dtype]) }),
  })
  net.output('y', net.op('DequantizeLinear', [codes, scale, zeroPoint], place))
  net.output('codes', net.op('Cast', [codes], { to: int(dataTypes.float32) }))
  const numbers = Array.from({ length: sizeOf(shape) }, () => (random.integer(2) ? random.normal() * 20 : (random.integer(40) - 20) / 2))
  const scales = zeros.map(() => (random.integer(2) ? 0.5 : random.uniform() + 0.05))
  return { graph: net.graph, feeds: { x: ndarray('float32', shape, numbers), scale: ndarray('float32', own, scales) } }
}

const operators = (graph: Graph) => new Set([...graph.nodes()].map((node) => node.type))

describe('quantizers as arithmetic', () => {
  test('compute the same numbers, with one scale or one for each index of any axis', async () => {
    const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 })
    const cases = fc.tuple(shapes, fc.constantFrom('int4', 'uint4', 'int8', 'uint8', 'int16'), fc.nat(), fc.boolean(), fc.nat())
    await fc.assert(
      fc.asyncProperty(cases, async ([shape, dtype, axis, hasZeroPoint, seed]) => {
        const of = axis % (shape.length + 1)
        const { graph, feeds } = quantizer({ shape, dtype, axis: of === shape.length ? null : of, hasZeroPoint, seed })
        const expected = await evaluateGraph(graph, feeds)
        quantizersAsArithmetic(graph)
        expect(operators(graph)).not.toContain('QuantizeLinear')
        const found = await evaluateGraph(graph, feeds)
        for (const [name, { data }] of Object.entries(expected)) {
          // Zeros are of either sign.
          const plus = (array: NDArray['data']) => Array.from(array as Float32Array, (value) => value + 0)
          expect(plus(found[name].data)).toEqual(plus(data))
        }
      }),
      { numRuns: 200 },
    )
  })

  test('stay where scales are in blocks', () => {
    const { graph } = quantizer({ shape: [4, 3], dtype: 'int8', axis: 0, hasZeroPoint: false, blockSize: 2, seed: 1 })
    const before = operators(graph)
    quantizersAsArithmetic(graph)
    expect(operators(graph)).toEqual(before)
  })

  test('stay for whoever reads their codes as integers', async () => {
    const { graph, feeds } = quantizer({ shape: [2, 3], dtype: 'int8', axis: 1, hasZeroPoint: true, seed: 2 })
    const net = new Net(graph)
    const codes = [...graph.nodes()].find((node) => node.type === 'QuantizeLinear')!.output
    net.output('integers', net.op('Cast', [codes], { to: int(dataTypes.int32) }))
    const expected = await evaluateGraph(graph, feeds)
    quantizersAsArithmetic(graph)
    expect(operators(graph)).toContain('QuantizeLinear')
    expect(await evaluateGraph(graph, feeds)).toEqual(expected)
  })
})
