/** Seconds as people say them. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 90) return `${Math.round(seconds)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}

/** Bytes as people say them. */
export function size(bytes: number): string {
  if (bytes < 1e3) return `${bytes} B`
  const unit = bytes < 1e6 ? (['kB', 1e3] as const) : bytes < 1e9 ? (['MB', 1e6] as const) : (['GB', 1e9] as const)
  return `${(bytes / unit[1]).toPrecision(3)} ${unit[0]}`
}

/** A number with as many digits as are worth reading. */
export function figure(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))
}

/** A count of things: `1 file`, `3 files`. */
export function count(number: number, thing: string): string {
  return `${number.toLocaleString('en')} ${thing}${number === 1 ? '' : 's'}`
}

/**
 * Rows as text in columns; numbers stand right, all else left.
 *
 * @example
 * table(['pass', 'seconds'], [['fuse-qkv', '0.1']])
 */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)))
  const right = head.map((_, i) => rows.length > 0 && rows.every((row) => /^(-?[\d.,]+( ?\S{1,8})?|)$/.test(row[i] ?? '')))
  const line = (cells: readonly string[]) =>
    widths
      .map((width, i) => (right[i] ? (cells[i] ?? '').padStart(width) : (cells[i] ?? '').padEnd(width)))
      .join('  ')
      .trimEnd()
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
