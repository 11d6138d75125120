import { hardwareThreads } from '#platform'
import type { Progress } from '../base/progress.js'
import type { OpenOptions } from '../engine/open.js'
import type { Feeds, Output, Session } from '../engine/session.js'
import { evaluateDim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { type NDArray, sizeOf } from '../numbers/dtype.js'
import type { Calibration, CalibrationBatch } from './calibration.js'
import { inOrder } from './in-order.js'
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
  const threads = Math.max(1, Math.min(mostThreads, hardwareThreads()) - ahead + 1)
  const session = await context.open(graph, { observe: computed.map((value) => value.name), threads })
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

/** A run computes on a thread of its own besides those that all runs of a session share. */
const mostThreads = 8

/** Each batch with the observed values, in order; they hold until the next batch is asked for. */
function runInOrder(
  session: Session,
  graph: Graph,
  batches: readonly CalibrationBatch[],
  observed: readonly Value[],
  signal: AbortSignal | undefined,
): AsyncGenerator<[CalibrationBatch, Readonly<Record<string, Output>>]> {
  const outputs = observed.map((value) => value.name)
  const memories = Array.from({ length: ahead }, () => memoryFor(observed, graph, batches))
  const run = async ({ feeds }: CalibrationBatch, i: number) => {
    if (!outputs.length) return {}
    return session.run(feeds, { signal, outputs, into: arraysIn(memories[i % ahead], symbolsOf(graph, feeds)) })
  }
  return inOrder(batches, run, ahead)
}

/** Memory for each value of known shape, enough for any of the batches. */
function memoryFor(values: readonly Value[], graph: Graph, batches: readonly CalibrationBatch[]): Map<Value, Float32Array> {
  const symbols = batches.map(({ feeds }) => symbolsOf(graph, feeds))
  const memory = new Map<Value, Float32Array>()
  for (const value of values) {
    const most = Math.max(0, ...symbols.map((each) => sizeOf(shapeOf(value, each))))
    if (value.dtype === 'float32' && !Number.isNaN(most)) memory.set(value, new Float32Array(most))
  }
  return memory
}

/** The memory as arrays of the shapes that a run gives the values. */
function arraysIn(memory: ReadonlyMap<Value, Float32Array>, symbols: ReadonlyMap<string, number>): Record<string, NDArray> {
  const arrays: Record<string, NDArray> = {}
  for (const [value, data] of memory) {
    const shape = shapeOf(value, symbols)
    arrays[value.name] = { dtype: 'float32', shape, data: data.subarray(0, sizeOf(shape)) }
  }
  return arrays
}

/** NaN stands for what is not known. */
function shapeOf({ shape }: Value, symbols: ReadonlyMap<string, number>): number[] {
  return shape?.map((dim) => evaluateDim(dim, symbols) ?? Number.NaN) ?? [Number.NaN]
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
