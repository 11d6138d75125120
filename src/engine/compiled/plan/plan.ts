import { type MemoryPlan, planMemory } from '../program.js'
import { type Buffer, type Step, type TokenNumbers, type View, viewsRead, viewsWritten, weightColumns } from './steps.js'

/** What runs need to know of a plan: plain data without weights. */
export interface PlanOutline {
  readonly steps: readonly Pick<Step, 'kind' | 'name'>[]
  /** The graph's outputs by name; those of decoders also have the `likeliest` token. */
  readonly outputs: ReadonlyMap<string, View>
  /** Inputs of the graph that give a number for each token. */
  readonly numbers: readonly string[]
  /** How many rows the tables have that an input's numbers, or the places of tokens (`index`), look up in; the fewest where there are several. */
  readonly tableRows: ReadonlyMap<string, number>
  /** Inputs of the graph that give an image for each sequence: how many float32 each has. */
  readonly images: ReadonlyMap<string, number>
  /** Columns of keys and values of each layer that keeps them. */
  readonly caches: readonly CacheLayer[]
  /** Tokens of each sequence, where the graph fixes it (images). */
  readonly tokens?: number
  readonly memory: MemoryPlan
  /** Multiplications and additions for each token. */
  readonly operations: number
}

/** A graph as steps in the order in which they run, for token rows of whole sequences without padding. */
export interface Plan extends PlanOutline {
  readonly steps: readonly Step[]
}

/** A plan without its weights. */
export function outlineOf(plan: PlanOutline): PlanOutline {
  return { ...plan, steps: plan.steps.map(({ kind, name }) => ({ kind, name })) }
}

/** The plan of steps, with what follows from them. */
export function planFrom(given: Pick<Plan, 'steps' | 'outputs' | 'images' | 'caches' | 'tokens'>): Plan {
  const { steps, outputs } = given
  const tableRows = tableRowsOf(steps)
  return {
    ...given,
    numbers: [...tableRows.keys()].filter((name) => name !== 'index'),
    tableRows,
    memory: memoryOf(steps, outputs.values()),
    operations: steps.reduce((sum, step) => sum + operationsOf(step), 0),
  }
}

function tableRowsOf(steps: readonly Step[]): ReadonlyMap<string, number> {
  const tableRows = new Map<string, number>()
  const limit = (numbers: TokenNumbers, count: number) => {
    const name = numbers === 'index' ? numbers : numbers.input
    tableRows.set(name, Math.min(tableRows.get(name) ?? count, count))
  }
  for (const step of steps) {
    if (step.kind === 'embed') for (const { table, numbers } of step.lookups) limit(numbers, table.rows)
    const rotation = step.kind === 'attention' ? step.rotation : step.kind === 'rotary' ? step : undefined
    if (rotation) limit(rotation.numbers, rotation.cos.shape[0])
  }
  return tableRows
}

/** Multiplications and additions of a step for each row; those of attention for each token that is seen. */
export function operationsOf(step: Step): number {
  if (step.kind === 'linear') return 2 * step.input.columns * weightColumns(step)
  if (step.kind === 'attention') return 2 * (step.query.columns + step.output.columns)
  return step.output.columns
}

/** The output of decoders' plans that graphs have not: the token with the highest logit. */
export const likeliest = 'likeliest token'

/** What an attention keeps of each token: float32, or int8 codes `value = scale * code`. */
export interface CacheLayer {
  readonly keyColumns: number
  readonly valueColumns: number
  /** Where there are codes: how many scales the keys of a token have, and as many its values. Each is for as many columns: a head. */
  readonly scales?: number
}

/** Of the contents of a cache. */
export type CachePart = 'keys' | 'values'

/** Plans where buffers lie: each from the step that writes it first to the last that reads it; outputs until the end. */
function memoryOf(steps: readonly Step[], outputs: Iterable<View>): MemoryPlan {
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
export function cacheOffset({ caches }: Pick<PlanOutline, 'caches'>, layer: number, part: CachePart): number {
  return cacheBytes(caches.slice(0, layer)) + (part === 'values' ? partBytes(caches[layer], 'keys') : 0)
}

/** Bytes of a cache with these layers for each token of its capacity. */
export function cacheBytes(layers: readonly CacheLayer[]): number {
  return layers.reduce((sum, layer) => sum + partBytes(layer, 'keys') + partBytes(layer, 'values'), 0)
}

/** Columns of the keys or values of a layer. */
export function partColumns({ keyColumns, valueColumns }: CacheLayer, part: CachePart): number {
  return part === 'keys' ? keyColumns : valueColumns
}

function partBytes(layer: CacheLayer, part: CachePart): number {
  const columns = partColumns(layer, part)
  return layer.scales ? columns + 4 * layer.scales : 4 * columns
}
