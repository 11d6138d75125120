import { z } from 'zod'
import { anatomyOf } from '../../anatomy/index.js'
import { integerGrid, type Layout, minMaxParameters } from '../../numbers/quantizer.js'
import { definePass, type Refusal } from '../pass.js'
import { selection } from '../select.js'
import { byInput, quantizeActivationDynamically, quantizeConstant, replaceConstant, selectLinears, selectTables } from './apply.js'
import { quantizeTables } from './embeddings.js'

/** 8-bit weights, and activations whose range is taken anew in each run: needs no data. */
export const dynamicInt8 = definePass({
  name: 'dynamic-int8',
  summary: 'Weights as 8-bit integers per output channel, activations quantized by their range in each run',
  source: 'ONNX DynamicQuantizeLinear; Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018',
  options: z.strictObject({
    ...selection,
    weightBits: z.number().int().min(2).max(8).default(8).describe('7 cannot saturate 16-bit sums on processors without VNNI'),
    embeddings: z.boolean().default(true).describe('word embeddings as 8-bit integers per row'),
  }),
  needs: {},
  exact: false,
  async run(model, options, { progress, signal }) {
    const grid = integerGrid('int8', { bits: options.weightBits, symmetric: true })
    const refused: Refusal[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const anatomy = anatomyOf(graph)
      const { chosen, refused: left } = selectLinears(anatomy, options)
      refused.push(...left)
      const stage = progress.stage('quantizing weights', chosen.length)
      for (const linear of chosen) {
        signal?.throwIfAborted()
        const layout: Layout = { shape: [linear.inputs, linear.outputs], axis: 1 }
        replaceConstant(graph, linear.weight, linear.name, await quantizeConstant(linear.weight, grid, layout, (x) => minMaxParameters(x, layout, grid)))
        stage.advance()
      }
      stage.end()
      for (const [value, readers] of byInput(chosen)) quantizeActivationDynamically(graph, value, readers)
      changed += chosen.length
      if (options.embeddings) changed += await quantizeTables(graph, selectTables(anatomy, options))
    }
    return { changed, refused }
  },
})
