import type { Graph } from '../../ir/graph.js'
import { checkFlatArrays, type FlatArrays, type FlatGraph, type FlatKernels, halfOf, sumLanes } from './flat-kernels.js'
import { elementwiseLoop, type FlatLoop, sumOfSquaresLoop } from './wasm/flat-loop.js'
import { FlatArea } from './wasm/flat-memory.js'
import { LoadedLoop, mostArrays } from './wasm/loaded-loop.js'
import { canShare } from './wasm/workers.js'

/**
 * WebAssembly for flat memory, on the caller's thread, which it leaves free every few milliseconds. It works on arrays of `allocate` where
 * they are, on others by copies of their pieces. Without shared memory there is no `allocate`: then memory that grows moves.
 */
export function flatKernels(): FlatKernels {
  return kernels
}

const kernels: FlatKernels = {
  allocate(elements: number): Float32Array | undefined {
    if (!canShare()) return undefined
    home ??= new FlatArea(0)
    return home.take(elements)
  },

  async elementwise(graph: Graph): Promise<FlatGraph | undefined> {
    const loop = await elementwiseLoop(graph)
    if (!loop || loop.inputs.length + loop.outputs.length > mostArrays) return undefined
    return new WasmFlatGraph(loop, await LoadedLoop.load(loop))
  },

  async sumsOfSquares(memory: Float32Array): Promise<Float64Array> {
    squares ??= LoadedLoop.load(sumOfSquaresLoop())
    const [loop, half, sums] = [await squares, halfOf(memory.length), new Float64Array(2 * sumLanes)]
    await loop.sum(memory.subarray(0, half), sums.subarray(0, sumLanes))
    await loop.sum(memory.subarray(half), sums.subarray(sumLanes))
    return sums
  },
}

let squares: Promise<LoadedLoop> | undefined

/** Where new arrays lie: beside others as long as graphs work on them, so that the memory of a training that is over can be freed. */
let home: FlatArea | undefined
const working = new Set<FlatGraph>()

class WasmFlatGraph implements FlatGraph {
  readonly #needed: readonly string[]

  constructor(
    readonly loop: FlatLoop,
    readonly loaded: LoadedLoop,
  ) {
    const named = (kind: string, names: readonly string[]) => names.map((name) => `${kind} ${name}`)
    this.#needed = [...named('input', loop.inputs), ...named('output', loop.outputs), ...named('scalar', loop.scalars)]
    working.add(this)
  }

  async run(inputs: FlatArrays, outputs: FlatArrays, scalars: Readonly<Record<string, number>> = {}): Promise<void> {
    const { loop } = this
    checkFlatArrays(this.#needed, inputs, outputs, scalars)
    await this.loaded.run(inOrder(loop.inputs, inputs), inOrder(loop.outputs, outputs), inOrder(loop.scalars, scalars))
  }

  async dispose(): Promise<void> {
    if (working.delete(this) && !working.size) home = undefined
  }
}

function inOrder<T>(names: readonly string[], record: Readonly<Record<string, T>>): T[] {
  return names.map((name) => record[name])
}
