import { unsupported } from '../../../base/errors.js'
import { codesOf, type Step, type View } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import type { Features } from './features.js'
import type { PanelPacker } from './panels.js'
import type { Parameters } from './parameters.js'
import { chooseVectorMachine, type VectorMachine } from './vector-machine.js'

/** What kernels are made for. */
export interface X64Context {
  readonly features: Features
  readonly vectors: VectorMachine
  /** Most threads that share the work of a kernel. */
  readonly threads: number
  /** The largest code that the plan's steps write to a buffer. */
  highestCode(view: View): 127 | 255
  /** Packs weights; without one JavaScript does. */
  readonly packer?: PanelPacker
}

/**
 * The context of a processor and of the steps of a plan.
 *
 * @throws TinsmithError `unsupported` where the processor has no AVX2
 */
export function contextOf(features: Features, steps: readonly Step[] = [], threads = 1): X64Context {
  const vectors = chooseVectorMachine(features)
  if (!vectors) throw unsupported('Machine code for x64 needs a processor with AVX2', { hint: 'The WebAssembly kernels do not.' })
  const highestCode = ({ buffer }: View) => {
    const written = steps.map(codesOf).filter((codes) => codes?.output.buffer === buffer)
    return written.length && written.every((codes) => codes!.quantizer.highest === 127) ? 127 : 255
  }
  return { features, vectors, threads, highestCode }
}

/** A kernel of a step. */
export interface KernelCall<Name extends string> {
  readonly name: string
  /** All that the code depends on beside its name; plain data. */
  readonly shape: object
  readonly code: () => Uint8Array
  readonly parameters: Parameters<Name>
  readonly words: Readonly<Record<NoInfer<Name>, Word>>
  /** The words for one of several threads, as `StepKernel` has it. */
  readonly split?: (part: number, parts: number) => Readonly<Record<NoInfer<Name>, Word>> | null
}

/** The kernel with its words in the order of its parameters. */
export function stepKernel<Name extends string>(call: KernelCall<Name>): StepKernel<Uint8Array> {
  const { name, shape, code, parameters, words, split } = call
  const inOrder = (values: Readonly<Record<Name, Word>>) => parameters.names.map((word) => values[word])
  const share = (part: number, parts: number) => {
    const values = split!(part, parts)
    return values && inOrder(values)
  }
  return { key: `${name} ${JSON.stringify(shape)}`, code, words: inOrder(words), ...(split && { split: share }) }
}
