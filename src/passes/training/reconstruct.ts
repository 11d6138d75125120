import * as z from 'zod'
import { adamW, schedule } from '../../train/index.js'
import { definePass } from '../pass.js'
import { reconstructBlocks } from './blocks.js'
import { closeQuantizers, type OpenedWeight, openQuantizers } from './fake-quantization.js'

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
    steps: z.number().int().positive().default(100).describe('updates of a block'),
    learningRate: z.number().positive().default(3e-5),
    scaleRate: z.number().nonnegative().default(0.1).describe('factor on the learning rate of scales; 0 keeps them'),
    accumulate: z.number().int().positive().default(4).describe('calibration batches of an update'),
    memory: z.number().positive().default(512).describe('megabytes of activations that stay in memory; more lie on disk'),
  }),
  needs: { calibration: true, original: true },
  exact: false,
  async run(model, { steps, learningRate, scaleRate, accumulate, memory }, context) {
    const graph = model.graph
    const { batches } = context.calibration!
    let changed = 0
    let opened: OpenedWeight[] = []
    const figures = await reconstructBlocks(
      graph,
      context.original!.graph,
      batches,
      {
        open(block) {
          opened = openQuantizers(block)
          changed += opened.length
          const scales = scaleRate ? opened.map(({ scale }) => scale) : []
          return { extra: scales, groups: scales.map((match) => ({ match, rate: scaleRate, weightDecay: 0 })) }
        },
        close: (block) => closeQuantizers(graph, block, opened),
      },
      {
        training: {
          steps,
          accumulate: Math.min(accumulate, batches.length),
          learningRate,
          schedule: schedule('cosine'),
          optimizer: adamW({ beta2: 0.99 }),
          seed: context.random.bits(),
        },
        budget: memory * 1e6,
      },
      context,
    )
    if (!changed) return { changed, refused: [{ what: 'model', why: 'it has no quantized weights' }] }
    const rounded = (value: number) => Number(value.toPrecision(4))
    return { changed, details: figures.map(({ block, before, after }) => ({ block, before: rounded(before), after: rounded(after) })) }
  },
})
