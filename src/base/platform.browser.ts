import { BlobSource, type ByteSink, type ByteSource, type Folder, type WritableFolder } from './bytes.js'
import { badInput, TinsmithError, unsupported, usage } from './errors.js'
import { absentFile, missingAsset, relativeParts } from './folders.js'
import type { FolderEntry, OpenSource, ScratchFile, WriteFolderOptions } from './platform.js'
import { Sha256 } from './sha256.js'

export { decodeImage } from './decode-image.browser.js'

/** In a folder while it is being written: until it goes, the folder counts as absent. */
const unfinishedMark = '.tinsmith-unfinished'
/** Its date is when the folder was last used. */
const usedMark = '.tinsmith-used'
const hashedAtOnce = 4 * 2 ** 20

export async function openFile(path: string): Promise<OpenSource> {
  const { folder, name } = splitPath(path)
  const directory = await directoryAt(folder)
  const handle = await directory?.getFileHandle(name).catch(nothing)
  if (!handle) throw absentFile(name, folder, directory ? await namesIn(folder) : [])
  return new OriginSource(await handle.getFile(), path)
}

export async function openFolder(path: string): Promise<Folder> {
  const directory = await finishedDirectory(path)
  if (!directory) throw badInput('there is no such folder', { where: path })
  return new OriginFolder(directory, path)
}

/** See {@link Platform.writeFolder}. An old folder goes when the new one begins, for this file system renames no folders. */
export async function writeFolder<T>(path: string, options: WriteFolderOptions, fill: (folder: WritableFolder) => Promise<T>): Promise<T> {
  return navigator.locks.request(`tinsmith:${normalize(path)}`, async () => {
    await checkWritable(path, options)
    await removeFolder(path)
    try {
      const directory = (await directoryAt(path, true))!
      await markFile(directory, unfinishedMark)
      const result = await fill(new OriginFolder(directory, path))
      await directory.removeEntry(unfinishedMark)
      return result
    } catch (error) {
      await removeFolder(path)
      throw cannotWrite(path, error)
    }
  })
}

export async function checkWritable(path: string, options: WriteFolderOptions): Promise<void> {
  const target = `${normalize(path)}/`
  for (const source of options.sources ?? []) {
    const given = `${normalize(source)}/`
    if (target.startsWith(given) || given.startsWith(target))
      throw usage(`the result would be written over its source ${source}`, { where: path })
  }
  const directory = await finishedDirectory(path)
  if (directory && !options.force && (await filesIn(directory)).length)
    throw usage('the folder is not empty', { where: path, hint: 'Choose another one, or force it.' })
}

export async function removeFolder(path: string): Promise<void> {
  const { folder, name } = splitPath(path)
  const parent = await directoryAt(folder)
  await parent?.removeEntry(name, { recursive: true }).catch(nothing)
}

export async function folderEntries(path: string): Promise<FolderEntry[]> {
  const entries: FolderEntry[] = []
  for (const name of await namesIn(path)) {
    const directory = await finishedDirectory(joinPath(path, name))
    if (!directory) continue
    const files = await Promise.all((await filesIn(directory)).map(async ([, handle]) => handle.getFile()))
    const used = await directory.getFileHandle(usedMark).catch(nothing)
    const dates = used ? [(await used.getFile()).lastModified] : files.map((file) => file.lastModified)
    entries.push({ name, bytes: files.reduce((sum, file) => sum + file.size, 0), usedAt: Math.max(0, ...dates) })
  }
  return entries
}

export async function touchFolder(path: string): Promise<void> {
  const directory = await finishedDirectory(path)
  if (directory) await markFile(directory, usedMark)
}

export async function pathKind(path: string): Promise<'file' | 'folder' | null> {
  if (await finishedDirectory(path)) return 'folder'
  const { folder, name } = splitPath(path)
  return (await (await directoryAt(folder))?.getFileHandle(name).catch(nothing)) ? 'file' : null
}

export async function namesIn(path: string): Promise<string[]> {
  const directory = await directoryAt(path)
  const names: string[] = []
  if (directory) for await (const [name] of directory.entries()) names.push(name)
  return names.sort()
}

export async function readAsset(url: URL): Promise<string> {
  const response = await fetch(url).catch((error) => {
    throw missingAsset(url, error)
  })
  if (!response.ok) throw missingAsset(url, response.status)
  return response.text()
}

export function assetPath(url: URL): string {
  throw unsupported('the files of this package have no paths in a browser', { where: url.href, hint: 'Fetch them from their addresses.' })
}

export function joinPath(...parts: string[]): string {
  return parts.filter(Boolean).join('/')
}

export function splitPath(path: string): { folder: string; name: string } {
  const parts = normalize(path).split('/')
  const name = parts.pop()!
  return { folder: parts.join('/'), name }
}

export async function sha256(source: ByteSource | Uint8Array): Promise<string> {
  const hash = new Sha256()
  if (source instanceof Uint8Array) return hash.update(source).digest()
  for (let at = 0; at < source.size; at += hashedAtOnce) hash.update(await source.read(at, Math.min(hashedAtOnce, source.size - at)))
  return hash.digest()
}

export function cacheFolder(): string {
  return 'tinsmith'
}

export function hardwareThreads(): number {
  return navigator.hardwareConcurrency || 1
}

export function environment(_name: string): string | undefined {
  return undefined
}

export function processorName(): string {
  return navigator.userAgent
}

export function totalMemory(): number | undefined {
  const gibibytes = (navigator as { deviceMemory?: number }).deviceMemory
  return gibibytes === undefined ? undefined : gibibytes * 2 ** 30
}

class OriginSource extends BlobSource implements OpenSource {
  async close(): Promise<void> {}
}

/** A folder of the origin's private file system. */
class OriginFolder implements WritableFolder {
  readonly name: string
  readonly #directory: FileSystemDirectoryHandle

  constructor(directory: FileSystemDirectoryHandle, name: string) {
    this.#directory = directory
    this.name = name
  }

  async list(): Promise<string[]> {
    return (await filesIn(this.#directory)).map(([path]) => path).sort()
  }

  async has(path: string): Promise<boolean> {
    return (await this.#handle(path)) !== undefined
  }

  async open(path: string): Promise<ByteSource> {
    const handle = await this.#handle(path)
    if (!handle) throw absentFile(path, this.name, await this.list())
    return new OriginSource(await handle.getFile(), `${this.name}/${path}`)
  }

  async create(path: string): Promise<ByteSink> {
    const { folder, name } = splitPath(relativeParts(path, this.name).join('/'))
    const directory = await descend(this.#directory, folder, true)
    const stream = await (await directory!.getFileHandle(name, { create: true })).createWritable()
    return {
      write: (bytes) => stream.write(bytes as Uint8Array<ArrayBuffer>),
      close: () => stream.close(),
    }
  }

  async #handle(path: string): Promise<FileSystemFileHandle | undefined> {
    const { folder, name } = splitPath(relativeParts(path, this.name).join('/'))
    const directory = await descend(this.#directory, folder)
    return directory?.getFileHandle(name).catch(nothing)
  }
}

function nothing(): undefined {
  return undefined
}

function normalize(path: string): string {
  return path
    .split('/')
    .filter((part) => part && part !== '.')
    .join('/')
}

async function directoryAt(path: string, create = false): Promise<FileSystemDirectoryHandle | undefined> {
  if (!navigator.storage?.getDirectory)
    throw unsupported('this browser gives pages no file system of their own', {
      hint: 'Use files in memory (MemoryFolder), or a newer browser over HTTPS.',
    })
  return descend(await navigator.storage.getDirectory(), path, create)
}

async function descend(from: FileSystemDirectoryHandle, path: string, create = false): Promise<FileSystemDirectoryHandle | undefined> {
  let at: FileSystemDirectoryHandle | undefined = from
  for (const part of path.split('/').filter(Boolean))
    at = await at?.getDirectoryHandle(part, { create }).catch(create ? undefined : nothing)
  return at
}

/** A folder that no writer has left half done. */
async function finishedDirectory(path: string): Promise<FileSystemDirectoryHandle | undefined> {
  const directory = await directoryAt(path)
  return (await directory?.getFileHandle(unfinishedMark).catch(nothing)) ? undefined : directory
}

async function filesIn(directory: FileSystemDirectoryHandle, below = ''): Promise<[string, FileSystemFileHandle][]> {
  const files: [string, FileSystemFileHandle][] = []
  for await (const [name, handle] of directory.entries()) {
    if (handle.kind === 'directory') files.push(...(await filesIn(handle as FileSystemDirectoryHandle, `${below}${name}/`)))
    else if (name !== unfinishedMark && name !== usedMark) files.push([below + name, handle as FileSystemFileHandle])
  }
  return files
}

async function markFile(directory: FileSystemDirectoryHandle, name: string): Promise<void> {
  const stream = await (await directory.getFileHandle(name, { create: true })).createWritable()
  await stream.close()
}

function cannotWrite(path: string, error: unknown): unknown {
  if (error instanceof TinsmithError || !(error instanceof DOMException)) return error
  const full = error.name === 'QuotaExceededError'
  return new TinsmithError('cannot-write', `this cannot be written: ${full ? "the browser's space is used up" : error.message}`, {
    where: path,
    cause: error,
  })
}

export async function scratchFile(): Promise<ScratchFile> {
  const parts = new Map<number, Uint8Array>()
  return {
    async write(offset, bytes) {
      parts.set(offset, bytes.slice())
    },
    async read(offset, length) {
      return (parts.get(offset) ?? new Uint8Array(0)).subarray(0, length)
    },
    async remove() {
      parts.clear()
    },
  }
}
