/** Where long work tells how far it is; the command line draws it, libraries may ignore it. */
export interface Progress {
  /** Begins a stage. `total` in any unit; undefined when unknown. Returns its handle. */
  stage(name: string, total?: number): Stage
  /** Something that a person should know and that does not stop the work. */
  warn(message: string): void
  /** One line about what happens now. */
  info(message: string): void
}

export interface Stage {
  advance(by?: number): void
  /** What is shown beside the progress: a loss and its curve. */
  note?(text: string): void
  end(): void
}

/** Progress that keeps warnings and shows nothing. */
export class SilentProgress implements Progress {
  readonly warnings: string[] = []

  stage(): Stage {
    return { advance() {}, end() {} }
  }

  warn(message: string): void {
    if (!this.warnings.includes(message)) this.warnings.push(message)
  }

  info(): void {}
}
