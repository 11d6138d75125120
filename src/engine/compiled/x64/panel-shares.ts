import { isView } from '../plan/steps.js'
import type { Word } from '../program.js'

/** What a product by panels is called with, as far as panels decide about it. */
interface PanelWords {
  readonly panels: { readonly constant: ArrayBufferView }
  readonly panelCount: number
  readonly panelStride: number
  readonly lastColumn: number
  readonly output: Word
  readonly residual: Word
}

/**
 * Shares of the panels of a product, as even as can be. A last panel that begins within the one before stays together with it.
 *
 * @param columns of a panel
 * @param together panels for the same columns
 */
export function panelShares<W extends PanelWords>(words: W, columns: number, together = 1): (part: number, parts: number) => W | null {
  const { panels, panelCount, panelStride, lastColumn } = words
  const isJoined = lastColumn % columns !== 0
  const boundary = (part: number, parts: number) => {
    const panel = Math.floor((part * panelCount) / parts)
    return isJoined && panel === panelCount - 1 ? panel - 1 : panel
  }
  return (part, parts) => {
    const [first, end] = [boundary(part, parts), boundary(part + 1, parts)]
    if (first === end) return null
    return {
      ...words,
      panels: { ...panels, from: first * together * panelStride },
      panelCount: end - first,
      lastColumn: lastColumn - first * columns,
      output: movedRight(words.output, first * columns),
      residual: movedRight(words.residual, first * columns),
    }
  }
}

/** The address of a view, so many columns further on. */
function movedRight(word: Word, columns: number): Word {
  if (typeof word !== 'object' || !('address' in word) || !isView(word.address)) return word
  const { buffer, column, columns: width } = word.address
  return { address: { buffer, column: column + columns, columns: width - columns } }
}
