import type { Node } from '../../../../ir/node.js'
import type { TranslationRules, Translator } from '../translator.js'

/** LayerNorm, RMSNorm and Euclidean length. */
export const normRules: TranslationRules = {
  LayerNormalization: (node, translator) => norm(node, translator, true),
  RMSNormalization: (node, translator) => norm(node, translator, false),
  ReduceL2(node, translator) {
    const rows = translator.rows(node.input(0))
    const axes = node.input(1)?.tensor?.elements
    const isLast = axes?.length === 1 && [-1, rows?.inner.length].includes(Number(axes[0]))
    if (!rows || !isLast || rows.inner.length !== 1) return false
    const inner = node.int('keepdims', 1) ? [1] : []
    return translator.addRows(node.output, rows.view.buffer.per, inner, (output) => ({ kind: 'length', input: rows.view, output }))
  },
}

function norm(node: Node, translator: Translator, centered: boolean): boolean {
  const rows = translator.rows(node.input(0))
  const [weight, bias] = [node.input(1)?.tensor, node.input(2)?.tensor]
  const isLast = node.int('axis', -1) === -1 && node.outputs.slice(1).every(({ uses }) => !uses.size)
  if (!rows || !weight || !isLast || weight.size !== rows.inner.at(-1)) return false
  const epsilon = node.float('epsilon', 1e-5)
  return translator.addRows(node.output, rows.view.buffer.per, rows.inner, (output) => ({
    kind: 'norm',
    input: rows.view,
    centered,
    epsilon,
    weight,
    bias: bias ?? undefined,
    output,
  }))
}
