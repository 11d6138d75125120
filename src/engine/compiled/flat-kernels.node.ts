import type { Graph } from '../../ir/graph.js'
import { inBackground } from '../ort/c-api.node.js'
import { checkFlatArrays, type FlatArrays, type FlatGraph, type FlatKernels, halfOf, sumLanes } from './flat-kernels.js'
import { elementwiseKernel } from './x64/elementwise.js'
import { processorFeatures } from './x64/features.node.js'
import { addressOf, type KernelCall, type MappedCode, mapCode } from './x64/memory.node.js'
import type { Parameters } from './x64/parameters.js'
import { sumOfSquares, sumOfSquaresParameters } from './x64/sum-of-squares.js'
import { chooseVectorMachine, type VectorMachine } from './x64/vector-machine.js'

let found: FlatKernels | null | undefined

/** Machine code for flat memory, or null where the processor has no AVX2 or the system forbids new code. */
export function flatKernels(): FlatKernels | null {
  if (found === undefined) found = kernelsHere()
  return found
}

function kernelsHere(): FlatKernels | null {
  try {
    const machine = chooseVectorMachine(processorFeatures())
    return machine ? new X64FlatKernels(machine) : null
  } catch {
    return null
  }
}

/** Elements below which a second thread costs more than it saves. */
const enoughForTwo = 1 << 16

class X64FlatKernels implements FlatKernels {
  readonly #squares: MappedCode

  constructor(readonly machine: VectorMachine) {
    this.#squares = mapCode(sumOfSquares(machine))
  }

  async elementwise(graph: Graph): Promise<FlatGraph | undefined> {
    const kernel = await elementwiseKernel(graph, this.machine)
    return kernel && new X64FlatGraph(mapCode(kernel.code), kernel.parameters)
  }

  async sumsOfSquares(memory: Float32Array): Promise<Float64Array> {
    const sums = new Float64Array(2 * sumLanes)
    const half = halfOf(memory.length)
    const call = (start: number, end: number, first: number) => {
      const words = { input: addressOf(memory.subarray(start, end)), count: end - start, sums: addressOf(sums.subarray(first)) }
      return callInBackground(this.#squares.call, sumOfSquaresParameters.block(words), memory, sums)
    }
    await Promise.all([call(0, half, 0), ...(half < memory.length ? [call(half, memory.length, sumLanes)] : [])])
    return sums
  }
}

class X64FlatGraph implements FlatGraph {
  constructor(
    readonly code: MappedCode,
    readonly parameters: Parameters<string>,
  ) {}

  async run(inputs: FlatArrays, outputs: FlatArrays, scalars: Readonly<Record<string, number>> = {}): Promise<void> {
    const arrays = new Map<string, Float32Array>()
    for (const [name, array] of Object.entries(inputs)) arrays.set(`input ${name}`, array)
    for (const [name, array] of Object.entries(outputs)) arrays.set(`output ${name}`, array)
    const numbers = new Map(Object.entries(scalars).map(([name, value]) => [`scalar ${name}`, bitsOf(value)]))
    const length = arrays.values().next().value?.length ?? 0
    checkFlatArrays(
      this.parameters.names.filter((name) => name !== 'count'),
      inputs,
      outputs,
      scalars,
    )
    const call = (start: number, end: number) => {
      const word = (name: string) =>
        name === 'count' ? end - start : (numbers.get(name) ?? addressOf(arrays.get(name)!.subarray(start, end)))
      return callInBackground(
        this.code.call,
        this.parameters.block(Object.fromEntries(this.parameters.names.map((name) => [name, word(name)]))),
        ...arrays.values(),
      )
    }
    const half = length < enoughForTwo ? length : halfOf(length)
    await Promise.all([...(half ? [call(0, half)] : []), ...(half < length ? [call(half, length)] : [])])
  }

  async dispose(): Promise<void> {
    this.code.release()
  }
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]
}

/** What calls work on: only its address is theirs, so that it is held here. */
const inUse = new Set<unknown>()

async function callInBackground(call: KernelCall, block: BigInt64Array, ...memory: readonly ArrayBufferView[]): Promise<void> {
  const held = { block, memory }
  inUse.add(held)
  try {
    await inBackground<void>((done) => call.async(addressOf(block), (error) => done(error)))
  } finally {
    inUse.delete(held)
  }
}
