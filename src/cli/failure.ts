import { CommanderError } from 'commander'
import { TinsmithError, usage } from '../base/errors.js'

/** What went wrong as a TinsmithError, whatever was thrown. */
export function failureOf(error: unknown, interrupted: boolean): TinsmithError {
  if (error instanceof TinsmithError) return error
  if (error instanceof CommanderError) return wrongCommandLine(error)
  if (interrupted) return new TinsmithError('interrupted', 'Interrupted', { cause: error })
  const system = systemFailure(error)
  if (system) return system
  const message = error instanceof Error ? error.message : String(error)
  if (/array buffer allocation failed|out of memory|invalid array length/i.test(message))
    return new TinsmithError('out-of-memory', 'there is not enough memory', {
      hint: 'Close other programs or use a smaller model.',
      cause: error,
    })
  return new TinsmithError('failed', `something went wrong inside Tinsmith (${firstLine(message)})`, {
    hint: 'This is a bug; run it again with --verbose and report what it says.',
    cause: error,
  })
}

/** Commander's message and suggestion: `unknown option '--recipee'` with `(Did you mean --recipe?)` in the next line. */
function wrongCommandLine(error: CommanderError): TinsmithError {
  const [message, suggestion] = error.message.replace(/^error: /, '').split('\n')
  return usage(message.replace(/\.$/, ''), { hint: suggestion ? suggestion.replace(/^\(|\)$/g, '') : 'See tinsmith --help.' })
}

const refusals: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open',
  EIO: 'the disk failed',
}

/** What the operating system refused. */
function systemFailure(error: unknown): TinsmithError | null {
  const { code, path } = error as NodeJS.ErrnoException
  const why = refusals[code ?? '']
  return why ? new TinsmithError('cannot-write', `the system refused: ${why}`, { where: path, cause: error }) : null
}

function firstLine(text: string): string {
  return text.split('\n')[0].slice(0, 200)
}

/** The stack of what was thrown first. */
export function stackOf(error: unknown): string {
  const causes: string[] = []
  for (let at = error; at instanceof Error; at = at.cause) causes.push(at.stack ?? at.message)
  return causes.join('\ncaused by ') || String(error)
}
