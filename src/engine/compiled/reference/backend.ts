import { throwIfAborted } from '../../../base/errors.js'
import type { Backend, Batch, Cache, Program } from '../backend.js'
import type { CacheLayer, Plan } from '../plan/plan.js'
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

/** Keys and values of a sequence as arrays. */
export class ReferenceCache implements Cache {
  readonly #layers: readonly Readonly<Record<'keys' | 'values', Float32Array>>[]

  constructor(
    layers: readonly CacheLayer[],
    readonly capacity: number,
  ) {
    this.#layers = layers.map(({ keyColumns, valueColumns }) => ({
      keys: new Float32Array(capacity * keyColumns),
      values: new Float32Array(capacity * valueColumns),
    }))
  }

  /** [capacity, columns], shared. */
  layer(layer: number, part: 'keys' | 'values'): Float32Array {
    return this.#layers[layer][part]
  }

  read(layer: number, part: 'keys' | 'values', tokens: number): Float32Array {
    const stored = this.layer(layer, part)
    return stored.slice(0, (tokens * stored.length) / this.capacity)
  }

  write(layer: number, part: 'keys' | 'values', values: Float32Array): void {
    this.layer(layer, part).set(values)
  }

  dispose(): void {}
}
