import { runtime } from '#engine'
import type { Graph } from '../ir/graph.js'
import { lower } from '../lower/index.js'
import { splitOnnx } from '../onnx/index.js'
import type { LoadOptions, Session } from './session.js'

export interface OpenOptions extends LoadOptions {
  /** Names of values to return beside the outputs. */
  readonly observe?: readonly string[]
}

/**
 * Loads a canonical graph: lowered for the engine's runtime and handed over in memory.
 *
 * @throws TinsmithError `unsupported` when the runtime cannot run it, naming the operators
 */
export async function openGraph(graph: Graph, { observe, ...options }: OpenOptions = {}): Promise<Session> {
  const own = options.machineCode ? ((await runtime.withOwnOperators?.(graph, observe)) ?? graph) : graph
  return runtime.load(await splitOnnx(lower(own, runtime.target, { observe })), options)
}
