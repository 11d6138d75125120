import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { type Columns, count, guessColumns, isHeader, isNumber, parseColumns, type Wanted } from './columns.js'
import { type Row, readDelimited } from './delimited.js'
import { detectFormat, type TableFormat } from './format.js'
import { broken, readLines } from './lines.js'

/** A text or a pair of texts, with what is known of it. */
export interface TextSample {
  /** One or two. */
  readonly texts: readonly string[]
  /** A number, or the name of a class. */
  readonly label?: number | string
}

/** How long samples are in characters or tokens: the longest text of each; undefined where they are no texts. */
export function sampleLengths(samples: readonly object[]): number[] | undefined {
  const lengths = samples.map((sample) => {
    if ('texts' in sample) return Math.max(...(sample as TextSample).texts.map((text) => text.length))
    return 'ids' in sample ? (sample.ids as readonly number[]).length : Number.NaN
  })
  return lengths.some(Number.isNaN) ? undefined : lengths
}

export interface TableOptions extends Wanted {
  /** `text=0,label=2` or names of the header's columns; overrides what the file looks like. */
  readonly columns?: string
  /** Between the cells of a row; default by the file. */
  readonly delimiter?: string
  /** Default by the file's name and content. */
  readonly format?: TableFormat
}

/** Samples in memory with what is noteworthy about them. */
export interface SampleSet<Sample = TextSample> {
  readonly samples: readonly Sample[]
  /** One sentence each; for people. */
  readonly notes: readonly string[]
}

/**
 * The samples of a file, streaming: CSV, TSV, JSONL, `LABEL text` lines or plain text (a sample a line).
 *
 * @throws TinsmithError `bad-input` with the line and what is expected for wrong or missing columns; `usage` for columns
 * that do not exist
 * @example
 * for await (const { texts, label } of readTable(source, { texts: 2, label: 'number' })) console.log(texts, label)
 */
export async function* readTable(source: ByteSource, options: TableOptions = {}): AsyncGenerator<TextSample> {
  const format = options.format ?? (options.delimiter ? 'csv' : await detectFormat(source))
  if (format === 'jsonl') yield* fromRecords(source, options)
  else if (format === 'labelled') yield* fromLabelledLines(source, options)
  else if (format === 'text') yield* fromLines(source, options)
  else yield* fromRows(source, options, options.delimiter ?? (format === 'tsv' ? '\t' : ','))
}

/**
 * All samples of a file.
 *
 * @throws TinsmithError as {@link readTable}; `bad-input` when there are none
 */
export async function readSamples(source: ByteSource, options: TableOptions = {}): Promise<SampleSet> {
  const samples: TextSample[] = []
  for await (const sample of readTable(source, options)) samples.push(sample)
  if (!samples.length) throw badInput('the file holds no samples', { where: source.name, hint: `Expected: ${expected(options)}.` })
  return { samples, notes: notesOn(samples) }
}

function notesOn(samples: readonly TextSample[]): string[] {
  const labels = new Set(samples.map((sample) => sample.label))
  const notes: string[] = []
  if (labels.size === 1 && !labels.has(undefined) && samples.length > 1)
    notes.push(`All ${samples.length} samples have the label ${[...labels][0]}.`)
  const empty = samples.filter((sample) => sample.texts.some((text) => !text.trim())).length
  if (empty) notes.push(`${count(empty, 'sample')} of ${samples.length} have an empty text.`)
  const damaged = samples.filter((sample) => sample.texts.some((text) => text.includes(broken))).length
  if (damaged) notes.push(`${count(damaged, 'sample')} of ${samples.length} have bytes that are no UTF-8.`)
  return notes
}

async function* fromRows(source: ByteSource, options: TableOptions, delimiter: string): AsyncGenerator<TextSample> {
  const rows = readDelimited(source, delimiter)
  const first = await rows.next()
  if (first.done) return
  const second = await rows.next()
  const headed = isHeader(first.value.cells, second.value?.cells)
  const header = headed ? first.value.cells.map((cell) => cell.trim()) : null
  const start: Row[] = [...(headed ? [] : [first.value]), ...(second.done ? [] : [second.value])]
  if (!start.length) return
  const columns = options.columns ? parseColumns(options.columns, header) : guessColumns(header, start[0], options, source.name)
  for (const row of start) yield sampleOf(row, columns, options, source.name)
  for await (const row of rows) yield sampleOf(row, columns, options, source.name)
}

function sampleOf(row: Row, columns: Columns, options: TableOptions, file: string): TextSample {
  const needed = Math.max(...columns.texts, columns.label ?? 0)
  if (needed >= row.cells.length)
    throw badInput(`line ${row.line} has ${count(row.cells.length, 'column')} where ${needed + 1} are expected`, {
      where: file,
      hint: 'Quote cells that hold the delimiter, or say which columns to read with --columns.',
    })
  return checked(
    columns.texts.map((at) => row.cells[at]),
    columns.label === undefined ? undefined : row.cells[columns.label].trim(),
    row.line,
    options,
    file,
  )
}

/** A sample whose texts and label are what is wanted. */
function checked(texts: readonly string[], label: string | undefined, line: number, wanted: Wanted, file: string): TextSample {
  const wrong = (what: string) => badInput(`line ${line} ${what}`, { where: file, hint: `Expected: ${expected(wanted)}; see --columns.` })
  if (wanted.texts && texts.length !== wanted.texts) throw wrong(`has ${count(texts.length, 'text')} where ${wanted.texts} are expected`)
  const needed = wanted.label === 'number' || wanted.label === 'class'
  if (label === undefined || label === '') {
    if (needed) throw wrong('has no label')
    return { texts }
  }
  if (wanted.label === 'number' && !isNumber(label)) throw wrong(`has the label "${label.slice(0, 40)}", which is no number`)
  return { texts, label: isNumber(label) ? Number(label) : label }
}

async function* fromLabelledLines(source: ByteSource, options: TableOptions): AsyncGenerator<TextSample> {
  for await (const { number, text } of readLines(source)) {
    if (!text.trim()) continue
    const [, label, rest] = /^(\S+)[ \t]+(.*)$/.exec(text) ?? []
    if (!rest) throw badInput(`line ${number} is no label followed by a text`, { where: source.name })
    yield checked([rest], label.replace(/^__label__/, ''), number, options, source.name)
  }
}

async function* fromLines(source: ByteSource, options: TableOptions): AsyncGenerator<TextSample> {
  for await (const { number, text } of readLines(source)) if (text.trim()) yield checked([text], undefined, number, options, source.name)
}

async function* fromRecords(source: ByteSource, options: TableOptions): AsyncGenerator<TextSample> {
  for await (const { number, text } of readLines(source)) {
    if (!text.trim()) continue
    const record = parseRecord(text, number, source.name)
    if (typeof record === 'string') {
      yield checked([record], undefined, number, options, source.name)
      continue
    }
    const header = Object.keys(record)
    const row: Row = { line: number, cells: header.map((key) => cellOf(record[key])) }
    const columns = options.columns ? parseColumns(options.columns, header) : guessColumns(header, row, options, source.name)
    yield sampleOf(row, columns, options, source.name)
  }
}

function parseRecord(text: string, line: number, file: string): string | Record<string, unknown> {
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch (error) {
    throw badInput(`line ${line} is not JSON (${(error as Error).message})`, { where: file, hint: 'Expected: one JSON object a line.' })
  }
  if (typeof record === 'string') return record
  if (record === null || typeof record !== 'object' || Array.isArray(record))
    throw badInput(`line ${line} is neither a JSON object nor a text`, {
      where: file,
      hint: 'Expected: for example {"text": "...", "label": 1}.',
    })
  return record as Record<string, unknown>
}

function cellOf(value: unknown): string {
  return typeof value === 'string'
    ? value
    : value === null || value === undefined
      ? ''
      : typeof value === 'object'
        ? JSON.stringify(value)
        : String(value)
}

function expected({ texts, label }: Wanted): string {
  const parts = texts === 2 ? ['text', 'text'] : ['text']
  if (label === 'number') parts.push('number')
  if (label === 'class') parts.push('label')
  return `${parts.join(',')} a row (CSV, TSV, JSONL${label === 'class' ? ' or LABEL text lines' : parts.length === 1 ? ' or plain text' : ''})`
}
