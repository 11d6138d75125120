import type { ByteSource } from '../base/bytes.js'

/** `labelled`: a class, a space and a text a line; `text`: a text a line. */
export type TableFormat = 'csv' | 'tsv' | 'jsonl' | 'labelled' | 'text'

const byExtension: Readonly<Record<string, TableFormat>> = { csv: 'csv', tsv: 'tsv', jsonl: 'jsonl', ndjson: 'jsonl' }
const sniffedBytes = 1 << 16

/**
 * The format of a table: by its file's extension, else by its first lines.
 *
 * @example
 * await detectFormat(new MemorySource(new TextEncoder().encode('1 good\n0 bad\n'), 'reviews.txt')) // 'labelled'
 */
export async function detectFormat(source: ByteSource): Promise<TableFormat> {
  const extension = /\.(\w+)$/.exec(source.name)?.[1].toLowerCase() ?? ''
  return byExtension[extension] ?? formatOf(await firstLines(source))
}

async function firstLines(source: ByteSource): Promise<string[]> {
  const length = Math.min(sniffedBytes, source.size)
  const lines = new TextDecoder().decode(await source.read(0, length)).split(/\r?\n/)
  if (length < source.size && lines.length > 1) lines.pop()
  return lines.filter((line) => line.trim())
}

function formatOf(lines: readonly string[]): TableFormat {
  if (!lines.length) return 'text'
  if (lines.every((line) => /^\s*\{.*\}\s*$/.test(line))) return 'jsonl'
  if (lines.every((line) => /^(\d+|__label__\S+)[ \t]\s*\S/.test(line))) return 'labelled'
  const tabs = lines.map((line) => line.split('\t').length)
  if (tabs[0] > 1 && tabs.every((cells) => cells === tabs[0])) return 'tsv'
  if (lines.every((line) => /,\s*-?\d+(\.\d+)?\s*$/.test(line))) return 'csv'
  return 'text'
}
