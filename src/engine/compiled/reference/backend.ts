import { throwIfAborted } from '../../../base/errors.js'
import type { Backend, Batch, Cache, Program } from '../backend.js'
import { CacheBytes, type CacheSpan } from '../cache-bytes.js'
import { type CacheLayer, cacheBytes, type Plan } from '../plan/plan.js'
import type { Step } from '../plan/steps.js'
import { Arena } from './arrays.js'
import { rowOf } from './quantize.js'
import { Run } from './run.js'
import { referenceSteps } from './steps.js'

/** Runs plans step by step in plain JavaScript: slow, and what the results of the other backends are compared with. */
export const reference: Backend = {
  name: 'reference',
  compile: async (plan) => new ReferenceProgram(plan),
}

class ReferenceProgram implements Program {
  readonly weightBytes = 0
  readonly kernels: readonly string[]

  constructor(readonly plan: Plan) {
    this.kernels = plan.steps.map(({ kind }) => kind)
  }

  async run(batch: Batch, signal?: AbortSignal): Promise<void> {
    const sequences = batch.starts.length - 1
    const arena = new Arena(this.plan.memory, { token: batch.starts[sequences], sequence: sequences })
    const run = new Run(batch, arena)
    for (const step of this.plan.steps) {
      throwIfAborted(signal)
      const compute = referenceSteps[step.kind] as (step: Step, run: Run) => void | Promise<void>
      await compute(step, run)
    }
    for (const [name, target] of Object.entries(batch.outputs)) {
      const rows = arena.floats(this.plan.outputs.get(name)!)
      for (let row = 0; row < rows.count; row++) target.set(rowOf(rows, row), row * rows.columns)
    }
  }

  allocateCache(capacity: number): Cache {
    return new ReferenceCache(this.plan.caches, capacity)
  }

  async dispose(): Promise<void> {}
}

/** Keys and values of a sequence in an array. */
export class ReferenceCache extends CacheBytes {
  readonly #bytes: Uint8Array

  constructor(layers: readonly CacheLayer[], capacity: number) {
    super(layers, capacity)
    this.#bytes = new Uint8Array(cacheBytes(layers) * capacity)
  }

  protected bytesOf({ start, bytes }: CacheSpan): Uint8Array {
    return this.#bytes.slice(start, start + bytes)
  }

  protected setBytes(start: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, start)
  }

  dispose(): void {}
}
