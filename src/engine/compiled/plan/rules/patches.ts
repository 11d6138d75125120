import type { Node, Value } from '../../../../ir/node.js'
import { LazyTensor, reshaped, type Tensor, transposed } from '../../../../ir/tensor.js'
import type { TranslationRules, Translator } from '../translator.js'

/** Images cut into pieces, each a token. */
export const patchRules: TranslationRules = {
  Conv(node, translator) {
    const image = node.input(0)!
    const [weight, bias] = [node.input(1)?.tensor, node.input(2)?.tensor]
    const size = weight?.shape[2]
    const isImage = translator.images.has(image.name)
    const strides = node.ints('strides') ?? []
    const isPieces =
      weight?.shape.length === 4 && size === weight.shape[3] && strides.every((stride) => stride === size) && strides.length === 2
    const isPlain = (node.ints('pads') ?? []).every((pad) => pad === 0) && node.int('group', 1) === 1
    if (!isImage || !isPieces || !isPlain || size === undefined) return false
    const [channels, height, width] = image.shape!.slice(1).map(Number)
    if (![channels, height, width].every(Number.isInteger) || height % size || width % size) return false
    const [outputs, elements] = [weight.shape[0], channels * size * size]
    const matrix = transposed(reshaped(weight, [outputs, elements]))
    return translator.mean(node.output, {
      kind: 'patches',
      rows(leading, tokens) {
        translator.tokens = tokens
        const pieces = translator.buffer(image, elements)
        translator.add(image.name, { kind: 'patches', input: image.name, channels, height, width, size, leading, output: pieces })
        const output = translator.buffer(node.output, outputs)
        return translator.add(node.output.name, {
          kind: 'linear',
          input: pieces,
          weight: { kind: 'float32', values: matrix },
          bias: bias ?? undefined,
          output,
        })
      },
    })
  },

  Reshape: sameAs,

  Transpose(node, translator) {
    const isRows = node.ints('perm')?.join() === '0,2,1'
    return isRows && sameAs(node, translator)
  },

  Expand(node, translator) {
    return node.input(0)!.isConstant && translator.mean(node.output, { kind: 'host' })
  },

  /** Tokens of constants in front of those of the image: their rows are zeros times the matrix, so the bias is taken off. */
  Concat(node, translator) {
    const [first, second] = [node.input(0)!, node.input(1)]
    const pieces = translator.meaning(second)
    const leading = constantRows(first)
    const tokens = node.output.shape?.[1]
    const isTokens = node.int('axis', 0) === 1 && node.inputs.length === 2
    if (!isTokens || pieces?.kind !== 'patches' || !leading || typeof tokens !== 'number') return false
    const count = tokens - Number(second!.shape?.[1])
    const plus = pieces.rows(count, tokens)
    const bias = translator.steps.findLast((step) => step.kind === 'linear')?.bias
    const table = { rows: tokens, columns: plus.columns, values: leadingTable(leading, bias, tokens, plus.columns) }
    return translator.mean(node.output, { kind: 'lookups', lookups: [{ table, numbers: 'index' }], columns: plus.columns, plus })
  },
}

function sameAs(node: Node, translator: Translator): boolean {
  const meaning = translator.meaning(node.input(0))
  return meaning?.kind === 'patches' && translator.mean(node.output, meaning)
}

/** A constant, perhaps repeated for each image. */
function constantRows(value: Value): Tensor | undefined {
  return value.tensor ?? (value.producer?.type === 'Expand' ? (value.producer.input(0)?.tensor ?? undefined) : undefined)
}

function leadingTable(rows: Tensor, bias: Tensor | undefined, tokens: number, columns: number): Tensor {
  return new LazyTensor('float32', [tokens, columns], async () => {
    const result = new Float32Array(tokens * columns)
    const [values, terms] = [(await rows.read()) as Float32Array, bias && ((await bias.read()) as Float32Array)]
    result.set(values.map((value, i) => value - (terms?.[i % columns] ?? 0)))
    return result
  })
}
