import { closest, distance } from 'fastest-levenshtein'

/** What kind of failure an error is: decides the exit code and tells machines what happened. */
export type ErrorCode = 'bad-input' | 'usage' | 'unsupported' | 'difference' | 'failed' | 'out-of-memory' | 'cannot-write' | 'interrupted'

const exitCodes: Record<ErrorCode, number> = {
  'bad-input': 2,
  usage: 2,
  unsupported: 2,
  difference: 1,
  failed: 1,
  'out-of-memory': 1,
  'cannot-write': 1,
  interrupted: 130,
}

export interface ErrorDetails {
  /** File, tensor, node or option that the error is about. */
  where?: string
  /** What to do about it. */
  hint?: string
  cause?: unknown
}

/**
 * Every error that Tinsmith throws on purpose: one sentence that says what, where, and what to do.
 *
 * @example
 * const error = new TinsmithError('bad-input', 'The header is cut off', { where: 'model.safetensors' })
 * error.exitCode // 2
 */
export class TinsmithError extends Error {
  readonly code: ErrorCode
  readonly where?: string
  readonly hint?: string

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'TinsmithError'
    this.code = code
    this.where = details.where
    this.hint = details.hint
  }

  get exitCode(): number {
    return exitCodes[this.code]
  }

  /** The sentence for people: where, what, what to do. */
  get sentence(): string {
    const place = this.where && !isNamed(this.where, this.message) ? `${this.where}: ` : ''
    const end = /[.!?]$/.test(this.message) ? '' : '.'
    return `${place}${this.message}${end}${this.hint ? ` ${this.hint}` : ''}`
  }
}

/** Whether a text says a name as a word of its own. */
function isNamed(name: string, text: string): boolean {
  const at = text.indexOf(name)
  return at >= 0 && !/\w/.test(text[at - 1] ?? '') && !/\w/.test(text[at + name.length] ?? '')
}

/** A file, option value or graph that is not what it must be. */
export function badInput(message: string, details: ErrorDetails = {}): TinsmithError {
  return new TinsmithError('bad-input', message, details)
}

/** A correct input which Tinsmith cannot handle. */
export function unsupported(message: string, details: ErrorDetails = {}): TinsmithError {
  return new TinsmithError('unsupported', message, details)
}

/** A wrong command line, recipe or call. */
export function usage(message: string, details: ErrorDetails = {}): TinsmithError {
  return new TinsmithError('usage', message, details)
}

/**
 * "Did you mean": the candidate nearest to a misspelt word, or undefined when none is near.
 *
 * @example
 * nearest('berd', ['bert', 'llama']) // 'bert'
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (!candidates.length) return undefined
  const best = closest(word, candidates)
  return distance(word, best) <= Math.max(2, Math.ceil(word.length / 3)) ? best : undefined
}

/** A hint sentence naming the nearest candidate, else all of them. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const best = nearest(word, candidates)
  return best ? `Did you mean "${best}"?` : `Known: ${candidates.join(', ')}.`
}

/** Throws `interrupted` when the signal has fired. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw new TinsmithError('interrupted', 'Interrupted', { cause: signal.reason })
}
