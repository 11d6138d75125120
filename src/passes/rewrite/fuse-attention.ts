import * as z from 'zod'
import { applyRules, type Rule } from '../../ir/rewrite.js'
import { fuseAttention } from '../../nn/attention-fusion.js'
import { definePass } from '../pass.js'

const rule: Rule = { name: 'fuse-attention', at: ['Softmax'], rewrite: fuseAttention }

/** The inverse of expand-attention: runtimes run the fused operator faster. */
export const fuseAttentionPass = definePass({
  name: 'fuse-attention',
  summary: 'Gather expanded attention into one operator',
  source: 'the operator Attention of ONNX opset 23',
  options: z.strictObject({}),
  needs: {},
  exact: true,
  async run(model) {
    let changed = 0
    for (const graph of model.graphs.values()) changed += applyRules(graph, [rule], undefined).get(rule.name) ?? 0
    return { changed, refused: changed ? [] : [{ what: 'the model', why: 'it has no expanded attention in float' }] }
  },
})
