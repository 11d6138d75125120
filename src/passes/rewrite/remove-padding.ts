import * as z from 'zod'
import { packableBy, paddingNote } from '../../nn/token-packing.js'
import { definePass, type Refusal } from '../pass.js'

/**
 * Batches of texts of different lengths are padded, and runtimes compute the padding too. A graph that this pass was applied to is written
 * so that linears, norms and activations see real tokens only; what it means stays the same, but where the mask is 0, outputs are 0.
 */
export const removePadding = definePass({
  name: 'remove-padding',
  summary: 'Let linears, norms and activations of encoders skip padding',
  source: 'Zhai et al., ByteTransformer, 2023, section III-C',
  options: z.strictObject({}),
  needs: {},
  exact: true,
  async run(model) {
    const refused: Refusal[] = []
    let changed = 0
    for (const [name, graph] of model.graphs) {
      const mask = packableBy(graph)
      if (typeof mask === 'string') refused.push({ what: name, why: mask })
      else if (!graph.notes.has(paddingNote)) {
        graph.notes.set(paddingNote, 'removed')
        changed++
      }
    }
    return { changed, refused: changed ? refused : [...refused, { what: 'the model', why: 'its padding is removed already' }].slice(0, 1) }
  },
})
