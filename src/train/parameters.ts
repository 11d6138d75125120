import { anatomyOf } from '../anatomy/index.js'
import { badInput } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { ArrayTensor } from '../ir/tensor.js'
import { type NDArray, sizeOf } from '../numbers/dtype.js'
import { type FlatAllocator, flatMemory } from './pieces.js'

/** A trained tensor: its place in the flat memory that all share. */
export interface Parameter {
  readonly name: string
  readonly shape: readonly number[]
  readonly offset: number
  readonly size: number
}

/** Whether a constant is a weight: a float array that is no table of positions and no scale of codes. */
export function isWeight(constant: Value): boolean {
  const shape = constant.shape as readonly number[]
  return constant.dtype === 'float32' && sizeOf(shape) > 1 && [...constant.uses].some(({ node, index }) => !isTable(node.operator, index))
}

function isTable(operator: string, index: number): boolean {
  return index > 0 && ['RotaryEmbedding', 'QuantizeLinear', 'DequantizeLinear', 'Reshape', 'Expand'].includes(operator)
}

/** Names of the weights of linears: of those in the blocks, where the graph has blocks; heads and tied embeddings are none then. */
export function linearWeights(graph: Graph): Set<string> {
  const { blocks, linears } = anatomyOf(graph)
  const counted = blocks.length ? blocks.flatMap((block) => [...block.linears.values()]) : linears
  return new Set(counted.map((linear) => linear.weight.name))
}

/**
 * Parameters of a model side by side in one flat memory, so that optimizers walk over it in pieces of any size. Gradients and
 * the state of optimizers have the same layout.
 */
export class ParameterStore {
  readonly entries: readonly Parameter[]
  /** float32, all parameters in the order of {@link entries}. */
  readonly values: Float32Array
  /** Where this memory and all that goes with it lie. */
  readonly allocate: FlatAllocator

  private constructor(entries: readonly Parameter[], values: Float32Array, allocate: FlatAllocator) {
    this.entries = entries
    this.values = values
    this.allocate = allocate
  }

  /** Parameters of these shapes, all zeros. */
  static async create(
    parameters: readonly { readonly name: string; readonly shape: readonly number[] }[],
    allocate: FlatAllocator = flatMemory(),
  ): Promise<ParameterStore> {
    let offset = 0
    const entries = parameters.map(({ name, shape }) => {
      const entry = { name, shape, offset, size: sizeOf(shape) }
      offset += entry.size
      return entry
    })
    return new ParameterStore(entries, await allocate(offset), allocate)
  }

  /** Reads the tensors of constants. */
  static async read(constants: readonly Value[], allocate?: FlatAllocator): Promise<ParameterStore> {
    const shapes = constants.map((constant) => ({ name: constant.name, shape: constant.shape as readonly number[] }))
    const store = await ParameterStore.create(shapes, allocate)
    for (const [i, constant] of constants.entries()) {
      if (!constant.tensor) throw badInput(`${constant.name} is no constant and cannot be trained`)
      store.values.set((await constant.tensor.read()) as Float32Array, store.entries[i].offset)
    }
    return store
  }

  get size(): number {
    return this.values.length
  }

  /** Memory of the same layout, zeros. */
  alike(): Promise<Float32Array> {
    return this.allocate(this.size)
  }

  /** One parameter's part of a memory of this layout. */
  view(memory: Float32Array, { offset, size, shape }: Parameter): NDArray {
    return { dtype: 'float32', shape, data: memory.subarray(offset, offset + size) }
  }

  /** All parameters' parts of a memory of this layout, by name. */
  views(memory: Float32Array): Map<string, NDArray> {
    return new Map(this.entries.map((entry) => [entry.name, this.view(memory, entry)]))
  }

  /** Gives the constants of a graph the trained values, by name; copies. */
  writeTo(graph: Graph, memory = this.values): void {
    for (const entry of this.entries) {
      const constant = graph.constants.get(entry.name)
      if (constant)
        graph.setTensor(constant, new ArrayTensor('float32', entry.shape, memory.slice(entry.offset, entry.offset + entry.size)))
    }
  }
}
