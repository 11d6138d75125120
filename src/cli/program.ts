import { Command } from 'commander'
import { TinsmithError } from '../base/errors.js'
import type { Act, Outcome } from './action.js'
import { addCache } from './cache.js'
import { addCompare } from './compare.js'
import { addCompress } from './compress.js'
import { addConformance } from './conformance.js'
import { addConvert } from './convert.js'
import { addDemo } from './demo.js'
import { addEvaluate } from './evaluate.js'
import { failureOf, stackOf } from './failure.js'
import { addInspect } from './inspect.js'
import { addList } from './list.js'
import { addRun } from './run.js'
import type { Streams } from './streams.js'
import { Terminal } from './terminal.js'
import { addTrain } from './train.js'

/**
 * Runs a command line.
 *
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted
 */
export async function runCommandLine(words: readonly string[], streams: Streams): Promise<number> {
  const terminal = new Terminal(words.includes('--json'), streams)
  const interruption = new AbortController()
  const onInterrupt = () => interrupt(interruption)
  process.on('SIGINT', onInterrupt)
  const program = programOf(terminal, streams, interruption.signal)
  try {
    if (words.includes('--version')) await terminal.show(await versionOutcome())
    else if (words.length) await program.parseAsync([...words], { from: 'user' })
    else program.outputHelp()
    return 0
  } catch (error) {
    if (isDone(error)) return 0
    const failure = failureOf(error, interruption.signal.aborted)
    const { code, message, where, hint } = failure
    const stack = words.includes('--verbose') ? stackOf(error) : null
    await terminal.fail(failure.sentence, { code, message, where: where ?? null, hint: hint ?? null }, stack)
    return failure.exitCode
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}

/** The first interruption asks the work to stop; where it does not listen, or at the second one, the process ends. */
function interrupt(interruption: AbortController): void {
  if (interruption.signal.aborted) process.exit(130)
  interruption.abort(new TinsmithError('interrupted', 'Interrupted'))
  setTimeout(() => process.exit(130), patience).unref()
}

/** Milliseconds for work that was interrupted to end by itself. */
const patience = 3000

async function versionOutcome(): Promise<Outcome> {
  const { versions } = await import('../commands/build.js')
  const found = await versions()
  return { document: found, text: () => found['tinsmith'] }
}

/** Commander throws after it has shown help or the version. */
function isDone(error: unknown): boolean {
  const { code, exitCode } = error as { code?: unknown; exitCode?: unknown }
  return typeof code === 'string' && code.startsWith('commander.') && exitCode === 0
}

function programOf(terminal: Terminal, streams: Streams, signal: AbortSignal): Command {
  const output = { writeOut: (text: string) => void streams.stdout.write(text), outputError: () => {} }
  const program = new Command('tinsmith')
    .description('Makes pretrained transformers thin: converts, compresses, measures and runs them.')
    .option('--json', 'one JSON document on stdout and nothing else')
    .option('--verbose', 'the stack of errors')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .configureOutput(output)
    .exitOverride()
    .option('--version', 'the version of Tinsmith')
  const act: Act = (work) => {
    return async (...given) => {
      const command = given.pop() as Command
      const options = given.pop() as Parameters<typeof work>[2]
      await terminal.show(await work({ progress: terminal.progress, signal }, command.args, options))
    }
  }
  for (const add of [
    addConvert,
    addCompress,
    addEvaluate,
    addCompare,
    addInspect,
    addRun,
    addTrain,
    addList,
    addConformance,
    addCache,
    addDemo,
  ])
    add(program, act)
  for (const command of program.commands) command.exitOverride().configureOutput(output)
  return program
}
