import { badInput, TinsmithError, throwIfAborted } from '../../../base/errors.js'
import type { Batch, Cache, Program } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { MappedCache } from './cache-memory.node.js'
import { CallQueue } from './call-queue.js'
import type { ConstantMemory } from './constant-memory.node.js'
import type { MappedCode } from './memory.node.js'
import type { ParameterBlocks } from './parameter-blocks.js'
import { type SequenceBlock, sequenceBlocks } from './sequence-blocks.js'
import { keepsLast, ThreadMemory } from './thread-memory.node.js'

/** The native calls of all programs of this thread of JavaScript. */
const calls = new CallQueue()

/** A plan as machine code. */
export interface CompiledPlan {
  readonly plan: Plan
  readonly blocks: ParameterBlocks
  /** The code of driver and kernels, in one piece; the driver comes first. */
  readonly code: MappedCode
  /** The address of each kernel, in order. */
  readonly addresses: readonly number[]
  readonly kernels: readonly string[]
  readonly constants: ConstantMemory
}

export interface X64ProgramOptions {
  readonly threads: number
  /** Tokens of the sequences that a thread runs at once, at most where no sequence has more. */
  readonly blockTokens: number
  /** Put pages that must not be touched around arenas. */
  readonly guards: boolean
}

/** A plan that runs as machine code, block of sequences by block of sequences, on threads of libuv's pool. */
export class X64Program implements Program {
  readonly weightBytes: number
  readonly kernels: readonly string[]
  readonly #free: ThreadMemory[] = []
  readonly #running = new Set<Promise<void>>()
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
    checkBatch(this.compiled.plan, batch)
    const run = this.#runBlocks(batch, signal)
    this.#running.add(run)
    try {
      await run
    } finally {
      this.#running.delete(run)
    }
  }

  allocateCache(capacity: number): Cache {
    return new MappedCache(this.compiled.plan.caches, capacity)
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    await Promise.allSettled(this.#running)
    for (const memory of this.#free) memory.release()
    this.compiled.code.release()
    this.compiled.constants.release()
  }

  /** Runs all blocks; when one fails or the signal fires, those that have not begun are left out, and the others end before their next kernel. */
  async #runBlocks(batch: Batch, signal: AbortSignal | undefined): Promise<void> {
    const active = new Set<ThreadMemory>()
    const releases: (() => void)[] = []
    let stopped = false
    const stop = () => {
      stopped = true
      for (const memory of active) memory.cancel()
    }
    const runBlock = async (block: SequenceBlock) => {
      const end = await calls.begin(this.options.threads)
      try {
        if (!stopped) await this.#runBlock(batch, block, active, () => stopped)
      } catch (error) {
        stop()
        throw error
      } finally {
        end()
      }
    }
    signal?.addEventListener('abort', stop)
    try {
      for (const cache of batch.caches ?? []) releases.push((cache as MappedCache).hold())
      const blocks = sequenceBlocks(batch.starts, this.options.blockTokens, this.options.threads)
      const results = await Promise.allSettled(blocks.map(runBlock))
      throwIfAborted(signal)
      const failure = results.find((result) => result.status === 'rejected')
      if (failure) throw failure.reason
    } finally {
      signal?.removeEventListener('abort', stop)
      for (const release of releases) release()
    }
  }

  async #runBlock(batch: Batch, block: SequenceBlock, active: Set<ThreadMemory>, isStopped: () => boolean): Promise<void> {
    const { blocks, addresses, code, plan } = this.compiled
    const memory = this.#free.pop() ?? new ThreadMemory(blocks, addresses, this.options.guards)
    try {
      memory.prepare(batch, block)
      active.add(memory)
      await memory.call(code.call)
      if (isStopped()) return
      for (const [name, target] of Object.entries(batch.outputs)) memory.readOutput(plan.outputs.get(name)!, batch, block, target)
    } finally {
      active.delete(memory)
      this.#free.push(memory)
    }
  }
}

/** Kernels believe what they are told: a batch that does not fit the plan never gets to them. */
function checkBatch(plan: Plan, batch: Batch): void {
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
    const rows = view.buffer.per === 'token' && !keepsLast(plan, batch) ? tokens : sequences
    if (length !== rows * view.columns) throw badInput(`An output of ${rows} rows needs ${rows * view.columns} elements`, { where: name })
  }
  if (!plan.caches.length) return
  for (let i = 0; i < sequences; i++) {
    const cache = caches?.[i]
    if (!(cache instanceof MappedCache) || cache.capacity < pasts[i] + starts[i + 1] - starts[i])
      throw badInput(`The cache of sequence ${i} has no room for its tokens`)
  }
}
