import type { Batch } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { type RowKind, roundUp, rowBytes, type View } from '../plan/steps.js'
import { arenaBytes, sequenceWords, viewOffset } from '../program.js'
import type { MappedCache } from './cache-memory.node.js'
import { driverWords } from './driver.js'
import { type KernelCall, type Mapped, mapMemory, viewMemory } from './memory.node.js'
import { evaluate, type ParameterBlocks, type Region, writeWord } from './parameter-blocks.js'
import type { SequenceBlock } from './sequence-blocks.js'

/** Kernels may read so far beyond what a run brings along. */
const overrun = 64

/** Mapped memory that grows when more is needed. */
class GrowingMemory {
  #mapped: Mapped | undefined
  bytes: Uint8Array = new Uint8Array(0)

  constructor(readonly guards: boolean) {}

  get address(): number {
    return Number(this.#mapped!.address)
  }

  /** Content is lost where it grows; with guards it always ends where the bytes end. */
  reserve(bytes: number): void {
    if (this.guards ? bytes === this.bytes.length : bytes <= this.bytes.length) return
    this.release()
    this.#mapped = mapMemory(bytes, { guards: this.guards })
    this.bytes = viewMemory(this.#mapped.address, this.guards ? bytes : this.#mapped.bytes)
  }

  release(): void {
    this.bytes = new Uint8Array(0)
    this.#mapped?.release()
    this.#mapped = undefined
  }
}

/** All that one thread writes while it runs a plan on a block of sequences: what a run brings along, the arena, and blocks of parameters. */
export class ThreadMemory {
  readonly #lists: Mapped
  readonly #words: Uint32Array
  readonly #inputs: GrowingMemory
  readonly #arena: GrowingMemory
  readonly #driverWords: number
  #rows: Readonly<Record<RowKind, number>> = { token: 0, sequence: 0 }
  #regions = new Map<Region, number>()

  /**
   * @param kernels the address of each kernel's code, in order
   * @throws TinsmithError `out-of-memory`
   */
  constructor(
    readonly blocks: ParameterBlocks,
    kernels: readonly number[],
    guards: boolean,
  ) {
    this.#inputs = new GrowingMemory(guards)
    this.#arena = new GrowingMemory(guards)
    this.#driverWords = driverWords.calls + 2 * kernels.length
    this.#lists = mapMemory(8 * (this.#driverWords + blocks.words))
    const memory = viewMemory(this.#lists.address, 8 * (this.#driverWords + blocks.words))
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length / 4)
    const parameters = Number(this.#lists.address) + 8 * this.#driverWords
    writeWord(this.#words, driverWords.count, kernels.length)
    for (const [i, kernel] of kernels.entries()) {
      writeWord(this.#words, driverWords.calls + 2 * i, kernel)
      writeWord(this.#words, driverWords.calls + 2 * i + 1, parameters + 8 * blocks.starts[i])
    }
    blocks.writeKnown(this.#words.subarray(2 * this.#driverWords))
  }

  /** Runs the driver on a thread of the pool. */
  call(driver: KernelCall): Promise<void> {
    return new Promise((resolve, reject) => {
      driver.async(this.#lists.address, (error) => (error ? reject(error) : resolve()))
    })
  }

  /** Ends the run before its next kernel. */
  cancel(): void {
    writeWord(this.#words, driverWords.cancel, 1)
  }

  /**
   * Brings in what the run needs for these sequences.
   *
   * @throws TinsmithError `out-of-memory`
   */
  prepare(batch: Batch, { first, end }: SequenceBlock): void {
    const { plan, scratch } = this.blocks
    const token = batch.starts[end] - batch.starts[first]
    this.#rows = { token, sequence: end - first }
    this.#arena.reserve(arenaBytes(plan.memory, this.#rows))
    this.#layOut(Math.max(0, ...scratch.map((bytes) => evaluate(bytes, this.#rows))))
    this.#writeSequences(batch, first)
    for (const name of plan.numbers)
      this.#numbers(`number:${name}`).set(batch.numbers[name].subarray(batch.starts[first], batch.starts[end]))
    for (const [name, elements] of plan.images) {
      const images = new Float32Array(this.#inputs.bytes.buffer, this.#place(`image:${name}`), elements * (end - first))
      images.set(batch.images[name].subarray(first * elements, end * elements))
    }
    writeWord(this.#words, driverWords.cancel, 0)
    const { keepLast } = batch
    this.blocks.writeRun(this.#words.subarray(2 * this.#driverWords), this.#rows, (region) => {
      if (region === 'kept') return keepLast ? end - first : 0
      if (region === 'remaining') return keepLast ? end - first : token
      return region === 'arena' ? this.#arena.address : this.#inputs.address + this.#regions.get(region)!
    })
  }

  /** Copies rows of a view that the run has filled to where they belong in an array of all rows of the batch. */
  readOutput(view: View, batch: Batch, { first }: SequenceBlock, target: Float32Array): void {
    const { buffer, columns } = view
    const perToken = buffer.per === 'token' && !keepsLast(this.blocks.plan, batch)
    const count = perToken ? this.#rows.token : this.#rows.sequence
    const to = (perToken ? batch.starts[first] : first) * columns
    const stride = rowBytes(buffer) / 4
    const from = new Float32Array(
      this.#arena.bytes.buffer,
      this.#arena.bytes.byteOffset + viewOffset(this.blocks.plan.memory, view, this.#rows),
    )
    if (stride === columns) target.set(from.subarray(0, count * columns), to)
    else for (let row = 0; row < count; row++) target.set(from.subarray(row * stride, row * stride + columns), to + row * columns)
  }

  release(): void {
    this.#lists.release()
    this.#inputs.release()
    this.#arena.release()
  }

  /** Gives every region but the arena its place. */
  #layOut(scratch: number): void {
    const { token, sequence } = this.#rows
    const { numbers, images } = this.blocks.plan
    let end = 0
    const place = (region: Region, bytes: number) => {
      this.#regions.set(region, end)
      end += roundUp(bytes + overrun, 64)
    }
    place('sequences', 8 * sequenceWords.length * sequence)
    place('index', 4 * token)
    for (const name of numbers) place(`number:${name}`, 4 * token)
    for (const [name, elements] of images) place(`image:${name}`, 4 * elements * sequence)
    place('scratch', scratch)
    this.#inputs.reserve(end)
  }

  #place(region: Region): number {
    return this.#inputs.bytes.byteOffset + this.#regions.get(region)!
  }

  #numbers(region: Region): Int32Array {
    return new Int32Array(this.#inputs.bytes.buffer, this.#place(region), this.#rows.token)
  }

  #writeSequences({ starts, pasts, caches }: Batch, first: number): void {
    const { sequence } = this.#rows
    const words = new Uint32Array(this.#inputs.bytes.buffer, this.#place('sequences'), 2 * sequenceWords.length * sequence)
    const places = this.#numbers('index')
    for (let i = 0; i < sequence; i++) {
      const row = starts[first + i] - starts[first]
      const count = starts[first + i + 1] - starts[first + i]
      const past = pasts[first + i]
      const cache = caches?.[first + i] as MappedCache | undefined
      const entry = { first: row, rows: count, past, cache: cache?.address ?? 0, capacity: cache?.capacity ?? 0 }
      for (const [word, name] of sequenceWords.entries()) writeWord(words, sequenceWords.length * i + word, entry[name])
      for (let j = 0; j < count; j++) places[row + j] = past + j
    }
  }
}

/** Whether outputs of tokens have rows of last tokens only. */
export function keepsLast({ steps }: Plan, { keepLast = false }: Batch): boolean {
  return keepLast && steps.some(({ kind }) => kind === 'keep')
}
