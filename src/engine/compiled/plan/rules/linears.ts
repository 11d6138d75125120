import type { Value } from '../../../../ir/node.js'
import { LazyTensor, type Tensor, transposed } from '../../../../ir/tensor.js'
import type { Dequantized } from '../meaning.js'
import { presentBlocks } from '../present-blocks.js'
import type { View, Weight } from '../steps.js'
import type { TranslationRules, Translator } from '../translator.js'

/** Products with constant matrices, and what is added to them. */
export const linearRules: TranslationRules = {
  MatMul(node, translator) {
    const [left, right] = [node.input(0)!, node.input(1)!]
    const { graph } = translator
    if (translator.meaning(left)?.kind === 'ones') return sumTokens(left, right, node.output, translator)
    const outputs = right.shape?.[1]
    if (right.shape?.length !== 2 || typeof outputs !== 'number') return false
    const input = translator.meaning(left)
    if (input?.kind === 'codes' && input.dequantized) {
      const weight = integerWeight(right, translator)
      if (!weight) return false
      const { view, quantization } = input
      return addLinear(view, { kind: 'int8', ...weight, input: quantization })
    }
    const rows = translator.rows(left)
    const weight = floatWeight(right, translator)
    if (!rows || !weight || graph === null) return false
    return addLinear(rows.view, weight)

    function addLinear(view: View, weight: Weight): true {
      return translator.addRows(node.output, view.buffer.per, [outputs as number], (output) => ({
        kind: 'linear',
        input: view,
        weight,
        output,
      }))
    }
  },

  Gemm(node, translator) {
    const rows = translator.rows(node.input(0))
    const [right, bias] = [node.input(1), node.input(2)]
    const plain = node.float('alpha', 1) === 1 && node.float('beta', 1) === 1 && !node.int('transA', 0)
    if (!rows || !plain || !right?.tensor || (bias && !bias.tensor)) return false
    const values = node.int('transB', 0) ? transposed(right.tensor) : right.tensor
    const term = bias?.tensor ?? undefined
    const weight = presentBlocks(values) ?? ({ kind: 'float32', values } as const)
    return translator.addRows(node.output, rows.view.buffer.per, [values.shape[1]], (output) => ({
      kind: 'linear',
      input: rows.view,
      weight,
      bias: term,
      output,
    }))
  },

  Transpose(node, translator) {
    const perm = node.ints('perm')
    const meaning = translator.meaning(node.input(0))
    const tensor = translator.tensor(node.input(0))
    const swaps = (tensor?.shape.length ?? perm?.length) === 2 && (!perm || perm[0] === 1)
    if (swaps && tensor) return translator.mean(node.output, { kind: 'constant', tensor: transposed(tensor) })
    if (!swaps || meaning?.kind !== 'dequantized' || meaning.weight.kind !== 'axis') return false
    const { codes, scale, axis } = meaning.weight
    return translator.mean(node.output, { kind: 'dequantized', weight: { kind: 'axis', codes: transposed(codes), scale, axis: 1 - axis } })
  },
}

/** MatMul(mask [batch, 1, sequence], rows [batch, sequence, columns]): the sum over the tokens of each sequence. */
function sumTokens(mask: Value, value: Value, output: Value, translator: Translator): boolean {
  const rows = translator.rows(value)
  if (!rows || mask.shape?.length !== 3 || mask.shape[1] !== 1) return false
  return translator.addRows(output, 'sequence', [1, rows.view.columns], (view) => ({
    kind: 'pool',
    how: 'sum',
    input: rows.view,
    output: view,
  }))
}

/** Codes [inputs, outputs] with a scale for each output. */
function integerWeight(value: Value, translator: Translator): { codes: Tensor; scale: Tensor } | undefined {
  const meaning = translator.meaning(value)
  if (meaning?.kind !== 'dequantized' || meaning.weight.kind !== 'axis' || meaning.weight.axis !== 1) return undefined
  const { codes, scale } = meaning.weight
  return { codes, scale: repeated(scale, codes.shape[1]) }
}

/** A matrix for rows of float32. One that is quantized in blocks keeps its codes. */
function floatWeight(value: Value, translator: Translator): Weight | undefined {
  const values = translator.tensor(value)
  if (values) return presentBlocks(values) ?? { kind: 'float32', values }
  const meaning = translator.meaning(value)
  if (meaning?.kind !== 'dequantized') return undefined
  const { weight } = meaning
  return weight.kind === 'blocks' ? weight : { kind: 'float32', values: floatsOf(weight) }
}

/** The numbers that codes stand for. */
function floatsOf({ codes, scale, axis }: Extract<Dequantized, { kind: 'axis' }>): Tensor {
  const [rows, columns] = codes.shape
  return new LazyTensor('float32', codes.shape, async () => {
    const [values, scales] = [(await codes.read()) as Int8Array, (await scale.read()) as Float32Array]
    const at = scales.length === 1 ? () => 0 : axis === 0 ? (row: number) => row : (_: number, column: number) => column
    const result = new Float32Array(rows * columns)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        result[row * columns + column] = values[row * columns + column] * scales[at(row, column)]
    return result
  })
}

/** One number as often as needed. */
export function repeated(tensor: Tensor, count: number): Tensor {
  if (tensor.size === count) return tensor
  return new LazyTensor('float32', [count], async () => new Float32Array(count).fill(Number((await tensor.read())[0])))
}
