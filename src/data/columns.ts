import { badInput, didYouMean, usage } from '../base/errors.js'
import type { Row } from './delimited.js'

/** Where a sample's parts stand in a row: indexes of cells, from 0. */
export interface Columns {
  /** One or two texts. */
  readonly texts: readonly number[]
  readonly label?: number
}

/** What a sample must have. */
export interface Wanted {
  /** How many texts; undefined: one or two, as the file has it. */
  readonly texts?: 1 | 2
  /** `number`: a number; `class`: a class name or index; `optional`: kept where there is one. Default `optional`. */
  readonly label?: 'number' | 'class' | 'optional'
}

const textNames = [
  'text',
  'sentence',
  'sentence1',
  'text1',
  'text_a',
  'premise',
  'question',
  'question1',
  'query',
  'content',
  'review',
  'anchor',
  'path',
  'file',
  'file_name',
  'image',
]
const secondTextNames = ['text2', 'sentence2', 'text_b', 'hypothesis', 'question2', 'passage', 'answer', 'positive']
const labelNames = ['label', 'labels', 'score', 'similarity', 'similarity_score', 'target', 'class', 'category', 'sentiment', 'intent']

/** Whether a cell is a finite number. */
export function isNumber(cell: string | undefined): boolean {
  return cell !== undefined && cell.trim() !== '' && Number.isFinite(Number(cell))
}

/**
 * Whether the first row is a header: its last cell is no number while the second's is, or it has both a text's and a
 * label's usual name.
 */
export function isHeader(first: readonly string[], second: readonly string[] | undefined): boolean {
  if (second && !isNumber(first.at(-1)) && isNumber(second.at(-1))) return true
  return find(first, textNames) !== undefined && find(first, labelNames) !== undefined
}

/**
 * Columns as the user names them.
 *
 * @param text `text=0,label=2`, `text=0,text2=1,label=score`: indexes from 0, or names where there is a header
 * @throws TinsmithError `usage` for another form or an unknown column
 */
export function parseColumns(text: string, header: readonly string[] | null): Columns {
  const found = new Map<string, number>()
  for (const part of text.split(',')) {
    const [, key, column] = /^\s*(text1?|text2|label)\s*=\s*(.+?)\s*$/.exec(part) ?? []
    if (!key)
      throw usage(`"${part}" in the columns is not understood`, { hint: 'Write for example text=0,label=2 or text=0,text2=1,label=score.' })
    found.set(key === 'text1' ? 'text' : key, columnIndex(column, header))
  }
  const first = found.get('text')
  if (first === undefined) throw usage('the columns name no text', { hint: 'Write for example text=0,label=2.' })
  const second = found.get('text2')
  return { texts: second === undefined ? [first] : [first, second], label: found.get('label') }
}

function columnIndex(column: string, header: readonly string[] | null): number {
  const at = header?.indexOf(column) ?? -1
  if (at >= 0) return at
  if (/^\d+$/.test(column)) return Number(column)
  const hint = header ? didYouMean(column, header) : 'The file has no header, so count the columns from 0.'
  throw usage(`there is no column "${column}"`, { hint })
}

/**
 * The columns of a table from its header, else from its first row: texts come first and the label last, or the label
 * first where only the first cell is a number.
 *
 * @throws TinsmithError `bad-input` with the line and what is expected when they cannot be told
 */
export function guessColumns(header: readonly string[] | null, first: Row, wanted: Wanted, file: string): Columns {
  const columns = (header && columnsByName(header, wanted)) ?? columnsByPosition(first.cells, wanted)
  const needed = wanted.label === 'number' || wanted.label === 'class'
  if (!columns || (needed && columns.label === undefined) || (wanted.texts && columns.texts.length !== wanted.texts))
    throw badInput(`line ${first.line} has ${count(first.cells.length, 'column')} where ${describe(wanted)} are expected`, {
      where: file,
      hint: 'Say which columns they are, for example --columns text=0,label=2.',
    })
  return columns
}

function columnsByName(header: readonly string[], wanted: Wanted): Columns | null {
  const first = find(header, textNames)
  if (first === undefined) return null
  const second = wanted.texts === 1 ? undefined : find(header, secondTextNames)
  return { texts: second === undefined ? [first] : [first, second], label: find(header, labelNames) }
}

function find(header: readonly string[], names: readonly string[]): number | undefined {
  const at = names.map((name) => header.findIndex((cell) => cell.trim().toLowerCase() === name)).find((index) => index >= 0)
  return at
}

function columnsByPosition(cells: readonly string[], wanted: Wanted): Columns | null {
  const last = cells.length - 1
  if (last === 0) return { texts: [0] }
  if (isNumber(cells[0]) && !isNumber(cells[last])) return last > 2 ? null : { texts: last === 1 ? [1] : [1, 2], label: 0 }
  const labelled = isNumber(cells[last]) || wanted.label === 'class'
  const texts = cells.length - (labelled ? 1 : 0)
  if (texts > 2) return null
  return { texts: texts === 1 ? [0] : [0, 1], label: labelled ? last : undefined }
}

function describe({ texts, label }: Wanted): string {
  const parts = texts === 2 ? 'two texts' : texts === 1 ? 'one text' : 'one or two texts'
  return label === 'number' ? `${parts} and a number` : label === 'class' ? `${parts} and a label` : parts
}

/** `1 column`, `3 columns`. */
export function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
