import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { type ByteSink, checkRange, type Folder } from './bytes.js'
import { badInput, TinsmithError } from './errors.js'
import { absentFile, leavesFolder, relativeParts } from './folders.js'
import type { OpenSource } from './platform.js'

const openDescriptor = promisify(fs.open)
const closeDescriptor = promisify(fs.close)

/** The system reads and writes at most 2 GiB at once. */
const largestPiece = 2 ** 30
const bufferBytes = 2 ** 20
const mostFiles = 100_000

const reasons: Record<string, string> = {
  ENOENT: 'it does not exist',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file becomes too large for its file system',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is a file',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'its symbolic links go round in a circle',
  EMFILE: 'too many files are open',
  EIO: 'the disk failed',
}

/** The code of a system error (`ENOENT`), else undefined. */
export function systemCode(error: unknown): string | undefined {
  const { code, syscall } = error as { code?: unknown; syscall?: unknown }
  return typeof code === 'string' && typeof syscall === 'string' ? code : undefined
}

/** Why the system refused, in plain words. */
export function reasonOf(error: unknown): string {
  return reasons[systemCode(error) ?? ''] ?? (error instanceof Error ? error.message : String(error))
}

export function cannotRead(file: string, error: unknown): TinsmithError {
  return badInput(`this cannot be read: ${reasonOf(error)}`, { where: file, cause: error })
}

export function cannotWrite(file: string, error: unknown): TinsmithError {
  if (error instanceof TinsmithError) return error
  const full = ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '')
  const hint = full ? 'Free some space or choose another place.' : 'Choose a place where you may write.'
  return new TinsmithError('cannot-write', `this cannot be written: ${reasonOf(error)}`, { where: file, hint, cause: error })
}

/** Descriptors of sources that nobody holds any more. */
const abandoned = new FinalizationRegistry<number>((descriptor) => fs.close(descriptor, () => {}))

/** A file on disk, read at any place through one descriptor. */
export class FileSource implements OpenSource {
  readonly name: string
  readonly size: number
  #descriptor: number | null

  private constructor(name: string, size: number, descriptor: number) {
    this.name = name
    this.size = size
    this.#descriptor = descriptor
    abandoned.register(this, descriptor, this)
  }

  /** Throws `bad-input` when the file is absent, is no plain file or may not be read. */
  static async open(file: string, name = file): Promise<FileSource> {
    try {
      const stat = await fs.promises.stat(file)
      if (!stat.isFile()) throw badInput(stat.isDirectory() ? 'this is a folder, not a file' : 'this is no plain file', { where: name })
      const descriptor = await openDescriptor(file, 'r')
      return new FileSource(name, stat.size, descriptor)
    } catch (error) {
      throw error instanceof TinsmithError ? error : cannotRead(name, error)
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const bytes = uninitialized(length)
    for (let done = 0; done < length; ) {
      if (this.#descriptor === null) throw new Error(`${this.name} is closed`)
      const count = await this.#readPiece(this.#descriptor, bytes.subarray(done, done + largestPiece), offset + done)
      if (!count) throw badInput(`the file became shorter than ${this.size} bytes while it was read`, { where: this.name })
      done += count
    }
    return bytes
  }

  #readPiece(descriptor: number, into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(descriptor, into, 0, into.length, position, (error, count) => (error ? reject(cannotRead(this.name, error)) : resolve(count)))
    })
  }

  async close(): Promise<void> {
    if (this.#descriptor === null) return
    const descriptor = this.#descriptor
    this.#descriptor = null
    abandoned.unregister(this)
    await closeDescriptor(descriptor)
  }
}

/** Memory that is not zeroed first and that no other array shares. */
function uninitialized(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer, 0, length)
}

/** A file written from front to back; small pieces are collected, closing flushes to the disk. */
export class FileSink implements ByteSink {
  readonly #name: string
  readonly #handle: fs.promises.FileHandle
  readonly #buffer = uninitialized(bufferBytes)
  #used = 0
  #open = true

  private constructor(name: string, handle: fs.promises.FileHandle) {
    this.#name = name
    this.#handle = handle
  }

  static async create(file: string, name = file): Promise<FileSink> {
    try {
      await fs.promises.mkdir(path.dirname(file), { recursive: true })
      return new FileSink(name, await fs.promises.open(file, 'w'))
    } catch (error) {
      throw cannotWrite(name, error)
    }
  }

  get isOpen(): boolean {
    return this.#open
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (bytes.length > bufferBytes - this.#used) await this.#flush()
    if (bytes.length > bufferBytes) return this.#writeAll(bytes)
    this.#buffer.set(bytes, this.#used)
    this.#used += bytes.length
  }

  async close(): Promise<void> {
    if (!this.#open) return
    try {
      await this.#flush()
      await this.#handle.sync()
    } catch (error) {
      throw cannotWrite(this.#name, error)
    } finally {
      await this.abandon()
    }
  }

  /** Closes without flushing what was written. */
  async abandon(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#handle.close()
  }

  async #flush(): Promise<void> {
    const used = this.#used
    this.#used = 0
    await this.#writeAll(this.#buffer.subarray(0, used))
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; )
        done += (await this.#handle.write(bytes, done, Math.min(largestPiece, bytes.length - done))).bytesWritten
    } catch (error) {
      throw cannotWrite(this.#name, error)
    }
  }
}

/** A folder on disk. Symbolic links may lead to places inside it, and in a Hugging Face cache to the blobs of its repository. */
export class DiskFolder implements Folder {
  readonly name: string
  readonly #root: string
  /** Real paths that files may lie in. */
  readonly #allowed: readonly string[]

  private constructor(name: string, root: string, allowed: readonly string[]) {
    this.name = name
    this.#root = root
    this.#allowed = allowed
  }

  /** Throws `bad-input` when there is no such folder. */
  static async open(folder: string): Promise<DiskFolder> {
    try {
      const root = await fs.promises.realpath(folder)
      if (!(await fs.promises.stat(root)).isDirectory()) throw badInput('this is a file, not a folder', { where: folder })
      return new DiskFolder(folder, root, [root, ...(await blobsOf(root))])
    } catch (error) {
      throw error instanceof TinsmithError ? error : cannotRead(folder, error)
    }
  }

  async list(): Promise<string[]> {
    const files: string[] = []
    try {
      await this.#collect('', new Set([this.#root]), files)
    } catch (error) {
      throw error instanceof TinsmithError ? error : cannotRead(this.name, error)
    }
    return files.sort()
  }

  async has(file: string): Promise<boolean> {
    const real = await this.#locate(file)
    return real !== null && (await fs.promises.stat(real)).isFile()
  }

  async open(file: string): Promise<OpenSource> {
    const real = await this.#locate(file)
    if (real === null) throw absentFile(file, this.name, await this.list().catch(() => []))
    return FileSource.open(real, `${this.name}/${file}`)
  }

  async state(file: string): Promise<string> {
    const real = await this.#locate(file)
    if (real === null) return 'absent'
    const { dev, ino, size, mtimeNs, ctimeNs } = await fs.promises.stat(real, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
  }

  /** The real path, null when there is nothing; throws `bad-input` for what lies outside. */
  async #locate(file: string): Promise<string | null> {
    const parts = relativeParts(file, this.name)
    try {
      const real = await fs.promises.realpath(path.join(this.#root, ...parts))
      if (!this.#allowed.some((root) => isInside(real, root))) throw leavesFolder(file, this.name)
      return real
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(systemCode(error) ?? '')) return null
      throw error instanceof TinsmithError ? error : cannotRead(`${this.name}/${file}`, error)
    }
  }

  /** Adds the files below a relative folder; hidden folders and those met before are passed over. */
  async #collect(below: string, met: Set<string>, files: string[]): Promise<void> {
    for (const entry of await fs.promises.readdir(path.join(this.#root, below), { withFileTypes: true })) {
      const relative = below ? `${below}/${entry.name}` : entry.name
      if (entry.isFile()) files.push(relative)
      else if (entry.isDirectory() || entry.isSymbolicLink()) await this.#collectOther(relative, entry, met, files)
      if (files.length > mostFiles)
        throw badInput(`this holds more than ${mostFiles} files`, { where: this.name, hint: 'Give the folder of one model.' })
    }
  }

  async #collectOther(relative: string, entry: fs.Dirent, met: Set<string>, files: string[]): Promise<void> {
    const real = await fs.promises.realpath(path.join(this.#root, relative)).catch(() => null)
    if (real === null) return
    const folder = entry.isDirectory() || (await fs.promises.stat(real)).isDirectory()
    if (!folder) files.push(relative)
    else if (!met.has(real) && isInside(real, this.#root) && !entry.name.startsWith('.') && entry.name !== 'node_modules') {
      met.add(real)
      await this.#collect(relative, met, files)
    }
  }
}

/** Whether a real path is another or lies below it. */
export function isInside(inner: string, outer: string): boolean {
  const relative = path.relative(outer, inner)
  return relative === '' || (relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative))
}

/** In the layout REPOSITORY/snapshots/REVISION of a Hugging Face cache: REPOSITORY/blobs, where the files really lie. */
async function blobsOf(root: string): Promise<string[]> {
  const parts = root.split(path.sep)
  const at = parts.lastIndexOf('snapshots')
  if (at < 1 || at === parts.length - 1) return []
  const blobs = path.join(parts.slice(0, at).join(path.sep), 'blobs')
  const real = await fs.promises.realpath(blobs).catch(() => null)
  return real === blobs ? [blobs] : []
}
