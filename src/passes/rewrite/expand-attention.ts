import * as z from 'zod'
import { applyRules, type Rule } from '../../ir/rewrite.js'
import { expandAttention, expansionObstacle } from '../../nn/attention-spelling.js'
import { definePass, type Refusal } from '../pass.js'

/** Attention as matrix products and a softmax: scores and probabilities become values that others can quantize or compare. */
export const expandAttentionPass = definePass({
  name: 'expand-attention',
  summary: 'Spell attention out as matrix products and a softmax',
  source: 'Vaswani et al., Attention is all you need, 2017, section 3.2',
  options: z.strictObject({}),
  needs: {},
  exact: true,
  async run(model) {
    const refused: Refusal[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const rule = {
        name: 'expand-attention',
        at: ['Attention'],
        rewrite(node, inside) {
          const why = expansionObstacle(node)
          if (why) refused.push({ what: node.name || node.output.name, why })
          else expandAttention(node, inside)
          return !why
        },
      } satisfies Rule
      changed += applyRules(graph, [rule], undefined).get(rule.name) ?? 0
    }
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'it has no fused attention' })
    return { changed, refused }
  },
})
