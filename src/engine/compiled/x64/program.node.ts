import { badInput, TinsmithError, throwIfAborted } from '../../../base/errors.js'
import type { OperatorTime } from '../../session.js'
import type { Batch, Cache, Program } from '../backend.js'
import { MappedCache } from './cache-memory.node.js'
import { CallQueue } from './call-queue.js'
import type { CompiledPlan } from './compiled-plan.node.js'
import { keepsLast, RunMemory } from './run-memory.node.js'
import { type SequenceBlock, sequenceBlocks } from './sequence-blocks.js'
import { TimedPlan } from './timed-plan.node.js'

/** The native calls of all programs of this thread of JavaScript. */
const calls = new CallQueue()

export interface X64ProgramOptions {
  readonly threads: number
  /** Tokens of the sequences that a thread runs at once, at most where no sequence has more. */
  readonly blockTokens: number
  /** Multiplications and additions from which on all threads together work on a run that is too short for a block each. */
  readonly teamOperations: number
  /** How many ticks of the processor's clock the first thread of a team waits for the others before it does all alone. */
  readonly patience: number
  /** Put pages that must not be touched around arenas. */
  readonly guards: boolean
  /** What makes the programs; where it is undefined none is kept for later processes. */
  readonly script: string | undefined
}

/** A run of a batch that goes on. */
interface Run {
  readonly batch: Batch
  /** Memory in which kernels work. */
  readonly active: Set<RunMemory>
  stopped: boolean
}

/** How many times as long as on average a thread may work on blocks before all share all work instead. */
const mostUneven = 1.5

/** A plan that runs as machine code, block of sequences by block of sequences, on threads of libuv's pool. */
export class X64Program implements Program {
  readonly weightBytes: number
  readonly kernels: readonly string[]
  readonly #free: RunMemory[] = []
  readonly #running = new Set<Promise<unknown>>()
  #disposed = false

  constructor(
    readonly compiled: CompiledPlan,
    readonly options: X64ProgramOptions,
  ) {
    this.weightBytes = compiled.constants.bytes
    this.kernels = compiled.kernels
  }

  async run(batch: Batch, signal?: AbortSignal): Promise<void> {
    if (this.#disposed) throw new TinsmithError('failed', 'A program that was disposed of cannot run')
    throwIfAborted(signal)
    checkBatch(this.compiled, batch)
    await this.#held(this.#runBlocks(batch, signal))
  }

  profile(): OperatorTime[] | undefined {
    return this.compiled instanceof TimedPlan ? this.compiled.times() : undefined
  }

  allocateCache(capacity: number): Cache {
    return new MappedCache(this.compiled.plan.caches, capacity)
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    while (this.#running.size) await Promise.allSettled(this.#running)
    for (const memory of this.#free) memory.release()
    this.compiled.release()
  }

  /** Does what reads the program's memory, unless that is gone already. */
  async read(work: () => Promise<void>): Promise<void> {
    if (!this.#disposed) await this.#held(work())
  }

  /** Lets the program's memory be until the promise is settled. */
  async #held<T>(promise: Promise<T>): Promise<T> {
    this.#running.add(promise)
    try {
      return await promise
    } finally {
      this.#running.delete(promise)
    }
  }

  /** Runs all blocks; when one fails or the signal fires, those that have not begun are left out, and the others end before their next kernel. */
  async #runBlocks(batch: Batch, signal: AbortSignal | undefined): Promise<void> {
    const run: Run = { batch, active: new Set(), stopped: false }
    const stop = () => {
      run.stopped = true
      for (const memory of run.active) memory.cancel()
    }
    const failed = (error: unknown) => {
      stop()
      throw error
    }
    const releases: (() => void)[] = []
    signal?.addEventListener('abort', stop)
    try {
      for (const cache of batch.caches ?? []) releases.push((cache as MappedCache).hold())
      const results = await Promise.allSettled(this.#work(run).map((work) => work.catch(failed)))
      throwIfAborted(signal)
      const failure = results.find((result) => result.status === 'rejected')
      if (failure) throw failure.reason
    } finally {
      signal?.removeEventListener('abort', stop)
      for (const release of releases) release()
    }
  }

  /** Blocks of sequences for each thread, or all sequences for a team of threads where blocks would leave threads without work. */
  #work(run: Run): Promise<void>[] {
    const { threads, blockTokens, teamOperations } = this.options
    const { starts } = run.batch
    const [sequences, tokens] = [starts.length - 1, starts[starts.length - 1]]
    const blocks = sequenceBlocks(starts, blockTokens, threads)
    const longest = Math.max(...blocks.map(({ first, end }) => starts[end] - starts[first]))
    const isUneven = threads > 1 && longest * threads > mostUneven * tokens
    const isTeam = isUneven && tokens * this.compiled.plan.operations >= teamOperations
    return isTeam ? [this.#runBlock(run, { first: 0, end: sequences }, true)] : blocks.map((block) => this.#runBlock(run, block, false))
  }

  /** @param isShared whether threads that have nothing else to do help */
  async #runBlock(run: Run, block: SequenceBlock, isShared: boolean): Promise<void> {
    const { batch, active } = run
    const { threads } = this.options
    const end = await calls.begin(threads)
    const helpers: (() => void)[] = []
    let memory: RunMemory | undefined
    let ended: Promise<unknown> = Promise.resolve()
    try {
      if (run.stopped) return
      memory = this.#free.pop() ?? new RunMemory(this.compiled, this.options)
      for (let help = isShared && calls.beginNow(threads); help; help = calls.beginNow(threads)) helpers.push(help)
      memory.prepare(batch, block, helpers.length + 1)
      active.add(memory)
      const call = memory.call()
      ended = call.ended
      await call.done
      if (run.stopped) return
      for (const [name, target] of Object.entries(batch.outputs))
        memory.readOutput(this.compiled.plan.outputs.get(name)!, batch, block, target)
    } finally {
      end()
      if (memory) active.delete(memory)
      const leave = () => {
        for (const help of helpers) help()
        if (memory) this.#free.push(memory)
      }
      void this.#held(ended.then(leave, leave))
    }
  }
}

/** Kernels believe what they are told: a batch that does not fit the plan never gets to them. */
function checkBatch(compiled: CompiledPlan, batch: Batch): void {
  const { plan } = compiled
  const { starts, pasts, caches, numbers, images, outputs } = batch
  const sequences = starts.length - 1
  const tokens = starts[sequences]
  for (let i = 0; i < sequences; i++) if (starts[i + 1] <= starts[i]) throw badInput(`Sequence ${i} of the batch has no tokens`)
  if (starts[0] !== 0 || pasts.length !== sequences) throw badInput('The sequences of the batch do not lie one after the other')
  for (const name of plan.numbers) {
    if (numbers[name]?.length !== tokens) throw badInput(`A batch of ${tokens} tokens needs as many numbers`, { where: name })
  }
  for (const [name, elements] of plan.images) {
    if (images[name]?.length !== elements * sequences)
      throw badInput(`A batch needs an image for each of ${sequences} sequences`, { where: name })
  }
  for (const [name, { length }] of Object.entries(outputs)) {
    const view = plan.outputs.get(name)
    if (!view) throw badInput('The plan has no such output', { where: name })
    const rows = view.buffer.per === 'token' && !keepsLast(compiled, batch) ? tokens : sequences
    if (length !== rows * view.columns) throw badInput(`An output of ${rows} rows needs ${rows * view.columns} elements`, { where: name })
  }
  if (!plan.caches.length) return
  for (let i = 0; i < sequences; i++) {
    const cache = caches?.[i]
    if (!(cache instanceof MappedCache) || cache.capacity < pasts[i] + starts[i + 1] - starts[i])
      throw badInput(`The cache of sequence ${i} has no room for its tokens`)
  }
}
