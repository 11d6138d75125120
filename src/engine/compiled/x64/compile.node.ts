import type { Plan } from '../plan/plan.js'
import { kernelsOf } from '../program.js'
import type { CompiledKernels } from './compiled-plan.node.js'
import { ConstantMemory } from './constant-memory.node.js'
import { contextOf } from './context.js'
import { driver } from './driver.js'
import { processorFeatures } from './features.node.js'
import { linkedCode } from './linked-code.node.js'
import { panelPacker } from './panel-packer.node.js'
import { type PlacedKernel, placedKernel } from './placed-kernel.js'
import { x64Rules } from './rules.js'
import { barrier, startTeam } from './team.js'

/** Copies of weights that other threads have still to make, at most, before those of the next step are read. */
const mostPending = 16

/** Makes the kernels of a plan, and packs its weights. */
export async function compileKernels(plan: Plan, threads: number): Promise<CompiledKernels> {
  const constants = new ConstantMemory()
  const context = { ...contextOf(processorFeatures(), plan.steps, threads), packer: panelPacker(constants) }
  const keep = plan.steps.findIndex(({ kind }) => kind === 'keep')
  try {
    const placed: PlacedKernel[] = []
    for (const [i, step] of plan.steps.entries()) {
      const placement = { place: (array: ArrayBufferView) => constants.place(array), threads, remaining: keep >= 0 && i > keep }
      // Weights are copied right away, so that no more than those of some steps are in memory twice.
      for (const kernel of await kernelsOf(x64Rules, step, context)) placed.push(placedKernel(kernel, step, i, placement))
      await constants.filled(mostPending)
    }
    const code = linkedCode(codesOf(placed), processorFeatures())
    await constants.filled()
    // Functions that make code hold tables that steps share.
    return { kernels: placed.map(({ code, ...scheduled }) => scheduled), code, constants }
  } catch (error) {
    await constants.filled()
    constants.release()
    throw error
  }
}

function codesOf(kernels: readonly PlacedKernel[]): ReadonlyMap<string, () => Uint8Array> {
  return new Map([...Object.entries({ driver, startTeam, barrier }), ...kernels.map(({ key, code }) => [key, code] as const)])
}
