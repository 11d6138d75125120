import { InferenceSession, Tensor } from 'onnxruntime-node'
import { expect } from 'vitest'
import { Random } from '../../src/base/random.js'
import { type Attributes, Graph, type Node } from '../../src/ir/index.js'
import { allocate, type DType, type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { encodeOnnx } from '../../src/onnx/index.js'
import { evaluateNode } from '../../src/ops/evaluate.js'
import { inferNode } from '../../src/ops/infer.js'

/** One operator with its arrays. */
export interface Call {
  operator: string
  domain?: string
  inputs: readonly (NDArray | null)[]
  attributes?: Attributes
  outputs?: number
  opset?: number
}

function build({ operator, domain, inputs, attributes, outputs = 1, opset = 21 }: Call): { graph: Graph; node: Node } {
  const graph = new Graph('call')
  graph.opsets.set('', opset)
  const values = inputs.map((array, i) => array && graph.addInput(`input_${i}`, array.dtype, array.shape))
  const node = graph.add(operator, values, { domain, attributes, outputs })
  inferNode(node)
  graph.outputs.push(...node.outputs)
  return { graph, node }
}

/** Runs the reference, and checks that the shape rule said what came out. */
export function evaluate(call: Call): NDArray[] {
  const { node } = build(call)
  const results = evaluateNode(node, call.inputs, () => [])
  node.outputs.forEach((output, i) => {
    expect(output.dtype).toBe(results[i].dtype)
    const known = output.shape?.map((dim, axis) => (typeof dim === 'number' ? dim : results[i].shape[axis]))
    if (known) expect(known).toEqual(results[i].shape)
  })
  return results.slice(0, node.outputs.length)
}

/** Runs ONNX Runtime on the same call, without its graph rewriting. */
export async function runtime(call: Call): Promise<NDArray[]> {
  const { graph } = build(call)
  const session = await InferenceSession.create(await encodeOnnx(graph), { graphOptimizationLevel: 'disabled', logSeverityLevel: 4 })
  const feeds: Record<string, Tensor> = {}
  call.inputs.forEach((array, i) => {
    if (array) feeds[`input_${i}`] = new Tensor(array.dtype as 'float32', array.data as Float32Array, array.shape)
  })
  const results = await session.run(feeds)
  return graph.outputs.map(({ name }) => {
    const { type, dims, data } = results[name]
    return { dtype: type as DType, shape: dims, data: data as Float32Array }
  })
}

/** max|a - b| / max|b|. */
export function difference(a: NDArray, b: NDArray): number {
  expect(a.shape).toEqual(b.shape)
  const [x, y] = [numbersOf(a), numbersOf(b)]
  let [worst, largest] = [0, 0]
  for (let i = 0; i < x.length; i++) [worst, largest] = [Math.max(worst, Math.abs(x[i] - y[i])), Math.max(largest, Math.abs(y[i]))]
  expect(worst).not.toBeNaN()
  return largest ? worst / largest : worst
}

/** Checks the reference against ONNX Runtime. */
export async function expectAgreement(call: Call, tolerance = 1e-5): Promise<void> {
  const [reference, computed] = [evaluate(call), await runtime(call)]
  reference.forEach((array, i) => {
    expect(array.dtype).toBe(computed[i].dtype)
    expect(difference(array, computed[i]), `output ${i}`).toBeLessThanOrEqual(tolerance)
  })
}

/** Random arrays of one seed: normal floats, uniform codes. */
export class Arrays {
  readonly #random: Random

  constructor(name: string) {
    this.#random = new Random(7, name)
  }

  normal(...shape: number[]): NDArray {
    return { dtype: 'float32', shape, data: this.#random.normals(sizeOf(shape)) }
  }

  /** Positive numbers around 0.05. */
  scales(...shape: number[]): NDArray {
    return ndarray(
      'float32',
      shape,
      Float32Array.from({ length: sizeOf(shape) }, () => 0.01 + 0.08 * this.#random.uniform()),
    )
  }

  codes(dtype: DType, min: number, max: number, ...shape: number[]): NDArray {
    const values = Array.from({ length: sizeOf(shape) }, () => min + this.#random.integer(max - min + 1))
    return sizeOf(shape) ? ndarray(dtype, shape, values) : { dtype, shape, data: allocate(dtype, 0) }
  }
}

/** An array of given numbers. */
export function numbers(dtype: DType, shape: readonly number[], values: readonly number[]): NDArray {
  return ndarray(dtype, shape, values)
}
