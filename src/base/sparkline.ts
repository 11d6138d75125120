const levels = '▁▂▃▄▅▆▇█'

/**
 * A curve of numbers as a line of blocks, averaged into as many as there is room for.
 *
 * @example
 * sparkline([1, 2, 3]) // '▁▅█'
 */
export function sparkline(values: readonly number[], width = 32): string {
  const count = Math.min(width, values.length)
  const means = Array.from({ length: count }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / count), Math.floor(((i + 1) * values.length) / count))
    return part.reduce((sum, value) => sum + value, 0) / part.length
  })
  const [least, most] = [Math.min(...means), Math.max(...means)]
  return means.map((value) => levels[most > least ? Math.round(((value - least) / (most - least)) * (levels.length - 1)) : 0]).join('')
}
