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
