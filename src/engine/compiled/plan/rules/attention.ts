import type { Node } from '../../../../ir/node.js'
import type { TranslationRules, Translator } from '../translator.js'
import { numbersOf } from './embeddings.js'

/** Attention within sequences, and the rotation that tells it positions. */
export const attentionRules: TranslationRules = {
  RotaryEmbedding(node, translator) {
    const rows = translator.rows(node.input(0))
    const [cos, sin] = [1, 2].map((i) => node.input(i)?.tensor)
    const numbers = numbersOf(node.input(3), translator)
    const heads = node.int('num_heads', 0)
    if (!rows || !cos || !sin || !numbers || !heads) return false
    const headSize = rows.view.columns / heads
    return translator.addRows(node.output, 'token', rows.inner, (output) => ({
      kind: 'rotary',
      input: rows.view,
      headSize,
      rotary: node.int('rotary_embedding_dim', 0) || headSize,
      interleaved: node.int('interleaved', 0) === 1,
      cos,
      sin,
      numbers,
      output,
    }))
  },

  async Attention(node, translator) {
    const [query, key, value] = [0, 1, 2].map((i) => translator.rows(node.input(i)))
    const [heads, keyValueHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)]
    if (!query || !key || !value || !heads || !keyValueHeads || node.outputs[3]?.uses.size || node.input(6)) return false
    const visible = node.input(3) ? await translator.maskKind(node.input(3)!) : { causal: false }
    if (!visible) return false
    const cache = cacheOf(node, translator)
    if (cache === null) return false
    const softCap = node.float('softcap', 0) || undefined
    const scale = node.float('scale', 1 / Math.sqrt(query.view.columns / heads))
    const columns = (value.view.columns / keyValueHeads) * heads
    const causal = visible.causal || node.int('is_causal', 0) === 1
    const { window } = visible
    return translator.addRows(node.output, 'token', [columns], (output) => ({
      kind: 'attention',
      query: query.view,
      key: key.view,
      value: value.view,
      heads,
      keyValueHeads,
      scale,
      causal,
      window,
      softCap,
      cache,
      ...(cache !== undefined && { cacheDtype: translator.cacheDtype }),
      ...(cache === undefined && softCap === undefined && { products: translator.attentionProducts }),
      output,
    }))
  },
}

/** The layer whose cache an attention reads and adds to; undefined without one, null where it is not understood. */
function cacheOf(node: Node, translator: Translator): number | undefined | null {
  const [keys, values] = [4, 5].map((i) => translator.meaning(node.input(i)))
  if (!node.input(4)) return node.outputs.slice(1, 3).some(({ uses }) => uses.size) ? null : undefined
  if (keys?.kind !== 'cache' || values?.kind !== 'cache') return null
  const layer = keys.layer
  for (const [i, part] of [
    [1, 'keys'],
    [2, 'values'],
  ] as const)
    if (node.outputs[i]) translator.mean(node.outputs[i], { kind: 'cache', layer, part })
  return layer
}
