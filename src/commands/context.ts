import { type Progress, SilentProgress, type Stage } from '../base/progress.js'

/** What every command takes. */
export interface CommandOptions {
  /** Told how far the work is. Default: nobody. */
  readonly progress?: Progress
  /** Stops the work; the command then rejects with `interrupted` and leaves nothing behind. */
  readonly signal?: AbortSignal
}

/** Hands everything on and keeps the warnings, which belong to a command's result. */
export class WarningKeeper implements Progress {
  readonly warnings: string[] = []
  readonly #next: Progress

  constructor(next: Progress = new SilentProgress()) {
    this.#next = next
  }

  stage(name: string, total?: number): Stage {
    return this.#next.stage(name, total)
  }

  warn(message: string): void {
    if (this.warnings.includes(message)) return
    this.warnings.push(message)
    this.#next.warn(message)
  }

  info(message: string): void {
    this.#next.info(message)
  }
}
