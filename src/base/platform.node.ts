import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ByteSource, Folder } from './bytes.js'
import { cannotWrite, DiskFolder, FileSource, systemCode } from './files.node.js'
import { missingAsset } from './folders.js'
import type { FolderEntry, OpenSource } from './platform.js'

export { cacheFolder, environment } from './cache-folder.node.js'
export { decodeImage } from './decode-image.node.js'
export { scratchFile } from './scratch.node.js'
export { checkWritable, removeFolder, writeFolder } from './write-folder.node.js'

const hashedAtOnce = 4 * 2 ** 20

export function openFile(file: string): Promise<OpenSource> {
  return FileSource.open(file)
}

export function openFolder(folder: string): Promise<Folder> {
  return DiskFolder.open(folder)
}

export async function folderEntries(folder: string): Promise<FolderEntry[]> {
  const entries: FolderEntry[] = []
  for (const name of await namesIn(folder)) {
    const inner = path.join(folder, name)
    const stat = await fs.promises.stat(inner).catch(() => null)
    if (stat?.isDirectory() && !name.startsWith('.')) entries.push({ name, bytes: await bytesIn(inner), usedAt: stat.mtimeMs })
  }
  return entries
}

/** Sum over the files; those that vanish meanwhile count nothing. */
async function bytesIn(folder: string): Promise<number> {
  const entries = await fs.promises.readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])
  let bytes = 0
  for (const entry of entries)
    if (entry.isFile()) bytes += (await fs.promises.stat(path.join(entry.parentPath, entry.name)).catch(() => null))?.size ?? 0
  return bytes
}

export async function touchFolder(folder: string): Promise<void> {
  const now = new Date()
  try {
    await fs.promises.utimes(folder, now, now)
  } catch (error) {
    throw cannotWrite(folder, error)
  }
}

export async function pathKind(given: string): Promise<'file' | 'folder' | null> {
  const stat = await fs.promises.stat(given).catch(() => null)
  return stat ? (stat.isDirectory() ? 'folder' : 'file') : null
}

export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await fs.promises.readdir(folder)).sort()
  } catch (error) {
    if (systemCode(error)) return []
    throw error
  }
}

export async function readAsset(url: URL): Promise<string> {
  try {
    return await fs.promises.readFile(url, 'utf8')
  } catch (error) {
    throw missingAsset(url, error)
  }
}

export function assetPath(url: URL): string {
  return fileURLToPath(url)
}

export function joinPath(...parts: string[]): string {
  return path.join(...parts)
}

export function splitPath(given: string): { folder: string; name: string } {
  return { folder: path.dirname(given), name: path.basename(given) }
}

export async function sha256(source: ByteSource | Uint8Array): Promise<string> {
  const hash = createHash('sha256')
  if (source instanceof Uint8Array) return hash.update(source).digest('hex')
  for (let at = 0; at < source.size; at += hashedAtOnce) hash.update(await source.read(at, Math.min(hashedAtOnce, source.size - at)))
  return hash.digest('hex')
}

export function hardwareThreads(): number {
  return os.availableParallelism()
}

export function processorName(): string {
  return os.cpus()[0]?.model.trim() || os.arch()
}

export function totalMemory(): number | undefined {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < os.totalmem() ? limit : os.totalmem()
}
