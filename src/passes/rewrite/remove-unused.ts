import * as z from 'zod'
import { badInput, didYouMean } from '../../base/errors.js'
import type { Model } from '../../ir/model.js'
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
    if (outputs) checkOutputs(model, outputs)
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

/** @throws TinsmithError `bad-input` for names that no graph has, and where a graph would be left without outputs */
function checkOutputs(model: Model, outputs: readonly string[]): void {
  const named = [...model.graphs.values()].map((graph) => graph.outputs.map((output) => output.name))
  for (const output of outputs)
    if (!named.flat().includes(output))
      throw badInput(`no output is named ${output}`, { where: 'recipe', hint: didYouMean(output, named.flat()) })
  const emptied = named.find((names) => !names.some((name) => outputs.includes(name)))
  if (emptied) throw badInput('a graph would have no outputs left', { where: 'recipe', hint: `Keep one of ${emptied.join(', ')}.` })
}
