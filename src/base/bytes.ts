import { badInput } from './errors.js'

/** Random access to bytes that may lie on disk, in memory or behind a Blob. */
export interface ByteSource {
  /** Path or name for messages. */
  readonly name: string
  /** Length in bytes. */
  readonly size: number
  /** Reads exactly `length` bytes at `offset`; throws `bad-input` past the end. */
  read(offset: number, length: number): Promise<Uint8Array>
}

/** Bytes written from front to back. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** Files by relative path: a folder on disk, a hub repository or files picked in a browser. */
export interface Folder {
  readonly name: string
  /** Relative paths of all files, sorted, with `/` as separator. */
  list(): Promise<string[]>
  has(path: string): Promise<boolean>
  /** Throws `bad-input` when the file is absent or lies outside the folder (also through symbolic links). */
  open(path: string): Promise<ByteSource>
  /** What changes with a file, as far as that can be told without reading it; absent where nobody can tell. */
  state?(path: string): Promise<string>
}

export interface WritableFolder extends Folder {
  create(path: string): Promise<ByteSink>
}

export function checkRange(source: ByteSource, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= source.size))
    throw badInput(`bytes ${offset} to ${offset + length} are asked for but the file has ${source.size}`, {
      where: source.name,
      hint: 'The file is cut off or its header is wrong.',
    })
}

/** A source over bytes in memory. */
export class MemorySource implements ByteSource {
  readonly name: string
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array, name = 'memory') {
    this.name = name
    this.#bytes = bytes
  }

  get size(): number {
    return this.#bytes.length
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    return this.#bytes.subarray(offset, offset + length)
  }
}

/** A source over a Blob or File of the browser. */
export class BlobSource implements ByteSource {
  readonly name: string
  readonly #blob: Blob

  constructor(blob: Blob, name = 'blob') {
    this.name = name
    this.#blob = blob
  }

  get size(): number {
    return this.#blob.size
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    return new Uint8Array(await this.#blob.slice(offset, offset + length).arrayBuffer())
  }
}

/** A folder whose files lie in memory; what browsers write to. */
export class MemoryFolder implements WritableFolder {
  readonly name: string
  readonly files: Map<string, Uint8Array>

  constructor(files: Map<string, Uint8Array> = new Map(), name = 'memory') {
    this.name = name
    this.files = files
  }

  async list(): Promise<string[]> {
    return [...this.files.keys()].sort()
  }

  async has(path: string): Promise<boolean> {
    return this.files.has(path)
  }

  async open(path: string): Promise<ByteSource> {
    const bytes = this.files.get(path)
    if (!bytes) throw badInput(`there is no file ${path}`, { where: this.name })
    return new MemorySource(bytes, path)
  }

  async create(path: string): Promise<ByteSink> {
    const chunks: Uint8Array[] = []
    return {
      write: async (bytes) => void chunks.push(bytes.slice()),
      close: async () => void this.files.set(path, concatenate(chunks)),
    }
  }
}

/** One array of all chunks in order. */
export function concatenate(chunks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** All bytes of a source. */
export function readAll(source: ByteSource): Promise<Uint8Array> {
  return source.read(0, source.size)
}

/** The text (UTF-8) of a file in a folder. */
export async function readText(folder: Folder, path: string): Promise<string> {
  return new TextDecoder().decode(await readAll(await folder.open(path)))
}

/** The JSON document of a file in a folder; throws `bad-input` with the parser's reason when it is none. */
export async function readJson(folder: Folder, path: string, parse: (text: string) => unknown = JSON.parse): Promise<unknown> {
  const text = await readText(folder, path)
  try {
    return parse(text)
  } catch (error) {
    throw badInput(`this is not JSON (${(error as Error).message})`, { where: `${folder.name}/${path}` })
  }
}

/** Writes a whole file. */
export async function writeFile(folder: WritableFolder, path: string, bytes: Uint8Array | string): Promise<void> {
  const sink = await folder.create(path)
  await sink.write(typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes)
  await sink.close()
}
