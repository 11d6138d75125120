import * as z from 'zod'
import { type Anatomy, anatomyOf, type Linear } from '../../anatomy/index.js'
import { collect } from '../../calibration/collect.js'
import { MomentsObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { transposed } from '../../ir/tensor.js'
import { integerGrid, type Layout, minMaxParameters, type QuantizationParameters } from '../../numbers/quantizer.js'
import { roundSignificant } from '../../numbers/rounding.js'
import { type Importance, searchAffine, searchSymmetric } from '../../numbers/search.js'
import { halfBits } from '../../numbers/weight-blocks.js'
import { definePass, type PassContext, type Refusal } from '../pass.js'
import { checkSelection, selection, selector } from '../select.js'
import { type QuantizedConstant, quantizeConstant, replaceConstant, weightObstacle } from './apply.js'
import { isInBlocks, presentBlocks, withMinimums } from './present-blocks.js'

const options = z.strictObject({
  ...selection,
  bits: z
    .union([z.literal(4), z.literal(8)])
    .default(4)
    .describe('bits of a weight'),
  blockSize: z
    .union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)])
    .default(32)
    .describe('weights that share a scale'),
  symmetric: z.boolean().default(false).describe('zero in the middle of the codes; else each block has a zero point'),
  search: z.boolean().default(true).describe('scales with the least squared error; else from the extremes of each block'),
  embeddings: z.boolean().default(true).describe('word embeddings, with 8 bits, and the head'),
  head: z
    .union([z.literal(4), z.literal(8)])
    .default(8)
    .describe('bits of the head; with 4 one that shares the table of the embeddings gets a matrix of its own, better with calibration'),
})

type Options = z.output<typeof options>

/**
 * Weights as integers in blocks, activations in float: round to nearest on scales and zero points with the least squared error. A weight that
 * is quantized in such blocks already keeps its codes, scales and minimums. With calibration the error of a weight's rows counts by the mean
 * squares of the inputs that they are multiplied with, so that it is that of the outputs.
 */
export const weightOnly = definePass({
  name: 'weight-only',
  summary: 'Weights as 4- or 8-bit integers in blocks with scale and zero point, activations in float',
  source: 'round to nearest; MSE grid of Nagel et al., A white paper on neural network quantization, 2021',
  options,
  needs: {},
  usesCalibration: true,
  exact: false,
  async run(model, chosen, context) {
    const refused: Refusal[] = []
    const details: { layer: string; codes: string }[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const weights = weightsOf(anatomyOf(graph), chosen, refused)
      const importances = await importancesOf(graph, weights, chosen, context)
      const stage = context.progress.stage('quantizing weights', weights.length)
      for (const weight of weights) {
        context.signal?.throwIfAborted()
        const value = weight.tied ? untied(graph, weight) : weight.value
        const present = await presentBlocks(value.tensor!, { ...chosen, ...weight })
        if (present) details.push({ layer: weight.module, codes: 'kept as the source has them' })
        const quantized = present ?? (await newBlocks(value, weight, chosen, importances.get(weight)))
        replaceConstant(graph, value, weight.module, quantized)
        changed++
        stage.advance()
      }
      stage.end()
    }
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'no weight of it is selected' })
    return { changed, refused, details }
  },
})

interface Weight {
  readonly module: string
  readonly value: Value
  readonly bits: 4 | 8
  /** The dimension that a product sums over. */
  readonly axis: 0 | 1
  /** The linear that multiplies by it; null for a table. */
  readonly linear: Linear | null
  readonly isHead: boolean
  /** The value is the table of the embeddings, and the linear reads it transposed. */
  readonly tied?: boolean
}

/** A head that shares a table comes before the table. */
function weightsOf(anatomy: Anatomy, chosen: Options, refused: Refusal[]): Weight[] {
  checkSelection(
    chosen,
    [...anatomy.linears, ...anatomy.embeddings].map((layer) => layer.name),
  )
  const selected = selector(chosen)
  const weights = new Map<Value, Weight>()
  for (const { name, table, rows } of anatomy.embeddings)
    if (chosen.embeddings && rows >= 256 && selected(name) && table.dtype === 'float32')
      weights.set(table, { module: name, value: table, bits: 8, axis: 1, linear: null, isHead: false })
  const head = anatomy.others.findLast((linear) => linear.outputs >= 256)
  const own: Weight[] = []
  for (const linear of anatomy.linears) {
    if (!selected(linear.name)) continue
    const isHead = linear === head
    const bits = isHead ? chosen.head : chosen.bits
    const weight: Weight = { module: linear.name, value: linear.weight, bits, axis: 0, linear, isHead }
    if (weights.has(linear.weight)) {
      if (isHead && chosen.head < 8 && isTied(linear)) own.push({ ...weight, module: linear.product.name, tied: true })
      continue
    }
    const why = weightObstacle(linear) ?? depthObstacle(linear)
    if (why) refused.push({ what: linear.name, why })
    else if (!isHead || chosen.embeddings) weights.set(linear.weight, weight)
  }
  return [...own, ...weights.values()]
}

function depthObstacle({ inputs }: Linear): string | null {
  return inputs < 16 ? `it sums over ${inputs} inputs only` : null
}

function isTied({ product, weight }: Linear): boolean {
  const transposition = product.input(1)?.producer
  return transposition?.type === 'Transpose' && transposition.input(0) === weight
}

/** The matrix [inputs, outputs] of a head that shared a table, now a constant of its own. */
function untied(graph: Graph, { linear, module, value }: Weight): Value {
  const matrix = graph.addConstant(graph.uniqueName(`${module}.weight`), transposed(value.tensor!))
  linear!.product.setInput(1, matrix)
  graph.prune()
  return matrix
}

/** How much the rows of weights count that are searched: mean squares of what they are multiplied with. Empty without calibration. */
async function importancesOf(
  graph: Graph,
  weights: readonly Weight[],
  { blockSize, symmetric, search }: Options,
  context: PassContext,
): Promise<Map<Weight, Importance>> {
  const importances = new Map<Weight, Importance>()
  const observers = new Map<Value, MomentsObserver>()
  const searched = weights.filter(
    ({ linear, bits, axis, value }) =>
      linear && search && bits === 4 && (symmetric || !isInBlocks(value.tensor!.blockForm, { bits, axis, blockSize })),
  )
  if (!context.calibration || !searched.length) return importances
  for (const { linear } of searched) observers.set(linear!.input, new MomentsObserver(linear!.inputs))
  await collect(graph, observers, context.calibration, context)
  for (const weight of searched) importances.set(weight, { axis: 0, values: observers.get(weight.linear!.input)!.meanSquares })
  return importances
}

/** Codes of a weight that has none yet. Scales have so few bits that float16 holds them, and their products with integer zero points. */
async function newBlocks(
  value: Value,
  { bits, axis, isHead }: Weight,
  { blockSize, symmetric, search }: Options,
  importance: Importance | undefined,
): Promise<QuantizedConstant> {
  const grid = integerGrid(bits === 4 ? 'uint4' : 'uint8')
  const layout: Required<Layout> = { shape: value.tensor!.shape, axis, blockSize }
  const even = symmetric || bits === 8
  // Of the head alone, and only where calibration says which errors count: elsewhere integers do as well.
  const floatZeroPoint = isHead && !even && importance !== undefined && layout.shape[axis] % blockSize === 0
  const choose = (x: Float32Array): QuantizationParameters => {
    if (!search || bits === 8) return minMaxParameters(x, layout, grid, { symmetric: even })
    return even ? searchSymmetric(x, layout, grid, { importance }) : searchAffine(x, layout, grid, { importance, floatZeroPoint })
  }
  const scaleBits = even || floatZeroPoint ? halfBits : halfBits - bits
  const quantized = await quantizeConstant(value, grid, layout, (x) => {
    const { scale, zeroPoint } = choose(x)
    return { scale: scale.map((one) => roundSignificant(one, scaleBits)), zeroPoint }
  })
  return floatZeroPoint ? withMinimums(quantized, layout) : quantized
}
