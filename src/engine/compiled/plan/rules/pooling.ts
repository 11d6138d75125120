import type { TranslationRules } from '../translator.js'

/** One row for each sequence from those of its tokens. */
export const poolingRules: TranslationRules = {
  Gather(node, translator) {
    const index = node.input(1)?.tensor
    const value = node.input(0)!
    if (index?.size !== 1 || node.int('axis', 0) !== 1 || value.shape?.length !== 3) return false
    const rows = translator.rows(value)
    const place = Number(index.elements?.[0])
    if (rows?.view.buffer.per !== 'token' || (place !== 0 && place !== -1)) return false
    const inner = index.shape.length ? [1, rows.view.columns] : [rows.view.columns]
    return translator.addRows(node.output, 'sequence', inner, (output) => ({
      kind: 'pool',
      how: place ? 'last' : 'first',
      input: rows.view,
      output,
    }))
  },

  ReduceSum(node, translator) {
    const value = node.input(0)!
    const axes = node.input(1)?.tensor?.elements
    if (axes?.length !== 1 || Number(axes[0]) !== 1) return false
    const keeps = node.int('keepdims', 1) === 1
    if (translator.meaning(value)?.kind === 'ones' && value.shape?.length === 2)
      return translator.addRows(node.output, 'sequence', keeps ? [1] : [], (output) => ({ kind: 'count', output }))
    const rows = translator.rows(value)
    if (rows?.view.buffer.per !== 'token' || value.shape?.length !== 3) return false
    const inner = [...(keeps ? [1] : []), ...rows.inner]
    return translator.addRows(node.output, 'sequence', inner, (output) => ({ kind: 'pool', how: 'sum', input: rows.view, output }))
  },
}
