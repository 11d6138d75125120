/**
 * Cuts a stream of text at the first stop string: holds back what may be the beginning of one.
 *
 * @example
 * const filter = new StopFilter(['END'])
 * filter.push('one E') // 'one '
 * filter.push('ND two') // '', and filter.stopped is true
 */
export class StopFilter {
  readonly #stops: readonly string[]
  #held = ''
  stopped = false

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter(Boolean)
  }

  /** Takes a piece; returns what is certainly before any stop string. */
  push(piece: string): string {
    if (this.stopped) return ''
    const text = this.#held + piece
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
    if (found.length) {
      this.stopped = true
      this.#held = ''
      return text.slice(0, Math.min(...found))
    }
    const kept = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)))
    this.#held = text.slice(text.length - kept)
    return text.slice(0, text.length - kept)
  }

  /** What was held back when the stream ended without a stop string. */
  end(): string {
    const held = this.#held
    this.#held = ''
    return held
  }
}

/** Length of the longest end of `text` that `stop` begins with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--)
    if (stop.startsWith(text.slice(text.length - length))) return length
  return 0
}
