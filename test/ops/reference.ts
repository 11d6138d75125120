import { expect } from 'vitest'
import { type Attributes, type Dim, Graph, type Node } from '../../src/ir/index.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { isInteger, type NDArray } from '../../src/numbers/dtype.js'
import { evaluateNode } from '../../src/ops/evaluate.js'
import { inferNode } from '../../src/ops/infer.js'

function build(operator: string, inputs: readonly (NDArray | null)[], attributes: Attributes, outputs: number, constants: boolean): Node {
  const graph = new Graph('reference')
  const values = inputs.map((array, i) => {
    if (!array) return null
    return constants && isInteger(array.dtype) && i > 0
      ? graph.addConstant(`input_${i}`, ArrayTensor.of(array))
      : graph.addInput(`input_${i}`, array.dtype, array.shape)
  })
  const node = graph.add(operator, values, { attributes, outputs })
  inferNode(node)
  return node
}

function agrees(dim: Dim, actual: number): boolean {
  return typeof dim === 'string' || dim === actual
}

/**
 * Runs the reference, and checks that the shape rule said what came out: what it can know without the integer inputs,
 * and with them (as constants) everything but what the elements decide.
 */
export function reference(operator: string, inputs: readonly (NDArray | null)[], attributes: Attributes = {}, outputs = 1): NDArray[] {
  const node = build(operator, inputs, attributes, outputs, false)
  const results = evaluateNode(node, inputs, () => []).slice(0, outputs)
  const informed = build(operator, inputs, attributes, outputs, true)
  const exact = !['NonZero', 'Compress', 'Unique', 'Range'].includes(operator)
  results.forEach((result, i) => {
    for (const { dtype, shape } of [node.outputs[i], informed.outputs[i]]) {
      expect(dtype).toBe(result.dtype)
      if (shape) expect(shape.length === result.shape.length && shape.every((dim, axis) => agrees(dim, result.shape[axis]))).toBe(true)
    }
    if (exact) expect(informed.outputs[i].shape).toEqual(result.shape)
  })
  return results
}

/** The elements of an array as numbers. */
export function listOf(array: NDArray): number[] {
  return Array.from(array.data as ArrayLike<number | bigint>, Number)
}
