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

/** Where text goes: a stream of the process, or what a test reads. */
export interface TextStream {
  readonly isTTY?: boolean
  readonly columns?: number
  /** `done` is called when the text is out, or the reader is gone. */
  write(text: string, done?: () => void): unknown
}

export interface Streams {
  readonly stdout: TextStream
  readonly stderr: TextStream
}

/** Where a command's words go: one document or text on stdout, progress and warnings on stderr. */
export class Terminal {
  readonly json: boolean
  readonly progress: ProgressBar
  readonly #streams: Streams

  constructor(json: boolean, streams: Streams) {
    this.json = json
    this.progress = new ProgressBar(streams.stderr)
    this.#streams = streams
  }

  /** Writes the outcome; resolves when it is out. */
  async show(outcome: Outcome): Promise<void> {
    this.progress.close()
    await write(this.#streams.stdout, this.json ? `${JSON.stringify(outcome.document)}\n` : endLine(outcome.text()))
  }

  /** Writes a failure: a sentence for people, and the document where one was asked for. */
  async fail(sentence: string, document: unknown, stack: string | null): Promise<void> {
    this.progress.close()
    await write(this.#streams.stderr, `tinsmith: ${sentence}\n${stack ? endLine(stack) : ''}`)
    if (this.json) await write(this.#streams.stdout, `${JSON.stringify({ error: document })}\n`)
  }
}

function endLine(text: string): string {
  return !text || text.endsWith('\n') ? text : `${text}\n`
}

function write(stream: TextStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (text) stream.write(text, () => resolve())
    else resolve()
  })
}
