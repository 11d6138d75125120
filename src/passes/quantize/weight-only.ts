import * as z from 'zod'
import { type Anatomy, anatomyOf, type Linear } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { type IntegerGrid, integerGrid, type Layout, minMaxParameters } from '../../numbers/quantizer.js'
import { searchAffine, searchSymmetric } from '../../numbers/search.js'
import { definePass, type Refusal } from '../pass.js'
import { checkSelection, selection, selector } from '../select.js'
import { quantizeConstant, replaceConstant, weightObstacle } from './apply.js'
import { presentBlocks } from './present-blocks.js'

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
  embeddings: z.boolean().default(true).describe('word embeddings, and the head that shares their table, with 8 bits'),
})

type Options = z.output<typeof options>

/**
 * Weights as integers in blocks, activations in float: round to nearest on scales and zero points with the least squared error. A weight that
 * is quantized in such blocks already keeps its codes, scales and minimums.
 */
export const weightOnly = definePass({
  name: 'weight-only',
  summary: 'Weights as 4- or 8-bit integers in blocks with scale and zero point, activations in float',
  source: 'round to nearest; MSE grid of Nagel et al., A white paper on neural network quantization, 2021',
  options,
  needs: {},
  exact: false,
  async run(model, chosen, { progress, signal }) {
    const refused: Refusal[] = []
    const details: { layer: string; codes: string }[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const weights = weightsOf(anatomyOf(graph), chosen, refused)
      const stage = progress.stage('quantizing weights', weights.length)
      for (const weight of weights) {
        signal?.throwIfAborted()
        if (await quantizeWeight(graph, weight, chosen)) details.push({ layer: weight.module, codes: 'kept as the source has them' })
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
}

function weightsOf(anatomy: Anatomy, chosen: Options, refused: Refusal[]): Weight[] {
  checkSelection(
    chosen,
    [...anatomy.linears, ...anatomy.embeddings].map((layer) => layer.name),
  )
  const selected = selector(chosen)
  const weights = new Map<Value, Weight>()
  const tables = new Set(
    anatomy.embeddings
      .filter((table) => chosen.embeddings && table.rows >= 256 && selected(table.name) && table.table.dtype === 'float32')
      .map((table) => table.table),
  )
  for (const table of anatomy.embeddings)
    if (tables.has(table.table)) weights.set(table.table, { module: table.name, value: table.table, bits: 8, axis: 1 })
  const head = anatomy.others.findLast((linear) => linear.outputs >= 256)
  for (const linear of anatomy.linears) {
    if (!selected(linear.name) || weights.has(linear.weight)) continue
    const why = weightObstacle(linear) ?? depthObstacle(linear)
    if (why) refused.push({ what: linear.name, why })
    else if (linear !== head || chosen.embeddings)
      weights.set(linear.weight, { module: linear.name, value: linear.weight, bits: linear === head ? 8 : chosen.bits, axis: 0 })
  }
  return [...weights.values()]
}

function depthObstacle({ inputs }: Linear): string | null {
  return inputs < 16 ? `it sums over ${inputs} inputs only` : null
}

/** @returns whether the weight was quantized in such blocks already, and keeps its codes */
async function quantizeWeight(
  graph: Graph,
  { module, value, bits, axis }: Weight,
  { blockSize, symmetric, search }: Options,
): Promise<boolean> {
  const present = await presentBlocks(value.tensor!, { bits, axis, blockSize, symmetric })
  const grid: IntegerGrid = integerGrid(bits === 4 ? 'uint4' : 'uint8')
  const layout: Layout = { shape: value.tensor!.shape, axis, blockSize }
  const even = symmetric || bits === 8
  const choose = (x: Float32Array) => {
    if (!search || bits === 8) return minMaxParameters(x, layout, grid, { symmetric: even })
    return even ? searchSymmetric(x, layout, grid) : searchAffine(x, layout, grid)
  }
  replaceConstant(graph, value, module, present ?? (await quantizeConstant(value, grid, layout, choose)))
  return present !== null
}
