import { thisScript } from '../../../base/kept-files.node.js'
import type { Backend } from '../backend.js'
import { teamOperations } from '../team.js'
import { CompiledPlan } from './compiled-plan.node.js'
import { findProgram, keepProgram } from './kept-program.node.js'
import { X64Program, type X64ProgramOptions } from './program.node.js'

/** Enough tokens for each read of the weights, few enough for their activations to stay in the caches of a core. */
const blockTokens = 256

/** Some tens of microseconds. */
const patience = 200_000

/** Threads of libuv's pool. */
const poolThreads = Number(process.env['UV_THREADPOOL_SIZE']) || 4

/** Runs plans as machine code for this processor. */
export function x64Backend(given: Partial<Omit<X64ProgramOptions, 'threads'>> = {}): Backend {
  const defaults = { blockTokens, teamOperations, patience, guards: false, script: thisScript }
  const optionsFor = (threads: number): X64ProgramOptions => ({ ...defaults, ...given, threads: Math.min(threads, poolThreads) })
  return {
    name: 'x64',
    fusions: { sideBySide: true, quantizer: true },
    async compile(plan, { threads, profile = false }) {
      const options = optionsFor(profile ? 1 : threads)
      const { compileKernels } = await import('./compile.node.js')
      const compiled = await compileKernels(plan, options.threads)
      const { TimedPlan } = await import('./timed-plan.node.js')
      return new X64Program(new (profile ? TimedPlan : CompiledPlan)(plan, compiled, options.threads), options)
    },
    kept: {
      find: (key, { threads }) => findProgram(key, optionsFor(threads)),
      keep: (key, about, program) => keepProgram(key, about, program as X64Program),
    },
  }
}

/** Machine code for x64: AVX2 or more, made when a plan is compiled. */
export const x64: Backend = x64Backend()
