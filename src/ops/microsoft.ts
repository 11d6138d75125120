/** ONNX Runtime's fused operators (domain com.microsoft): activations, normalizations, embeddings, products. */
import { badInput } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { activation, gelu, swish, tanhGelu } from './activation.js'
import { headsArray, mergeHeads, rotate, toHeads } from './attention-core.js'
import { dtypeOfCode } from './element-type.js'
import { broadcastFacts, factsAt, type InputFacts, sameFacts } from './facts.js'
import { activationGradients, quickGeluGradient } from './gradients/activation.js'
import * as gradients from './gradients/microsoft.js'
import * as normalizations from './gradients/normalization.js'
import { microsoftRotaryEmbedding } from './gradients/rotary.js'
import type { Gradient } from './gradients/rule.js'
import { matrixProduct, matrixProductShape, realsOf } from './matrix.js'
import { scaleAndShift, standardize, storedAs } from './normalization.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, broadcast, integersOf, mapElements, normalizeAxis, required, transposedArray, type Unary } from './support.js'

/** The domain of ONNX Runtime's own operators. */
export const microsoft = 'com.microsoft'

/** A function of the first input plus a bias that may be absent. */
function biased(name: string, f: Unary<number>, gradient: Gradient): Operator {
  return operator({
    name,
    domain: microsoft,
    since: 1,
    gradient,
    infer: (_, inputs) => (inputs[1] ? broadcastFacts(inputs) : sameFacts(inputs)),
    evaluate: (_, inputs) => {
      const x = required(inputs, 0)
      return [inputs[1] ? broadcast(x, inputs[1], x.dtype, (value, bias) => f(value + bias)) : mapElements(x, f)]
    },
  })
}

const fusedMatMul = operator({
  name: 'FusedMatMul',
  domain: microsoft,
  since: 1,
  gradient: gradients.fusedMatMul,
  infer: (node, inputs) => {
    const ordered = (side: 'A' | 'B', shape: readonly Dim[] | null): readonly Dim[] | null => {
      const order = shape && gradients.operandOrder(shape.length, node.int(`trans${side}`, 0), node.int(`transBatch${side}`, 0))
      return order ? order.map((axis) => shape[axis]) : shape
    }
    return [
      {
        dtype: factsAt(inputs, 0).dtype,
        shape: matrixProductShape(ordered('A', factsAt(inputs, 0).shape), ordered('B', factsAt(inputs, 1).shape)),
      },
    ]
  },
  evaluate: (node, inputs) => {
    const ordered = (side: 'A' | 'B', array: NDArray): NDArray => {
      const order = gradients.operandOrder(array.shape.length, node.int(`trans${side}`, 0), node.int(`transBatch${side}`, 0))
      return order ? transposedArray(array, order) : array
    }
    const [a, b, alpha] = [ordered('A', required(inputs, 0)), ordered('B', required(inputs, 1)), node.float('alpha', 1)]
    const { shape, values } = matrixProduct(realsOf(a), realsOf(b))
    return [
      arrayOf(
        a.dtype,
        shape,
        values.map((value) => alpha * value),
      ),
    ]
  },
})

/** Facts of a normalization of a sum: output, mean, inverse deviation, sum. */
function skipFacts(_: Node, inputs: InputFacts): ValueFacts[] {
  const [facts] = sameFacts(inputs)
  const statistics: ValueFacts = { dtype: 'float32', shape: facts.shape && [...facts.shape.slice(0, -1), 1] }
  return [facts, statistics, statistics, facts]
}

/** Normalizes input + skip + bias; the skip may be one sample for the whole batch. */
function evaluateSkip(
  node: Node,
  input: NDArray,
  skip: NDArray,
  bias: NDArray | null,
  gamma: NDArray,
  beta: NDArray | null,
  centred: boolean,
): NDArray[] {
  const joined = broadcast(input, skip, 'float64', (a, b) => a + b)
  const sum = arrayOf(input.dtype, input.shape, numbersOf(bias ? broadcast(joined, bias, 'float64', (a, b) => a + b) : joined))
  const values = Float64Array.from(numbersOf(sum))
  const { mean, inverseDeviation } = standardize(values, input.shape.at(-1)!, node.float('epsilon', 1e-12), centred)
  const statistics = [...input.shape.slice(0, -1), 1]
  return [
    arrayOf(input.dtype, input.shape, scaleAndShift(values, input.shape, input.dtype, gamma, beta)),
    arrayOf('float32', statistics, mean),
    arrayOf('float32', statistics, inverseDeviation),
    sum,
  ]
}

const skipLayerNormalization = operator({
  name: 'SkipLayerNormalization',
  domain: microsoft,
  since: 1,
  gradient: normalizations.skipLayerNormalization,
  infer: skipFacts,
  evaluate: (node, inputs) => {
    const [input, skip, gamma] = [0, 1, 2].map((i) => required(inputs, i))
    return evaluateSkip(node, input, skip, inputs[4] ?? null, gamma, inputs[3] ?? null, true)
  },
})

const skipSimplifiedLayerNormalization = operator({
  name: 'SkipSimplifiedLayerNormalization',
  domain: microsoft,
  since: 1,
  gradient: normalizations.skipSimplifiedLayerNormalization,
  infer: skipFacts,
  evaluate: (node, inputs) => {
    const [input, skip, gamma] = [0, 1, 2].map((i) => required(inputs, i))
    return evaluateSkip(node, input, skip, inputs[3] ?? null, gamma, null, false)
  },
})

/** ONNX Runtime registers this one in the standard's domain; RMSNormalization is its present name. */
const simplifiedLayerNormalization = operator({
  name: 'SimplifiedLayerNormalization',
  since: 1,
  gradient: normalizations.simplifiedLayerNormalization,
  infer: (node, inputs): ValueFacts[] => {
    const { shape } = factsAt(inputs, 0)
    const first = shape && normalizeAxis(node.int('axis', -1), shape.length)
    return [
      sameFacts(inputs, factsAt(inputs, 1).dtype)[0],
      { dtype: dtypeOfCode(node.int('stash_type', 1)), shape: shape?.map((dim, i) => (i < first! ? dim : 1)) ?? null },
    ]
  },
  evaluate: (node, inputs) => {
    const [x, scale] = [required(inputs, 0), required(inputs, 1)]
    const first = normalizeAxis(node.int('axis', -1), x.shape.length)
    const values = Float64Array.from(numbersOf(x))
    const length = x.shape.slice(first).reduce((a, b) => a * b, 1)
    const { inverseDeviation } = standardize(values, length, node.float('epsilon', 1e-5), false)
    return [
      arrayOf(scale.dtype, x.shape, scaleAndShift(storedAs(x.dtype, values), x.shape, scale.dtype, scale)),
      arrayOf(
        dtypeOfCode(node.int('stash_type', 1)),
        x.shape.map((dim, i) => (i < first ? dim : 1)),
        inverseDeviation,
      ),
    ]
  },
})

const embedLayerNormalization = operator({
  name: 'EmbedLayerNormalization',
  domain: microsoft,
  since: 1,
  gradient: gradients.embedLayerNormalization,
  infer: (_, inputs): ValueFacts[] => {
    const [ids, table] = [factsAt(inputs, 0).shape, factsAt(inputs, 2)]
    const embedded: ValueFacts = { dtype: table.dtype, shape: ids && table.shape && [...ids, table.shape[1]] }
    return [embedded, { dtype: 'int32', shape: ids && [ids[0]] }, embedded]
  },
  evaluate: (node, inputs) => {
    const [ids, words, places, gamma, beta] = [0, 2, 3, 5, 6].map((i) => required(inputs, i))
    const [segmentIds, segments, mask, positionIds] = [1, 4, 7, 8].map((i) => inputs[i] ?? null)
    const [batch, length] = ids.shape
    const width = words.shape[1]
    const tokens = integersOf(ids)
    const positions = positionIds ? integersOf(positionIds) : Array.from({ length }, (_, t) => t)
    const rows: [NDArray, (i: number) => number][] = [
      [words, (i) => tokens[i]],
      [places, (i) => positions[positions.length === length ? i % length : i]],
    ]
    if (segments && segmentIds) {
      const kinds = integersOf(segmentIds)
      rows.push([segments, (i) => kinds[i]])
    }
    const sum = new Float64Array(batch * length * width)
    for (const [table, row] of rows) {
      const entries = numbersOf(table)
      for (let i = 0; i < sum.length; i++) sum[i] += entries[row(Math.floor(i / width)) * width + (i % width)]
    }
    const values = sum.slice()
    standardize(values, width, node.float('epsilon', 1e-12))
    const shape = [batch, length, width]
    const counts = Array.from({ length: batch }, (_, b) =>
      mask
        ? integersOf(mask)
            .slice(b * length, (b + 1) * length)
            .filter((kept) => kept === 1).length
        : 0,
    )
    return [
      arrayOf(words.dtype, shape, scaleAndShift(values, shape, words.dtype, gamma, beta)),
      arrayOf('int32', [batch], counts),
      arrayOf(words.dtype, shape, sum),
    ]
  },
})

const rotaryEmbedding = operator({
  name: 'RotaryEmbedding',
  domain: microsoft,
  since: 1,
  gradient: microsoftRotaryEmbedding,
  infer: (_, inputs) => sameFacts(inputs),
  evaluate: (node, inputs) => {
    const [x, positionIds, cosines, sines] = [0, 1, 2, 3].map((i) => required(inputs, i))
    const width = 2 * cosines.shape[1]
    const heads = toHeads(x, node.int('num_heads', 0) || x.shape.at(-1)! / width)
    const positions = integersOf(positionIds)
    if (positions.length !== 1 && positions.length !== heads.batch * heads.length)
      throw badInput(`${positions.length} positions do not fit ${heads.batch} x ${heads.length} tokens`)
    const row = (b: number, t: number) => (positions.length === 1 ? positions[0] + t : positions[b * heads.length + t])
    const rotated = rotate(heads, { cosines, sines, row, interleaved: node.int('interleaved', 0) === 1 })
    return [x.shape.length === 3 ? mergeHeads(rotated, x.dtype) : headsArray(rotated, x.dtype)]
  },
})

/** ONNX Runtime's fused operators but attention and quantized ones. */
export const microsoftOperators: readonly Operator[] = [
  activation('Gelu', 1, () => gelu, activationGradients.Gelu, microsoft),
  activation('QuickGelu', 1, (node) => swish(node.float('alpha', 1.702)), quickGeluGradient, microsoft),
  biased('BiasGelu', gelu, gradients.biasGelu),
  biased('FastGelu', tanhGelu, gradients.fastGelu),
  fusedMatMul,
  skipLayerNormalization,
  skipSimplifiedLayerNormalization,
  simplifiedLayerNormalization,
  embedLayerNormalization,
  rotaryEmbedding,
]
