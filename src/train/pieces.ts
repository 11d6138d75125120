/** Graphs that run over flat memory in pieces: what is between their operators should fit the processor's caches. */
import { runtime } from '#engine'
import { openGraph } from '../engine/open.js'
import type { Session } from '../engine/session.js'
import { int } from '../ir/attribute.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import { type NDArray, ndarray } from '../numbers/dtype.js'

/** Elements of a piece; larger where each one costs messages between threads. */
export const pieceSize = runtime.target === 'ort-wasm' ? 1 << 21 : 1 << 16

/** Zeros in memory that graphs read and write over. */
export function flatMemory(size: number): Float32Array {
  return new Float32Array(runtime.allocate(size * Float32Array.BYTES_PER_ELEMENT))
}

/** A part of flat memory as an array of one dimension, without a copy. */
export function piece(memory: Float32Array, start: number, end: number): NDArray {
  return { dtype: 'float32', shape: [end - start], data: memory.subarray(start, end) }
}

export function scalarFeed(value: number): NDArray {
  return ndarray('float32', [], [value])
}

/** Sums of squares and sums of flat memories. */
export interface FlatArithmetic {
  /** The Euclidean norm, summed in float64 over elements or pieces. */
  norm(memory: Float32Array): Promise<number>
  /** `target += source`, in place. */
  add(target: Float32Array, source: Float32Array): Promise<void>
  dispose(): Promise<void>
}

/** By graphs, or in plain loops where a run would cost copies into the engine's memory. */
export async function flatArithmetic(): Promise<FlatArithmetic> {
  return runtime.target === 'ort-wasm' ? plainArithmetic : GraphArithmetic.create()
}

const plainArithmetic: FlatArithmetic = {
  async norm(memory) {
    let total = 0
    for (let i = 0; i < memory.length; i++) total += memory[i] * memory[i]
    return Math.sqrt(total)
  },
  async add(target, source) {
    for (let i = 0; i < target.length; i++) target[i] += source[i]
  },
  async dispose() {},
}

class GraphArithmetic implements FlatArithmetic {
  readonly #squares: Session
  readonly #sums: Session

  private constructor(squares: Session, sums: Session) {
    this.#squares = squares
    this.#sums = sums
  }

  static async create(): Promise<GraphArithmetic> {
    const [squares, sums] = [new Net(new Graph('squares')), new Net(new Graph('sums'))]
    squares.output('total', squares.op('ReduceSumSquare', [squares.input('x', 'float32', ['n'])], { keepdims: int(0) }))
    sums.output('total', sums.op('Add', [sums.input('x', 'float32', ['n']), sums.input('y', 'float32', ['n'])]))
    return new GraphArithmetic(await openGraph(squares.graph), await openGraph(sums.graph))
  }

  async norm(memory: Float32Array): Promise<number> {
    let total = 0
    for (let start = 0; start < memory.length; start += pieceSize) {
      const result = await this.#squares.run({ x: piece(memory, start, Math.min(start + pieceSize, memory.length)) })
      total += (result.total.data as Float32Array)[0]
      result.total.dispose()
    }
    return Math.sqrt(total)
  }

  async add(target: Float32Array, source: Float32Array): Promise<void> {
    for (let start = 0; start < target.length; start += pieceSize) {
      const end = Math.min(start + pieceSize, target.length)
      const x = piece(target, start, end)
      await this.#sums.run({ x, y: piece(source, start, end) }, { into: { total: x } })
    }
  }

  async dispose(): Promise<void> {
    await this.#squares.dispose()
    await this.#sums.dispose()
  }
}
