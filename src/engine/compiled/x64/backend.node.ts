import type { Backend, Program } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { kernelsOf } from '../program.js'
import { operationsPerToken, teamOperations } from '../team.js'
import { CompiledPlan } from './compiled-plan.node.js'
import { ConstantMemory } from './constant-memory.node.js'
import { contextOf } from './context.js'
import { processorFeatures } from './features.node.js'
import { panelPacker } from './panel-packer.node.js'
import { type PlacedKernel, placedKernel } from './placed-kernel.js'
import { X64Program, type X64ProgramOptions } from './program.node.js'
import { x64Fusions, x64Rules } from './rules.js'
import { TimedPlan } from './timed-plan.node.js'

/** Enough tokens for each read of the weights, few enough for their activations to stay in the caches of a core. */
const blockTokens = 256

/** Some tens of microseconds. */
const patience = 200_000

/** Copies of weights that other threads have still to make, at most, before those of the next step are read. */
const mostPending = 16

/** Threads of libuv's pool. */
const poolThreads = Number(process.env['UV_THREADPOOL_SIZE']) || 4

/** Runs plans as machine code for this processor. */
export function x64Backend(options: Partial<Omit<X64ProgramOptions, 'threads'>> = {}): Backend {
  return {
    name: 'x64',
    fusions: x64Fusions,
    compile: (plan, { threads, profile = false }) => {
      const most = profile ? 1 : Math.min(threads, poolThreads)
      return compile(plan, { threads: most, blockTokens, teamOperations, patience, guards: false, ...options }, profile)
    },
  }
}

/** Machine code for x64: AVX2 or more, made when a plan is compiled. */
export const x64: Backend = x64Backend()

async function compile(plan: Plan, options: X64ProgramOptions, profile: boolean): Promise<Program> {
  const { threads } = options
  const constants = new ConstantMemory()
  const context = { ...contextOf(processorFeatures(), plan.steps, threads), packer: panelPacker(constants) }
  const keep = plan.steps.findIndex(({ kind }) => kind === 'keep')
  try {
    const kernels: PlacedKernel[] = []
    for (const [i, step] of plan.steps.entries()) {
      const placement = { place: (array: ArrayBufferView) => constants.place(array), threads, remaining: keep >= 0 && i > keep }
      // Weights are copied right away, so that no more than those of some steps are in memory twice.
      for (const kernel of await kernelsOf(x64Rules, step, context)) kernels.push(placedKernel(kernel, step, i, placement))
      await constants.filled(mostPending)
    }
    const compiled = new (profile ? TimedPlan : CompiledPlan)(plan, kernels, constants, threads)
    await constants.filled()
    return new X64Program(compiled, operationsPerToken(plan), options)
  } catch (error) {
    await constants.filled()
    constants.release()
    throw error
  }
}
