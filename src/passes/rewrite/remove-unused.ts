import { z } from 'zod'
import { definePass } from '../pass.js'

/** Removes nodes and constants that no output needs, and outputs by request. */
export const removeUnused = definePass({
  name: 'remove-unused',
  summary: 'Remove nodes, constants and unwanted outputs that nothing needs',
  source: 'dead code elimination',
  options: z.strictObject({ outputs: z.array(z.string()).optional().describe('outputs to keep; default all') }),
  needs: {},
  exact: true,
  async run(model, { outputs }) {
    let changed = 0
    for (const graph of model.graphs.values()) {
      if (outputs) {
        const kept = graph.outputs.filter((output) => outputs.includes(output.name))
        changed += graph.outputs.length - kept.length
        graph.outputs.splice(0, graph.outputs.length, ...kept)
      }
      changed += graph.prune()
    }
    return { changed, refused: changed ? [] : [{ what: 'the model', why: 'everything in it is needed' }] }
  },
})
