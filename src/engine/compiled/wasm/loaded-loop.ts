import { roundUp } from '../plan/steps.js'
import type { FlatLoop } from './flat-loop.js'
import { FlatArea, FlatMemory } from './flat-memory.js'

/** Milliseconds after which other work of the thread has its turn. */
const patience = 8

/** Elements of a piece: those of all arrays of an update fit a core's second cache. */
export const pieceElements = 1 << 13

/** Arrays of a loop at most. */
export const mostArrays = 16

/** Where pieces of arrays are copied to that lie elsewhere. */
let found: { readonly memory: FlatArea; readonly arrays: readonly Float32Array[] } | undefined

function areasHere() {
  if (found) return found
  const memory = new FlatArea(mostArrays * pieceElements * Float32Array.BYTES_PER_ELEMENT)
  found = { memory, arrays: Array.from({ length: mostArrays }, () => memory.take(pieceElements)!) }
  return found
}

type Run = (bytes: number, ...addressesAndScalars: readonly number[]) => void

/**
 * A {@link FlatLoop} that runs on this thread: over arrays of one {@link FlatMemory} where they are, over others by copies of their pieces.
 * Calls may overlap.
 */
export class LoadedLoop {
  readonly #runs = new WeakMap<FlatMemory, Run>()

  private constructor(private readonly module: WebAssembly.Module) {}

  static async load({ bytes }: FlatLoop): Promise<LoadedLoop> {
    return new LoadedLoop(await WebAssembly.compile(bytes))
  }

  /** Arrays of one length, {@link mostArrays} at most; outputs may be inputs. */
  async run(inputs: readonly Float32Array[], outputs: readonly Float32Array[], scalars: readonly number[]): Promise<void> {
    const [{ length }] = inputs
    const arrays = [...inputs, ...outputs]
    const whole = await this.#inPlace(arrays, length - (length % 4), scalars)
    const { memory, arrays: areas } = areasHere()
    await inPieces(whole, length, (start, end) => {
      const copies = areas.slice(0, arrays.length).map((area) => area.subarray(0, roundUp(end - start, 4)))
      for (const [i, input] of inputs.entries()) copies[i].set(input.subarray(start, end))
      this.#call(memory, copies, scalars)
      for (const [i, output] of outputs.entries()) output.set(copies[inputs.length + i].subarray(0, end - start), start)
    })
  }

  /** Adds what the loop finds in an array to sums, as many as there are elements in a turn of the loop. */
  async sum(array: Float32Array, sums: Float64Array): Promise<void> {
    const { length } = array
    const whole = await this.#inPlace([array], length - (length % sums.length), [], sums)
    const { memory, arrays: areas } = areasHere()
    await inPieces(whole, length, (start, end) => {
      const copy = areas[0].subarray(0, roundUp(end - start, sums.length)).fill(0, end - start)
      copy.set(array.subarray(start, end))
      this.#call(memory, [copy], [], sums)
    })
  }

  /** @returns the elements that were gone through: all, or none where the arrays do not lie in one memory */
  async #inPlace(arrays: readonly Float32Array[], length: number, scalars: readonly number[], sums?: Float64Array): Promise<number> {
    const memory = FlatMemory.of(arrays)
    if (!memory) return 0
    await inPieces(0, length, (start, end) => {
      const pieces = arrays.map((array) => array.subarray(start, end))
      this.#call(memory, pieces, scalars, sums)
    })
    return length
  }

  /** Runs over arrays of a memory, whole turns of the loop. */
  #call(home: FlatMemory, arrays: readonly Float32Array[], scalars: readonly number[], sums?: Float64Array): void {
    if (sums) home.sums.set(sums)
    const last = sums ? [home.sums.byteOffset] : scalars
    this.#runIn(home)(arrays[0].byteLength, ...arrays.map(({ byteOffset }) => byteOffset), ...last)
    sums?.set(home.sums)
  }

  #runIn(home: FlatMemory): Run {
    const known = this.#runs.get(home)
    if (known) return known
    const { exports } = new WebAssembly.Instance(this.module, { env: { memory: home.memory } })
    const run = exports['run'] as Run
    this.#runs.set(home, run)
    return run
  }
}

async function inPieces(from: number, to: number, work: (start: number, end: number) => void): Promise<void> {
  let rested = performance.now()
  for (let start = from; start < to; start += pieceElements) {
    work(start, Math.min(start + pieceElements, to))
    if (performance.now() - rested < patience) continue
    await rest()
    rested = performance.now()
  }
}

/** Lets the thread's other work run. */
function rest(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
