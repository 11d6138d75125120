import type { Progress } from '../base/progress.js'
import type { OpenOptions } from '../engine/open.js'
import type { Feeds, Output, Session } from '../engine/session.js'
import { evaluateDim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { type NDArray, sizeOf } from '../numbers/dtype.js'
import type { Calibration, CalibrationBatch } from './calibration.js'
import type { Observer } from './observers.js'

/** What a calibration run needs from its surroundings. */
export interface CollectContext {
  /** Runs a graph; `observe` names values to return beside the outputs. */
  open(graph: Graph, options?: OpenOptions): Promise<Session>
  readonly progress: Progress
  readonly signal: AbortSignal | undefined
}

/** Runs the samples through a graph and lets each observer see its value; batches are small enough for a bounded memory. */
export async function collect(
  graph: Graph,
  observers: ReadonlyMap<Value, Observer>,
  calibration: Calibration,
  context: CollectContext,
): Promise<void> {
  const inputs = new Set(graph.inputs)
  const computed = [...observers.keys()].filter((value) => !inputs.has(value))
  const session = await context.open(graph, { observe: computed.map((value) => value.name) })
  const stage = context.progress.stage('calibrating', calibration.samples)
  try {
    for await (const [batch, outputs] of runInOrder(session, graph, calibration.batches, computed, context.signal)) {
      for (const [value, observer] of observers) observer.observe(outputs[value.name] ?? batch.feeds[value.name], batch.special)
      for (const output of Object.values(outputs)) output.dispose()
      stage.advance(batch.special.length ? batchSize(batch.feeds) : 1)
    }
  } finally {
    stage.end()
    await session.dispose()
  }
}

/** Runs that are under way at a time: processors stay busy while outputs are observed and where a run leaves some idle. */
const ahead = 2

/** Each batch with the observed values, in order; they hold until the next batch is asked for. */
async function* runInOrder(
  session: Session,
  graph: Graph,
  batches: readonly CalibrationBatch[],
  observed: readonly Value[],
  signal: AbortSignal | undefined,
): AsyncGenerator<[CalibrationBatch, Readonly<Record<string, Output>>]> {
  const outputs = observed.map((value) => value.name)
  const memories = Array.from({ length: ahead }, () => new Map<string, Float32Array>())
  const runs: Promise<Readonly<Record<string, Output>>>[] = []
  for (let i = 0; i < batches.length; i++) {
    for (const { feeds } of batches.slice(runs.length, i + ahead)) {
      const into = arraysIn(memories[runs.length % ahead], observed, symbolsOf(graph, feeds))
      const run = outputs.length ? session.run(feeds, { signal, outputs, into }) : Promise.resolve({})
      // Who waits for an earlier one hears of the first failure.
      run.catch(() => {})
      runs.push(run)
    }
    yield [batches[i], await runs[i]]
  }
}

/** Arrays for values of known shape over memory that grows as needed. */
function arraysIn(
  memory: Map<string, Float32Array>,
  values: readonly Value[],
  symbols: ReadonlyMap<string, number>,
): Record<string, NDArray> {
  const arrays: Record<string, NDArray> = {}
  for (const { name, dtype, shape } of values) {
    const sizes = shape?.map((dim) => evaluateDim(dim, symbols) ?? Number.NaN) ?? [Number.NaN]
    const size = sizeOf(sizes)
    if (dtype !== 'float32' || Number.isNaN(size)) continue
    if (!((memory.get(name)?.length ?? 0) >= size)) memory.set(name, new Float32Array(size))
    arrays[name] = { dtype, shape: sizes, data: memory.get(name)!.subarray(0, size) }
  }
  return arrays
}

function symbolsOf(graph: Graph, feeds: Feeds): Map<string, number> {
  const symbols = new Map<string, number>()
  for (const { name, shape } of graph.inputs)
    shape?.forEach((dim, axis) => {
      if (typeof dim === 'string') symbols.set(dim, feeds[name].shape[axis])
    })
  return symbols
}

function batchSize(feeds: Readonly<Record<string, { shape: readonly number[] }>>): number {
  return Object.values(feeds)[0]?.shape[0] ?? 1
}
