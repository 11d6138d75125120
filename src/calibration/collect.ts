import type { Progress } from '../base/progress.js'
import type { OpenOptions } from '../engine/open.js'
import type { Session } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import type { Calibration } from './calibration.js'
import type { Observer } from './observers.js'

/** What a calibration run needs from its surroundings. */
export interface CollectContext {
  /** Runs a graph; `observe` names values to return beside the outputs. */
  open(graph: Graph, options?: OpenOptions): Promise<Session>
  readonly progress: Progress
  readonly signal: AbortSignal | undefined
}

/** How many bytes of observed values may come back from one run. */
const runBudget = 256 * 2 ** 20

/** Runs the samples through a graph and lets each observer see its value; batches are small enough for a bounded memory. */
export async function collect(
  graph: Graph,
  observers: ReadonlyMap<Value, Observer>,
  calibration: Calibration,
  context: CollectContext,
): Promise<void> {
  const inputs = new Set(graph.inputs)
  const computed = [...observers.keys()].flatMap((value) => (inputs.has(value) ? [] : value.name))
  const session = await context.open(graph, { observe: computed })
  const stage = context.progress.stage('calibrating', calibration.samples)
  try {
    for (const batch of calibration.batches) {
      const outputs = computed.length ? await session.run(batch.feeds, { signal: context.signal, outputs: computed }) : {}
      for (const [value, observer] of observers) observer.observe(outputs[value.name] ?? batch.feeds[value.name], batch.special)
      for (const output of Object.values(outputs)) output.dispose()
      stage.advance(batch.special.length ? batchSize(batch.feeds) : 1)
    }
  } finally {
    stage.end()
    await session.dispose()
  }
}

function batchSize(feeds: Readonly<Record<string, { shape: readonly number[] }>>): number {
  return Object.values(feeds)[0]?.shape[0] ?? 1
}

/** Tokens in a batch so that `values` observed float32 values of `width` channels stay within the budget of a run. */
export function tokensPerBatch(values: number, width: number): number {
  return Math.max(1, Math.floor(runBudget / (4 * values * width)))
}
