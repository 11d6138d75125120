import type { TranslationRule, TranslationRules } from '../translator.js'

/** Rows stay where they are when only the dimensions behind them change. */
const reshaped: TranslationRule = (node, translator) => {
  const value = node.input(0)!
  const rows = translator.rows(value)
  const { shape } = node.output
  if (!rows || !shape || !value.shape) return false
  const inner = shape.slice(value.shape.length - rows.inner.length)
  const isNumber = inner.every((dim) => typeof dim === 'number')
  if (!isNumber || inner.reduce<number>((a, b) => a * Number(b), 1) !== rows.view.columns) return false
  return translator.mean(node.output, { ...rows, inner: inner.map(Number) })
}

/** Views: what moves no elements. */
export const layoutRules: TranslationRules = {
  Split(node, translator) {
    const rows = translator.rows(node.input(0))
    const axis = node.int('axis', 0)
    const isLast = rows && (axis === -1 || axis === rows.inner.length + (rows.view.buffer.per === 'token' ? 1 : 0))
    if (!isLast || rows.inner.length !== 1) return false
    let { column } = rows.view
    for (const output of node.outputs) {
      const columns = Number(output.shape?.at(-1))
      if (!Number.isInteger(columns)) return false
      translator.mean(output, { kind: 'rows', view: { ...rows.view, column, columns }, inner: [columns] })
      column += columns
    }
    return true
  },
  Reshape: reshaped,
  Squeeze: reshaped,
  Unsqueeze: reshaped,
}
