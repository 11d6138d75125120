import type { Outcome } from './action.js'
import { ProgressBar } from './progress-bar.js'
import type { Streams, TextStream } from './streams.js'

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
