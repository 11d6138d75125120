import type { Backend, Program } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { roundUp } from '../plan/steps.js'
import { kernelsOf, type StepKernel, type Word } from '../program.js'
import { ConstantMemory } from './constant-memory.node.js'
import { contextOf } from './context.js'
import { driver } from './driver.js'
import { processorFeatures } from './features.node.js'
import { type MappedCode, mapCode } from './memory.node.js'
import { ParameterBlocks, type PlacedWord } from './parameter-blocks.js'
import { X64Program, type X64ProgramOptions } from './program.node.js'
import { x64Rules } from './rules.js'

/** Enough tokens for each read of the weights, few enough for their activations to stay in the caches of a core. */
const blockTokens = 256

/** Runs plans as machine code for this processor. */
export function x64Backend(options: Partial<Omit<X64ProgramOptions, 'threads'>> = {}): Backend {
  return {
    name: 'x64',
    compile: (plan, { threads }) => compile(plan, { threads, blockTokens, guards: false, ...options }),
  }
}

/** Machine code for x64: AVX2 or more, made when a plan is compiled. */
export const x64: Backend = x64Backend()

async function compile(plan: Plan, options: X64ProgramOptions): Promise<Program> {
  const context = contextOf(processorFeatures(), plan.steps)
  const constants = new ConstantMemory()
  try {
    const steps: PlacedKernel[][] = []
    for (const step of plan.steps) {
      const kernels = await kernelsOf(x64Rules, step, context)
      // Weights are copied right away, so that no more than those of one step are in memory twice.
      steps.push(kernels.map(({ key, code, words }) => ({ key, code, words: words.map((word) => placed(word, constants)) })))
    }
    const blocks = new ParameterBlocks(plan, steps)
    const kernels = steps.flat()
    const { code, addresses } = mapKernels(kernels)
    const names = kernels.map(({ key }) => key.split(' ')[0])
    return new X64Program({ plan, blocks, code, addresses, kernels: names, constants }, options)
  } catch (error) {
    constants.release()
    throw error
  }
}

/** A kernel whose constants are in memory. */
type PlacedKernel = Omit<StepKernel<Uint8Array>, 'words'> & { readonly words: readonly PlacedWord[] }

function placed(word: Word, constants: ConstantMemory): PlacedWord {
  return typeof word === 'object' && 'constant' in word ? constants.place(word.constant) : word
}

/** Maps the driver and, once each, the code of all kernels; gives where each kernel's code lies. */
function mapKernels(kernels: readonly PlacedKernel[]): { code: MappedCode; addresses: number[] } {
  const pieces = [driver()]
  const offsets = new Map<string, number>()
  let end = roundUp(pieces[0].length, alignment)
  for (const { key, code } of kernels) {
    if (offsets.has(key)) continue
    const piece = code()
    pieces.push(piece)
    offsets.set(key, end)
    end += roundUp(piece.length, alignment)
  }
  const all = new Uint8Array(end)
  let start = 0
  for (const piece of pieces) {
    all.set(piece, start)
    start += roundUp(piece.length, alignment)
  }
  const code = mapCode(all)
  return { code, addresses: kernels.map(({ key }) => Number(code.address) + offsets.get(key)!) }
}

/** Of kernels in memory; their constants are vectors of 64 bytes at most. */
const alignment = 64
