/** Arrays of many calibration batches: in memory up to a budget, beyond it in a temporary file. */
import { scratchFile } from '#platform'
import type { ScratchFile } from '../../base/platform.js'
import { type NDArray, sizeOf } from '../../numbers/dtype.js'

/** Where an array lies. */
type Place = { readonly shape: readonly number[] } & ({ readonly memory: Float32Array } | { readonly offset: number })

/** float32 arrays by index. */
export class ActivationStore {
  readonly #budget: number
  readonly #places: Place[] = []
  #held = 0
  #written = 0
  #file: ScratchFile | null = null

  /** @param budget bytes that may stay in memory */
  constructor(budget: number) {
    this.#budget = budget
  }

  get length(): number {
    return this.#places.length
  }

  /** Bytes that lie on disk. */
  get bytesOnDisk(): number {
    return this.#written
  }

  /** Keeps a copy of an array at an index. */
  async set(index: number, { shape, data }: NDArray): Promise<void> {
    const values = Float32Array.from(data as Float32Array)
    if (this.#held + values.byteLength <= this.#budget) {
      this.#held += values.byteLength
      this.#places[index] = { shape, memory: values }
      return
    }
    this.#file ??= await scratchFile()
    const offset = this.#written
    await this.#file.write(offset, new Uint8Array(values.buffer))
    this.#written += values.byteLength
    this.#places[index] = { shape, offset }
  }

  async get(index: number): Promise<NDArray> {
    const place = this.#places[index]
    if ('memory' in place) return { dtype: 'float32', shape: place.shape, data: place.memory }
    const bytes = await this.#file!.read(place.offset, 4 * sizeOf(place.shape))
    return { dtype: 'float32', shape: place.shape, data: new Float32Array(bytes.buffer, bytes.byteOffset, sizeOf(place.shape)) }
  }

  async dispose(): Promise<void> {
    this.#places.length = 0
    await this.#file?.remove()
    this.#file = null
  }
}
