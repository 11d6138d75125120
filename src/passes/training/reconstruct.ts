import * as z from 'zod'
import { definePass } from '../pass.js'
import { reconstructBlocks } from './blocks.js'
import { closeQuantizers, type OpenedWeight, openQuantizers, scalesAt } from './fake-quantization.js'
import { courseOn, trainingOptions } from './on-calibration.js'

/**
 * Block-wise reconstruction of a quantized model: block after block, weights, scales, biases and gains are trained through the quantizers until
 * the block gives what the original's block gives, on what the quantized blocks before it give.
 *
 * Source: Li et al. 2021, BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction, section 3.2.
 */
export const reconstruct = definePass({
  name: 'reconstruct',
  summary: 'Trains a quantized model block by block to give what the blocks of the original give',
  source: 'Li et al. 2021, BRECQ',
  options: z.strictObject({
    ...trainingOptions({ steps: 100, learningRate: 3e-5 }, 'updates of a block'),
    scaleRate: z.number().nonnegative().default(0.1).describe('factor on the learning rate of scales; 0 keeps them'),
    memory: z.number().positive().default(512).describe('megabytes of activations that stay in memory; more lie on disk'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  async run(model, { scaleRate, memory, ...training }, context) {
    const graph = model.graph
    const calibration = context.calibration!
    let changed = 0
    let opened: OpenedWeight[] = []
    const figures = await reconstructBlocks(
      graph,
      context.original!.graph,
      calibration.batches,
      {
        open(block) {
          opened = openQuantizers(block)
          changed += opened.length
          return scalesAt(scaleRate, opened)
        },
        close: (block) => closeQuantizers(graph, block, opened),
      },
      { training: courseOn(calibration, training, context.random), budget: memory * 1e6 },
      context,
    )
    if (!changed) return { changed, refused: [{ what: 'model', why: 'it has no quantized weights' }] }
    const rounded = (value: number) => Number(value.toPrecision(4))
    return { changed, details: figures.map(({ block, before, after }) => ({ block, before: rounded(before), after: rounded(after) })) }
  },
})
