import { type MemoryPlan, planMemory } from '../program.js'
import { type Buffer, type Step, type View, viewsRead, viewsWritten } from './steps.js'

/** A graph as steps in the order in which they run, for token rows of whole sequences without padding. */
export interface Plan {
  readonly steps: readonly Step[]
  /** The graph's outputs by name; those of decoders also have the `likeliest` token. */
  readonly outputs: ReadonlyMap<string, View>
  /** Inputs of the graph that give a number for each token. */
  readonly numbers: readonly string[]
  /** Inputs of the graph that give an image for each sequence: how many float32 each has. */
  readonly images: ReadonlyMap<string, number>
  /** Columns of keys and values of each layer that keeps them. */
  readonly caches: readonly CacheLayer[]
  /** Tokens of each sequence, where the graph fixes it (images). */
  readonly tokens?: number
  readonly memory: MemoryPlan
}

/** What an attention keeps of each token. */
export interface CacheLayer {
  readonly keyColumns: number
  readonly valueColumns: number
}

/** Plans where buffers lie: each from the step that writes it first to the last that reads it; outputs until the end. */
export function memoryOf(steps: readonly Step[], outputs: Iterable<View>): MemoryPlan {
  const lifetimes = new Map<Buffer, [number, number]>()
  const touch = ({ buffer }: View, step: number) => {
    const known = lifetimes.get(buffer)
    if (known) known[1] = step
    else lifetimes.set(buffer, [step, step])
  }
  steps.forEach((step, i) => {
    for (const view of [...viewsRead(step), ...viewsWritten(step)]) touch(view, i)
  })
  for (const view of outputs) touch(view, steps.length)
  return planMemory(lifetimes)
}

/** Where the keys or values of a layer begin in the cache of a sequence, in bytes for each token of its capacity. */
export function cacheOffset({ caches }: Pick<Plan, 'caches'>, layer: number, part: 'keys' | 'values'): number {
  const before = caches.slice(0, layer).reduce((sum, { keyColumns, valueColumns }) => sum + keyColumns + valueColumns, 0)
  return 4 * (before + (part === 'values' ? caches[layer].keyColumns : 0))
}
