import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ByteSink, ByteSource, WritableFolder } from './bytes.js'
import { TinsmithError, usage } from './errors.js'
import { cannotWrite, DiskFolder, FileSink, isInside, systemCode } from './files.node.js'
import { relativeParts } from './folders.js'
import type { OpenSource, WriteFolderOptions } from './platform.js'

/** Temporary folders of this process; a process that dies of itself or by a signal takes them along. */
const unfinished = new Set<string>()
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const host = createHash('sha256').update(os.hostname()).digest('hex').slice(0, 8)

/** A folder beside OUT that is being written. */
class UnfinishedFolder implements WritableFolder {
  readonly name: string
  readonly #path: string
  readonly #reader: DiskFolder
  readonly #sinks = new Map<string, FileSink>()
  readonly #sources: OpenSource[] = []

  constructor(name: string, at: string, reader: DiskFolder) {
    this.name = name
    this.#path = at
    this.#reader = reader
  }

  list(): Promise<string[]> {
    return this.#reader.list()
  }

  has(file: string): Promise<boolean> {
    return this.#reader.has(file)
  }

  async open(file: string): Promise<ByteSource> {
    const source = await this.#reader.open(file)
    this.#sources.push(source)
    return source
  }

  async create(file: string): Promise<ByteSink> {
    const parts = relativeParts(file, this.name)
    const sink = await FileSink.create(path.join(this.#path, ...parts), path.join(this.name, ...parts))
    this.#sinks.set(file, sink)
    return sink
  }

  /** Throws when a file was begun and not closed; dates the folder as of now and flushes it. */
  async finish(): Promise<void> {
    for (const [file, sink] of this.#sinks) if (sink.isOpen) throw new Error(`${file} was not closed`)
    for (const source of this.#sources) await source.close()
    const files = await this.list()
    await fs.promises.utimes(this.#path, new Date(), new Date())
    const folders = new Set(files.map((file) => path.dirname(path.join(this.#path, file))))
    for (const folder of folders.add(this.#path)) await flushFolder(folder)
  }

  async abandon(): Promise<void> {
    for (const sink of this.#sinks.values()) await sink.abandon().catch(() => {})
    for (const source of this.#sources) await source.close().catch(() => {})
  }
}

/** See {@link Platform.writeFolder}. */
export async function writeFolder<T>(out: string, options: WriteFolderOptions, fill: (folder: WritableFolder) => Promise<T>): Promise<T> {
  await checkWritable(out, options)
  const target = await realPath(out)
  const parent = path.dirname(target)
  const made = await attempt(out, () => fs.promises.mkdir(parent, { recursive: true }))
  const temporary = temporaryPath(target, 'new')
  watch(temporary)
  try {
    await removeLeftovers(parent)
    await attempt(out, () => fs.promises.mkdir(temporary))
    const folder = new UnfinishedFolder(out, temporary, await DiskFolder.open(temporary))
    try {
      const result = await fill(folder)
      await attempt(out, () => folder.finish())
      await putInPlace(out, temporary, target, options.force ?? false)
      return result
    } finally {
      await folder.abandon()
    }
  } catch (error) {
    await fs.promises.rm(temporary, { recursive: true, force: true })
    if (made) await removeEmptyFolders(parent, path.dirname(made))
    throw error
  } finally {
    unwatch(temporary)
  }
}

/** See {@link Platform.checkWritable}. */
export async function checkWritable(out: string, options: WriteFolderOptions): Promise<void> {
  const target = await realPath(out)
  for (const given of options.sources ?? []) {
    const source = await realPath(given)
    if (isInside(target, source) || isInside(source, target))
      throw usage(`the result would be written ${placeOf(target, source)} its source ${given}`, {
        where: out,
        hint: 'Choose another place.',
      })
  }
  const names = await namesIn(target).catch((error) => {
    if (systemCode(error) === 'ENOTDIR')
      throw usage('this is a file, and a folder must be written there', { where: out, hint: 'Choose another name.' })
    throw cannotWrite(out, error)
  })
  if (!names.length) return
  if (!options.force) throw usage('the folder is not empty', { where: out, hint: 'Choose another one, or replace it with --force.' })
  for (const kept of [os.homedir(), process.cwd()])
    if (isInside(await realPath(kept), target))
      throw usage(`replacing this folder would remove ${kept}`, { where: out, hint: 'Choose another place.' })
}

function placeOf(target: string, source: string): string {
  if (target === source) return 'over'
  return isInside(target, source) ? 'into' : 'around'
}

/** See {@link Platform.removeFolder}. */
export async function removeFolder(folder: string): Promise<void> {
  const aside = temporaryPath(path.resolve(folder), 'dead')
  try {
    await fs.promises.rename(folder, aside)
    await fs.promises.rm(aside, { recursive: true, force: true })
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw cannotWrite(folder, error)
  }
}

/** The path with its existing part freed of symbolic links. */
async function realPath(given: string): Promise<string> {
  const absolute = path.resolve(given)
  const real = await fs.promises.realpath(absolute).catch(() => null)
  if (real !== null) return real
  const parent = path.dirname(absolute)
  return parent === absolute ? absolute : path.join(await realPath(parent), path.basename(absolute))
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await fs.promises.readdir(folder)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}

async function attempt<T>(out: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw systemCode(error) || error instanceof TinsmithError ? cannotWrite(out, error) : error
  }
}

async function putInPlace(out: string, temporary: string, target: string, force: boolean): Promise<void> {
  const names = await attempt(out, () => namesIn(target))
  if (names.length && !force) throw usage('somebody else wrote into the folder meanwhile', { where: out, hint: 'Choose another one.' })
  const aside = temporaryPath(target, 'old')
  await attempt(out, async () => {
    if (names.length) await fs.promises.rename(target, aside)
    try {
      await rename(temporary, target)
    } catch (error) {
      if (names.length) await fs.promises.rename(aside, target)
      throw error
    }
    await flushFolder(path.dirname(target))
  })
  if (names.length) await fs.promises.rm(aside, { recursive: true, force: true })
}

async function rename(from: string, to: string): Promise<void> {
  try {
    await fs.promises.rename(from, to)
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw usage('somebody else wrote into the folder meanwhile', { where: to, hint: 'Choose another one.', cause: error })
    throw error
  }
}

async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.promises.open(folder, 'r')
  await handle.sync().finally(() => handle.close())
}

/** `.NAME.tinsmith-HOST-PROCESS-RANDOM.STATE`: new (being written), old (moved aside for a moment) or dead (being removed). */
function temporaryPath(target: string, state: 'new' | 'old' | 'dead'): string {
  const mark = `tinsmith-${host}-${process.pid}-${randomBytes(4).toString('hex')}`
  return path.join(path.dirname(target), `.${path.basename(target)}.${mark}.${state}`)
}

/** Undoes what killed processes of this machine left: an old folder without its successor comes back, the rest goes. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await namesIn(parent)) {
    const match = /^\.(.+)\.tinsmith-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.(new|old|dead)$/.exec(name)
    if (!match || match[2] !== host || isAlive(Number(match[3]))) continue
    const leftover = path.join(parent, name)
    const target = path.join(parent, match[1])
    if (match[4] === 'old' && !fs.existsSync(target)) await fs.promises.rename(leftover, target).catch(() => {})
    else await fs.promises.rm(leftover, { recursive: true, force: true }).catch(() => {})
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Removes folders made for OUT, from the innermost up to `last`, as long as they are empty. */
async function removeEmptyFolders(folder: string, last: string): Promise<void> {
  for (let at = folder; at !== last && isInside(at, last); at = path.dirname(at)) {
    const removed = await fs.promises.rmdir(at).then(
      () => true,
      () => false,
    )
    if (!removed) return
  }
}

function watch(temporary: string): void {
  if (!unfinished.size) {
    process.on('exit', removeUnfinished)
    for (const signal of signals) process.on(signal, onSignal)
  }
  unfinished.add(temporary)
}

function unwatch(temporary: string): void {
  unfinished.delete(temporary)
  if (unfinished.size) return
  process.off('exit', removeUnfinished)
  for (const signal of signals) process.off(signal, onSignal)
}

function removeUnfinished(): void {
  for (const folder of unfinished) fs.rmSync(folder, { recursive: true, force: true })
}

/** Dies of the signal as without this handler; a handler of somebody else decides otherwise. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return
  removeUnfinished()
  process.off(signal, onSignal)
  process.kill(process.pid, signal)
}
