import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { readLines, readTextChunks } from './lines.js'

/** A row of a table; `line` is the line of the file on which it begins, from 1. */
export interface Row {
  readonly line: number
  readonly cells: readonly string[]
}

/** Characters that a quoted cell may hold before an unclosed quote is assumed. */
const longestCell = 1 << 24

/**
 * The rows of a CSV or TSV file, streaming; empty lines are left out.
 *
 * Cells may be quoted with `"`, doubled inside; quoted cells may hold line breaks; a quote inside an unquoted cell is an
 * ordinary character; rows end with LF, CRLF or CR. Between tabs quotes mean nothing unless a whole cell is quoted
 * correctly, for many TSV files hold bare quotes, and a cell holds no line break.
 *
 * Source: RFC 4180; IANA text/tab-separated-values.
 *
 * @throws TinsmithError `bad-input` with the line for a quote that is never closed or text after a closing quote
 * @example
 * for await (const { line, cells } of readDelimited(source, ',')) console.log(line, cells)
 */
export async function* readDelimited(source: ByteSource, delimiter: string): AsyncGenerator<Row> {
  if (delimiter === '\t') {
    for await (const { number, text } of readLines(source)) if (text) yield { line: number, cells: text.split('\t').map(unquoted) }
    return
  }
  const parser = new RowParser(source.name, delimiter)
  for await (const chunk of readTextChunks(source)) yield* parser.push(chunk)
  yield* parser.end()
}

function unquoted(cell: string): string {
  return /^"(?:[^"]|"")*"$/.test(cell) ? cell.slice(1, -1).replaceAll('""', '"') : cell
}

type State = 'cell-start' | 'plain' | 'quoted' | 'after-quote'

class RowParser {
  readonly #name: string
  readonly #delimiter: string
  #state: State = 'cell-start'
  #cells: string[] = []
  #cell = ''
  #line = 1
  #rowLine = 1
  #quoteLine = 1
  #afterReturn = false

  constructor(name: string, delimiter: string) {
    this.#name = name
    this.#delimiter = delimiter
  }

  *push(chunk: string): Generator<Row> {
    let at = 0
    while (at < chunk.length) {
      const stop = this.#plainRun(chunk, at)
      if (stop > at) {
        this.#append(chunk.slice(at, stop))
        at = stop
        continue
      }
      const row = this.#special(chunk[at++])
      if (row) yield row
    }
  }

  *end(): Generator<Row> {
    if (this.#state === 'quoted') throw this.#error('a quote is never closed', this.#quoteLine)
    const row = this.#endRow()
    if (row) yield row
  }

  /** The index of the next character that means something in the present state. */
  #plainRun(chunk: string, from: number): number {
    let at = from
    if (this.#state === 'quoted') while (at < chunk.length && chunk[at] !== '"' && chunk[at] !== '\n') at++
    else while (at < chunk.length && !this.#isSpecial(chunk[at])) at++
    return at
  }

  #isSpecial(char: string): boolean {
    return char === this.#delimiter || char === '\n' || char === '\r' || char === '"'
  }

  #append(text: string): void {
    if (this.#state === 'after-quote') throw this.#error('text follows a closing quote', this.#line)
    if (this.#state === 'cell-start') this.#state = 'plain'
    this.#cell += text
    this.#afterReturn = false
    if (this.#cell.length > longestCell) throw this.#error(`a cell is longer than ${longestCell} characters`, this.#rowLine)
  }

  #special(char: string): Row | null {
    const lineEndsWithBoth = char === '\n' && this.#afterReturn
    this.#afterReturn = char === '\r' && this.#state !== 'quoted'
    if (char === '"') return this.#quote()
    if (this.#state === 'quoted') {
      this.#line++
      this.#cell += char
      return null
    }
    if (char === this.#delimiter) {
      this.#endCell()
      return null
    }
    if (lineEndsWithBoth) return null
    const row = this.#endRow()
    this.#rowLine = ++this.#line
    return row
  }

  #quote(): null {
    if (this.#state === 'cell-start') {
      this.#state = 'quoted'
      this.#quoteLine = this.#line
    } else if (this.#state === 'quoted') this.#state = 'after-quote'
    else if (this.#state === 'after-quote') {
      this.#cell += '"'
      this.#state = 'quoted'
    } else this.#cell += '"'
    return null
  }

  #endCell(): void {
    this.#cells.push(this.#cell)
    this.#cell = ''
    this.#state = 'cell-start'
  }

  #endRow(): Row | null {
    const blank = !this.#cells.length && this.#state === 'cell-start'
    if (!blank) this.#endCell()
    const row = { line: this.#rowLine, cells: this.#cells }
    this.#cells = []
    return blank ? null : row
  }

  #error(what: string, line: number) {
    return badInput(`${what} (line ${line})`, { where: this.#name, hint: 'Quote cells with ", and write a quote inside a cell as "".' })
  }
}
