import { badInput } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'

/** Arrays by the names of a graph's inputs or outputs. */
export type FlatArrays = Readonly<Record<string, Float32Array>>

/** A graph of elementwise operators at work on flat memory, in place where an output is given the memory of an input. */
export interface FlatGraph {
  /**
   * @param inputs of shape ['n'], and `outputs`: all of the same length
   * @param scalars the inputs of shape []
   */
  run(inputs: FlatArrays, outputs: FlatArrays, scalars?: Readonly<Record<string, number>>): Promise<void>
  dispose(): Promise<void>
}

/** Arithmetic over flat memory in code of our own. Calls do not block the caller for longer than some milliseconds. */
export interface FlatKernels {
  /** Zeros in memory where this arithmetic is quickest, where there is such memory; threads share it. */
  allocate?(elements: number): Float32Array | undefined
  /** Code for a graph, or undefined where it has operators that are not known. */
  elementwise(graph: Graph): Promise<FlatGraph | undefined>
  /** Sums of squares in float64: of each half (see {@link halfOf}), {@link sumLanes} sums, of which sum i has the elements i, i + 16, ... */
  sumsOfSquares(memory: Float32Array): Promise<Float64Array>
}

/** Sums that are kept apart in half of a memory, so that vectors of any machine add in the same order. */
export const sumLanes = 16

/** Bytes of those sums of a half. */
export const sumBytes = sumLanes * Float64Array.BYTES_PER_ELEMENT

/** Where the second half of flat memory begins: a multiple of {@link sumLanes}, or the end. */
export function halfOf(length: number): number {
  return Math.min(length, Math.ceil(length / 2 / sumLanes) * sumLanes)
}

/**
 * Checks what a graph over flat memory is called with.
 *
 * @param needed `input NAME`, `output NAME` and `scalar NAME`
 * @throws TinsmithError `bad-input` for what is missing, and for arrays of another length than others
 */
export function checkFlatArrays(
  needed: readonly string[],
  inputs: FlatArrays,
  outputs: FlatArrays,
  scalars: Readonly<Record<string, number>>,
): void {
  const named = <T>(kind: string, record: Readonly<Record<string, T>>) =>
    Object.entries(record).map(([name, value]) => [`${kind} ${name}`, value] as const)
  const arrays = [...named('input', inputs), ...named('output', outputs)]
  const given = new Set<string>([...arrays, ...named('scalar', scalars)].map(([name]) => name))
  for (const name of needed) if (!given.has(name)) throw badInput(`the graph over flat memory got no ${name}`)
  const [[, { length }]] = arrays
  for (const [name, array] of arrays)
    if (array.length !== length)
      throw badInput(`${name} of a graph over flat memory has ${array.length} elements where others have ${length}`)
}
