/** Bytes for people. */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let [value, unit] = [bytes, 0]
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit ? plainNumber(value, 3) : value} ${units[unit]}`
}

/** A number with some significant digits, never in the form `1e+5`; tiny ones as `1.2e-6`. */
export function plainNumber(value: number, digits = 4): string {
  const size = Math.abs(value)
  if (!Number.isFinite(value)) return String(value)
  if (size && size < 1e-4) return minus(value.toExponential(1))
  const options = size < 10 ** digits ? { maximumSignificantDigits: digits } : { maximumFractionDigits: 0 }
  return minus(value.toLocaleString('en', options))
}

/** A number as figures of one column have it: two decimals from 10 on, else four. */
export function metricText(value: number): string {
  const decimals = Math.abs(value) < 10 ? 4 : 2
  return minus(value.toLocaleString('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals }))
}

/** What was added: with its sign, and as many decimals as the larger of the two numbers. */
export function changeText(before: number, after: number): string {
  const decimals = Math.max(Math.abs(before), Math.abs(after)) < 10 ? 4 : 2
  const change = Number((after - before).toFixed(decimals))
  return `${change > 0 ? '+' : change < 0 ? '' : '±'}${minus(change.toFixed(decimals))}`
}

function minus(text: string): string {
  return text.replace('-', '−').replace('e−', 'e-')
}

/** Counts of parameters: `22.7 million`. */
export function countText(count: number): string {
  if (count >= 1e9) return `${plainNumber(count / 1e9, 3)} billion`
  return count >= 1e6 ? `${plainNumber(count / 1e6, 3)} million` : count.toLocaleString('en')
}

/** A time for people. */
export function secondsText(seconds: number): string {
  if (seconds >= 90) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
  return seconds >= 0.01 ? `${plainNumber(seconds, seconds < 1 ? 3 : 2)} s` : '< 0.01 s'
}
