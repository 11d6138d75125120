import type { Progress } from '../base/progress.js'
import { ProgressBar } from './progress-bar.js'

/** What a command line command gives: the document for `--json`, the text for people. */
export interface Outcome {
  readonly document: unknown
  text(): string
}

/** What a command runs with. */
export interface CommandContext {
  readonly progress: Progress
  readonly signal: AbortSignal
}

/** Where a command's words go: one document or text on stdout, progress and warnings on stderr. */
export class Terminal {
  readonly json: boolean
  readonly progress: ProgressBar

  constructor(json: boolean) {
    this.json = json
    this.progress = new ProgressBar(process.stderr)
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  }

  /** Writes the outcome; resolves when it is out. */
  async show(outcome: Outcome): Promise<void> {
    this.progress.close()
    await write(process.stdout, this.json ? `${JSON.stringify(outcome.document)}\n` : endLine(outcome.text()))
  }

  /** Writes a failure: a sentence for people, and the document where one was asked for. */
  async fail(sentence: string, document: unknown, stack: string | null): Promise<void> {
    this.progress.close()
    await write(process.stderr, `tinsmith: ${sentence}\n${stack ? endLine(stack) : ''}`)
    if (this.json) await write(process.stdout, `${JSON.stringify({ error: document })}\n`)
  }
}

function endLine(text: string): string {
  return !text || text.endsWith('\n') ? text : `${text}\n`
}

/** Resolves when the reader has it, or is gone. */
function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (!text || stream.destroyed) resolve()
    else stream.write(text, () => resolve())
  })
}
