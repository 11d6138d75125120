import type { Progress } from '../base/progress.js'

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

/** What a command does with its arguments and options. */
export type Act = <Options>(
  work: (context: CommandContext, words: readonly string[], options: Options) => Promise<Outcome>,
) => (...given: unknown[]) => Promise<void>
