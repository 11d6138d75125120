import { type ByteSource, checkRange, type Folder, readAll } from './bytes.js'

/** Longer files are read in pieces, as these are asked for. */
const mostBytes = 2 ** 27

/** A source that is read from front to back at once, while others work, and kept in memory until it is released. */
export class AheadSource implements ByteSource {
  readonly #source: ByteSource
  #bytes: Promise<Uint8Array> | undefined

  constructor(source: ByteSource) {
    this.#source = source
    if (source.size <= mostBytes) this.#bytes = readAll(source)
    // Who reads gets the error.
    this.#bytes?.catch(() => {})
  }

  get name(): string {
    return this.#source.name
  }

  get size(): number {
    return this.#source.size
  }

  /** What is still in memory is given as a view. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (!this.#bytes) return this.#source.read(offset, length)
    checkRange(this, offset, length)
    return (await this.#bytes).subarray(offset, offset + length)
  }

  /** Lets the memory go; what is read from now on comes from the source again. */
  release(): void {
    this.#bytes = undefined
  }
}

/** The folder with a source that is open already in place of one of its files. */
export function folderWith(folder: Folder, path: string, source: ByteSource): Folder {
  return {
    name: folder.name,
    list: () => folder.list(),
    has: (file) => folder.has(file),
    open: async (file) => (file === path ? source : folder.open(file)),
    state: folder.state?.bind(folder),
  }
}
