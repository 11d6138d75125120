import { driverWords } from './driver.js'
import { type Mapped, mapMemory, viewMemory } from './memory.node.js'
import { type ParameterBlocks, type Region, type RunRows, writeWord } from './parameter-blocks.js'

/** Calls of kernels with their blocks of parameters in memory, as the driver takes them. */
export class CallList {
  readonly #mapped: Mapped
  readonly #words: Uint32Array
  readonly #blocks: ParameterBlocks
  readonly #blockWords: Uint32Array
  #written = ''

  /**
   * @param codeOf the address of a kernel's code
   * @throws TinsmithError `out-of-memory`
   */
  constructor(blocks: ParameterBlocks, codeOf: (kernel: number | 'barrier') => number) {
    const { calls, starts } = blocks
    const first = driverWords.calls + 2 * calls.length
    const bytes = 8 * (first + blocks.words)
    this.#mapped = mapMemory(bytes)
    const memory = viewMemory(this.#mapped.address, bytes)
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, bytes / 4)
    this.#blocks = blocks
    this.#blockWords = this.#words.subarray(2 * first)
    writeWord(this.#words, driverWords.count, calls.length)
    for (const [i, { kernel }] of calls.entries()) {
      writeWord(this.#words, driverWords.calls + 2 * i, codeOf(kernel))
      writeWord(this.#words, driverWords.calls + 2 * i + 1, this.address + 8 * (first + starts[i]))
    }
    blocks.writeKnown(this.#blockWords)
  }

  get address(): number {
    return Number(this.#mapped.address)
  }

  /**
   * Writes what depends on a run, and lets the list run.
   *
   * @param run tells runs apart for which other words would be written
   */
  prepare(run: string, rows: RunRows, addressOf: (region: Region) => number): void {
    writeWord(this.#words, driverWords.cancel, 0)
    if (this.#written === run) return
    this.#written = run
    this.#blocks.writeRun(this.#blockWords, rows, (region) =>
      region === 'cancel' ? this.address + 8 * driverWords.cancel : addressOf(region),
    )
  }

  /** Ends the run before its next kernel. */
  cancel(): void {
    writeWord(this.#words, driverWords.cancel, 1)
  }

  release(): void {
    this.#mapped.release()
  }
}
