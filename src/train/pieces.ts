/** Graphs over flat memory: as one loop, or in pieces, so that what is between their operators fits the processor's caches. */
import { runtime } from '#engine'
import { flatKernels } from '#flat-kernels'
import { type FlatArrays, type FlatGraph, type FlatKernels, halfOf, sumLanes } from '../engine/compiled/flat-kernels.js'
import { openGraph } from '../engine/open.js'
import type { Session } from '../engine/session.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import { type NDArray, ndarray } from '../numbers/dtype.js'

/** Elements of a piece; larger where each one costs messages between threads. */
const pieceSize = runtime.target === 'ort-wasm' ? 1 << 21 : 1 << 16

/** Makes zeros in memory that graphs read and write over. */
export type FlatAllocator = (size: number) => Promise<Float32Array>

/** Memory that graphs over flat memory work on where it is; with a session, it too, where it has memory for that. */
export function flatMemory(session?: Session): FlatAllocator {
  return async (size) =>
    (await session?.allocate?.(size)) ??
    flatKernels()?.allocate?.(size) ??
    new Float32Array(runtime.allocate(size * Float32Array.BYTES_PER_ELEMENT))
}

/**
 * A graph of elementwise operators on inputs of shape ['n'] and scalars, ready for flat memory: as code of our own, or in pieces on
 * the engine. Both give the same bits.
 */
export async function openFlat(graph: Graph, kernels: FlatKernels | null = flatKernels()): Promise<FlatGraph> {
  return (await kernels?.elementwise(graph)) ?? new PiecewiseGraph(await openGraph(graph))
}

class PiecewiseGraph implements FlatGraph {
  constructor(readonly session: Session) {}

  async run(inputs: FlatArrays, outputs: FlatArrays, scalars: Readonly<Record<string, number>> = {}): Promise<void> {
    const [{ length }] = Object.values(inputs)
    const shared = mapRecord(scalars, (value) => ndarray('float32', [], [value]))
    for (let start = 0; start < length; start += pieceSize) {
      const piece = (memory: Float32Array): NDArray => {
        const data = memory.subarray(start, start + pieceSize)
        return { dtype: 'float32', shape: [data.length], data }
      }
      await this.session.run({ ...shared, ...mapRecord(inputs, piece) }, { into: mapRecord(outputs, piece) })
    }
  }

  dispose(): Promise<void> {
    return this.session.dispose()
  }
}

function mapRecord<From, To>(record: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]))
}

/** Sums of squares and sums of flat memories: the same bits on every machine. */
export interface FlatArithmetic {
  /** The Euclidean norm, summed in float64. */
  norm(memory: Float32Array): Promise<number>
  /** `target += source`, in place. */
  add(target: Float32Array, source: Float32Array): Promise<void>
  dispose(): Promise<void>
}

/** In code of our own, or in plain loops: those cost less than the messages and copies of runs on the engine. */
export async function flatArithmetic(kernels: FlatKernels | null = flatKernels()): Promise<FlatArithmetic> {
  const net = new Net(new Graph('sum'))
  net.output(
    'sum',
    net.op(
      'Add',
      ['x', 'y'].map((name) => net.input(name, 'float32', ['n'])),
    ),
  )
  const sum = await kernels?.elementwise(net.graph)
  return {
    norm: async (memory) => Math.sqrt((kernels ? await kernels.sumsOfSquares(memory) : sumsOfSquares(memory)).reduce((a, b) => a + b)),
    add: async (target, source) => (sum ? sum.run({ x: target, y: source }, { sum: target }) : addInPlace(target, source)),
    dispose: async () => sum?.dispose(),
  }
}

/** As {@link FlatKernels.sumsOfSquares}, in the same order. */
function sumsOfSquares(memory: Float32Array): Float64Array {
  const sums = new Float64Array(2 * sumLanes)
  const half = halfOf(memory.length)
  for (const [part, first] of [
    [memory.subarray(0, half), 0],
    [memory.subarray(half), sumLanes],
  ] as const)
    for (let i = 0; i < part.length; i++) sums[first + (i % sumLanes)] += part[i] * part[i]
  return sums
}

function addInPlace(target: Float32Array, source: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i] += source[i]
}
