import { runtime } from '#engine'
import type { Graph } from '../ir/graph.js'
import { lower } from '../lower/index.js'
import { splitOnnx } from '../onnx/index.js'
import type { LoadOptions, Runtime, Session } from './session.js'

export interface OpenOptions extends LoadOptions {
  /** Names of values to return beside the outputs. */
  readonly observe?: readonly string[]
}

/**
 * Loads a canonical graph: lowered for the engine's runtime and handed over in memory.
 *
 * @throws TinsmithError `unsupported` when the runtime cannot run it, naming the operators
 */
export function openGraph(graph: Graph, options: OpenOptions = {}): Promise<Session> {
  return openGraphOn(runtime, graph, options)
}

/** As {@link openGraph}, on a given library. */
export async function openGraphOn(on: Runtime, graph: Graph, { observe, ...options }: OpenOptions = {}): Promise<Session> {
  return on.load(await splitOnnx(lower(graph, on.target, { observe })), options)
}

/** Loads an ONNX file as it is. */
export function openFile(path: string, options: LoadOptions = {}): Promise<Session> {
  return runtime.load({ path }, options)
}
