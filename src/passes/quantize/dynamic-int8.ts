import * as z from 'zod'
import { anatomyOf } from '../../anatomy/index.js'
import { definePass, type Refusal } from '../pass.js'
import { selection } from '../select.js'
import { byInput, quantizeActivationDynamically, replaceConstant, selectLinears, selectTables } from './apply.js'
import { quantizeTables } from './embeddings.js'
import { saturationChoices, weightCodes } from './weight-codes.js'

/** 8-bit weights, and activations whose range is taken anew in each run: needs no data. */
export const dynamicInt8 = definePass({
  name: 'dynamic-int8',
  summary: 'Weights as 8-bit integers per output channel, activations quantized by their range in each run',
  source: 'ONNX DynamicQuantizeLinear; Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018',
  options: z.strictObject({
    ...selection,
    saturation: z
      .enum(saturationChoices)
      .default('pair-safe')
      .describe('how 16-bit sums are kept from overflowing on processors without VNNI'),
    embeddings: z.boolean().default(true).describe('word embeddings as 8-bit integers per row'),
  }),
  needs: {},
  exact: false,
  async run(model, options, { progress, signal }) {
    const refused: Refusal[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const anatomy = anatomyOf(graph)
      const { chosen, refused: left } = selectLinears(anatomy, options)
      refused.push(...left)
      const stage = progress.stage('quantizing weights', chosen.length)
      for (const linear of chosen) {
        signal?.throwIfAborted()
        const weight = (await linear.weight.tensor!.read()) as Float32Array
        replaceConstant(graph, linear.weight, linear.name, weightCodes(weight, linear.inputs, linear.outputs, options.saturation))
        stage.advance()
      }
      stage.end()
      for (const [value, readers] of byInput(chosen)) quantizeActivationDynamically(graph, value, readers)
      changed += chosen.length
      if (options.embeddings) changed += await quantizeTables(graph, selectTables(anatomy, options))
    }
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'no linear of it is selected' })
    return { changed, refused }
  },
})
