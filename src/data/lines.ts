import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'

const chunkBytes = 1 << 20

/** What a decoder puts for bytes that are no UTF-8. */
export const broken = '\uFFFD'

/** Share of characters that may be broken before a file is taken for no text at all. */
const brokenShare = 0.1

/**
 * The text (UTF-8) of a source in pieces, without the byte order mark; no piece splits a character. Single bytes that are
 * no UTF-8 (old data sets have some) become U+FFFD.
 *
 * @throws TinsmithError `bad-input` when the bytes are no text: a zero byte, or a tenth of the characters broken
 */
export async function* readTextChunks(source: ByteSource): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  for (let offset = 0; offset < source.size; offset += chunkBytes) {
    const length = Math.min(chunkBytes, source.size - offset)
    const text = decoder.decode(await source.read(offset, length), { stream: offset + length < source.size })
    if (text.includes('\0') || text.split(broken).length - 1 > brokenShare * text.length)
      throw badInput('this is not UTF-8 text', { where: source.name, hint: 'Give a text, CSV, TSV or JSONL file encoded in UTF-8.' })
    if (text) yield text
  }
}

/** The whole text (UTF-8) of a source, without the byte order mark. */
export async function readWholeText(source: ByteSource): Promise<string> {
  const pieces: string[] = []
  for await (const piece of readTextChunks(source)) pieces.push(piece)
  return pieces.join('')
}

/** A line of a text file; numbers begin at 1. */
export interface Line {
  readonly number: number
  readonly text: string
}

/** The lines of a source, ended by LF, CRLF or the end of the file; streaming. */
export async function* readLines(source: ByteSource): AsyncGenerator<Line> {
  let number = 1
  let rest = ''
  for await (const chunk of readTextChunks(source)) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const text of lines) yield { number: number++, text: withoutReturn(text) }
  }
  if (rest) yield { number, text: withoutReturn(rest) }
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
