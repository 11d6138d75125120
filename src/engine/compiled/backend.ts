import type { OperatorTime } from '../session.js'
import type { Fusions } from './plan/fuse.js'
import type { CachePart, Plan, PlanOutline } from './plan/plan.js'

/** What runs plans: machine code, WebAssembly, or plain JavaScript, which is what the others are compared with. */
export interface Backend {
  readonly name: 'x64' | 'wasm' | 'reference'
  /** What the steps of a plan for it may do at once. */
  readonly fusions?: Fusions
  /**
   * Makes the kernels and packs the weights.
   *
   * @param threads how many work at the same time, at most
   * @param profile keep the time of each step, where the backend can; runs are slower then
   * @throws TinsmithError `unsupported` where the machine cannot run the kernels, `out-of-memory`
   */
  compile(plan: Plan, options: { readonly threads: number; readonly profile?: boolean }): Promise<Program>
  /** Programs that stay for later processes, where the backend keeps any. */
  readonly kept?: KeptPrograms
}

/** Programs by keys, which say all that they depend on beside the backend and its options. */
export interface KeptPrograms {
  find(key: string, options: { readonly threads: number }): KeptProgram | undefined
  /** @param about what its user has to know of it: plain data */
  keep(key: string, about: unknown, program: Program): Promise<void>
}

/** A program that was found; who gets one opens or closes it. */
export interface KeptProgram {
  readonly about: unknown
  readonly plan: PlanOutline
  open(): Promise<Program>
  close(): void
}

/** A plan that is ready to run. Runs may overlap. */
export interface Program {
  /** Bytes of packed weights and tables. */
  readonly weightBytes: number
  /** Names of the kernels that the steps use, in order; for people. */
  readonly kernels: readonly string[]
  /**
   * Runs all sequences of a batch and fills its outputs. The event loop stays free.
   *
   * @throws TinsmithError `interrupted` when the signal fires
   */
  run(batch: Batch, signal?: AbortSignal): Promise<void>
  /** The time of each step so far, where it is kept. */
  profile?(): OperatorTime[] | undefined
  /** Room for keys and values of a sequence of up to `capacity` tokens. */
  allocateCache(capacity: number): Cache
  dispose(): Promise<void>
}

/** Keys and values of a sequence, in the backend's memory, as `sequenceWords` in program.ts says. */
export interface Cache {
  readonly capacity: number
  /** The keys or values of the first `tokens` tokens of a layer [tokens, columns], copied. */
  read(layer: number, part: CachePart, tokens: number): Float32Array
  /** Writes those of tokens from `first` on; what is kept as codes is quantized. */
  write(layer: number, part: CachePart, values: Float32Array, first?: number): void
  /** Takes over the first tokens of another cache of the program as they are. */
  copy(from: Cache, tokens: number): void
  dispose(): void
}

/** Sequences of tokens, one after the other without padding. */
export interface Batch {
  /** [sequences + 1]: the row of each sequence's first token, and the number of tokens. */
  readonly starts: Int32Array
  /** [sequences]: tokens that lie in each sequence's cache already; zeros where the plan has no caches. */
  readonly pasts: Int32Array
  /** [sequences], where the plan has caches: of room enough for past and new tokens. */
  readonly caches?: readonly Cache[]
  /** [tokens] by input. */
  readonly numbers: Readonly<Record<string, Int32Array>>
  /** [sequences, elements] by input. */
  readonly images: Readonly<Record<string, Float32Array>>
  /** Keep last tokens only: outputs of a plan with a step `keep` then have a row for each sequence instead of one for each token. */
  readonly keepLast?: boolean
  /** The outputs that are wanted, [rows, columns] each: filled by the run. */
  readonly outputs: Readonly<Record<string, Float32Array>>
}
