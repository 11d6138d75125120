import v8 from 'node:v8'
import { keepWithBody, keptFile, openKept } from '../../../base/kept-files.node.js'
import type { KeptProgram } from '../backend.js'
import { outlineOf, type PlanOutline } from '../plan/plan.js'
import { CompiledPlan } from './compiled-plan.node.js'
import { ConstantMemory } from './constant-memory.node.js'
import { processorFeatures } from './features.node.js'
import type { LinkedCode } from './linked-code.node.js'
import type { PlacedWord } from './parameter-blocks.js'
import { X64Program, type X64ProgramOptions } from './program.node.js'
import type { ScheduledKernel } from './schedule.js'

/** What is kept of a program beside its constants: plain data, in which these lie so far behind their beginning. */
interface Head {
  readonly about: unknown
  readonly plan: PlanOutline
  readonly kernels: readonly ScheduledKernel[]
  readonly code: LinkedCode
}

/** A program that an earlier process kept under this key, for this processor and the same options. */
export function findProgram(key: string, options: X64ProgramOptions): KeptProgram | undefined {
  const file = fileOf(key, options)
  const kept = file && openKept(file)
  if (!kept) return undefined
  const { about, plan, kernels, code } = v8.deserialize(kept.head) as Head
  const open = async () => {
    const constants = new ConstantMemory()
    const memory = constants.allocate(kept.bodyBytes)
    await kept.readBody(memory).catch((error) => {
      constants.release()
      throw error
    })
    const start = constants.place(memory)
    const placed = kernels.map((kernel) => moved(kernel, (offset) => start + offset))
    return new X64Program(new CompiledPlan(plan, { kernels: placed, code, constants }, options.threads), options)
  }
  return { about, plan, open, close: kept.close }
}

/** Keeps a program for later processes, with what its user says about it: plain data. */
export async function keepProgram(key: string, about: unknown, program: X64Program): Promise<void> {
  const file = fileOf(key, program.options)
  if (file)
    await program.read(() => keepWithBody(file, v8.serialize(headOf(program.compiled, about)), program.compiled.constants.contents()))
}

function headOf(compiled: CompiledPlan, about: unknown): Head {
  const { plan, placed, constants } = compiled
  const { code, offsets } = compiled.linked()
  const kernels = placed.map((kernel) => moved(kernel, (address) => constants.offsetOf(address)))
  return { about, plan: outlineOf(plan), kernels, code: { code: Uint8Array.from(code), offsets } }
}

function fileOf(key: string, { script, ...options }: X64ProgramOptions): string | undefined {
  return script && keptFile(script, 'program', processorFeatures(), options, key)
}

/** The kernel with its constants elsewhere; other words stay the same objects, which stand for the same memory in several kernels. */
function moved(kernel: ScheduledKernel, move: (place: number) => number): ScheduledKernel {
  const elsewhere = (words: readonly PlacedWord[]) =>
    words.map((word) => (typeof word === 'object' && 'constant' in word ? { constant: move(word.constant) } : word))
  const { words, shares } = kernel
  return {
    ...kernel,
    words: elsewhere(words),
    ...(shares && { shares: new Map([...shares].map(([parts, all]) => [parts, all.map((share) => share && elsewhere(share))])) }),
  }
}
