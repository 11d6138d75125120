import type { HubApiError, ListFileEntry } from '@huggingface/hub'
import { environment, sha256 } from '#platform'
import { type ByteSource, checkRange, type Folder, MemorySource, type WritableFolder } from '../base/bytes.js'
import { Cache } from '../base/cache.js'
import { badInput, TinsmithError } from '../base/errors.js'
import { absentFile, relativeParts } from '../base/folders.js'

export interface HubOptions {
  /** Branch, tag or commit. Default `main`. */
  revision?: string
  /** Access token for private and gated repositories. Default: the variable HF_TOKEN. */
  token?: string
  /** Where files are kept. Default: `hub` in Tinsmith's cache folder. */
  cache?: Cache
  /** What to ask the network with. Default: the platform's fetch. */
  fetch?: typeof fetch
}

interface Repository {
  readonly id: string
  readonly cache: Cache
  /** What every request to the hub has in common. */
  readonly request: { repo: string; revision?: string; accessToken?: string; hubUrl?: string; fetch?: typeof fetch }
}

/** Ranges asked for before a file is fetched whole: enough for a header, too few for its tensors. */
const mostRanges = 2
const largestRange = 16 * 2 ** 20

/** Whether a text has the form of a hub id: `owner/name`, with `@revision` or without. */
export function isHubId(text: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$/.test(text)
}

/**
 * A repository of the Hugging Face hub as a folder. Headers are read by ranges; a file is fetched whole when more of it is read, checked
 * against its hash and kept in the cache.
 *
 * @param id `owner/name`, or `owner/name@revision`
 * @throws TinsmithError `bad-input` when there is no such repository, revision or file, or it may not be read; `failed` when the hub cannot
 * be reached
 * @example
 * const folder = await hubFolder('sentence-transformers/all-MiniLM-L6-v2')
 * await openCheckpoint(folder)
 */
export async function hubFolder(id: string, options: HubOptions = {}): Promise<Folder> {
  const [repo, revision = options.revision] = id.split('@')
  const request = {
    repo,
    revision,
    accessToken: options.token ?? environment('HF_TOKEN'),
    hubUrl: environment('HF_ENDPOINT'),
    fetch: options.fetch,
  }
  const repository = { id, cache: options.cache ?? new Cache('hub'), request }
  const entries = new Map<string, ListFileEntry>()
  await ask(repository, async () => {
    const { listFiles } = await import('@huggingface/hub')
    for await (const entry of listFiles({ ...request, recursive: true })) if (entry.type === 'file') entries.set(entry.path, entry)
  })
  return new HubFolder(repository, entries)
}

class HubFolder implements Folder {
  readonly #repository: Repository
  readonly #entries: ReadonlyMap<string, ListFileEntry>

  constructor(repository: Repository, entries: ReadonlyMap<string, ListFileEntry>) {
    this.#repository = repository
    this.#entries = entries
  }

  get name(): string {
    return this.#repository.id
  }

  async list(): Promise<string[]> {
    return [...this.#entries.keys()].sort()
  }

  async has(path: string): Promise<boolean> {
    return this.#entries.has(relativeParts(path, this.name).join('/'))
  }

  async open(path: string): Promise<ByteSource> {
    const entry = this.#entries.get(relativeParts(path, this.name).join('/'))
    if (!entry) throw absentFile(path, this.name, [...this.#entries.keys()])
    return entry.size ? new HubSource(this.#repository, entry) : new MemorySource(new Uint8Array(0), `${this.name}/${path}`)
  }
}

class HubSource implements ByteSource {
  readonly name: string
  readonly #repository: Repository
  readonly #entry: ListFileEntry
  #rangesLeft = mostRanges
  #remote: Promise<Blob> | undefined
  #whole: Promise<ByteSource> | undefined

  constructor(repository: Repository, entry: ListFileEntry) {
    this.#repository = repository
    this.#entry = entry
    this.name = `${repository.id}/${entry.path}`
  }

  get size(): number {
    return this.#entry.size
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const kept = this.#whole ?? this.#kept()
    const source = await kept
    if (source) return source.read(offset, length)
    if (length < this.size && length <= largestRange && this.#rangesLeft-- > 0) return this.#readRange(offset, length)
    this.#whole ??= this.#fetchWhole()
    return (await this.#whole).read(offset, length)
  }

  /** The hub names files by the hash of what they hold. */
  get #hash(): string {
    return this.#entry.lfs?.oid ?? this.#entry.oid ?? ''
  }

  #key(): Promise<string> {
    return this.#repository.cache.key({ hub: this.#hash, size: this.size, file: this.#hash ? null : this.name })
  }

  async #kept(): Promise<ByteSource | null> {
    const folder = await this.#repository.cache.get(await this.#key())
    if (!folder) return null
    this.#whole ??= folder.open('file')
    return this.#whole
  }

  #readRange(offset: number, length: number): Promise<Uint8Array> {
    return ask(this.#repository, async () => new Uint8Array(await (await this.#open()).slice(offset, offset + length).arrayBuffer()))
  }

  async #fetchWhole(): Promise<ByteSource> {
    const folder = await this.#repository.cache.put(await this.#key(), (into) => this.#fetchInto(into))
    return folder.open('file')
  }

  async #fetchInto(folder: WritableFolder): Promise<void> {
    const sink = await folder.create('file')
    const blob = await ask(this.#repository, () => this.#open())
    const reader = blob.stream().getReader()
    for (;;) {
      const { done, value } = await ask(this.#repository, () => reader.read())
      if (done) break
      await sink.write(value)
    }
    await sink.close()
    await this.#check(await folder.open('file'))
  }

  async #check(fetched: ByteSource): Promise<void> {
    const whole = fetched.size === this.size && (!this.#entry.lfs || (await sha256(fetched)) === this.#entry.lfs.oid)
    if (!whole) throw new TinsmithError('failed', 'the file did not arrive whole', { where: this.name, hint: 'Run it again.' })
  }

  #open(): Promise<Blob> {
    this.#remote ??= this.#ask()
    return this.#remote
  }

  async #ask(): Promise<Blob> {
    const { downloadFile } = await import('@huggingface/hub')
    const blob = await downloadFile({ ...this.#repository.request, path: this.#entry.path })
    if (!blob) throw badInput('the hub lists this file but does not give it', { where: this.name })
    return blob
  }
}

/** Turns the network's errors into sentences. */
async function ask<T>(repository: Repository, question: () => Promise<T>): Promise<T> {
  try {
    return await question()
  } catch (error) {
    if (error instanceof TinsmithError) throw error
    throw isApiError(error) ? refused(repository, error) : unreachable(repository, error)
  }
}

function isApiError(error: unknown): error is HubApiError {
  return error instanceof Error && 'statusCode' in error
}

function refused(repository: Repository, error: HubApiError): TinsmithError {
  const where = repository.id
  if (error.statusCode === 404) {
    const revision = repository.request.revision
    return badInput(`the hub has no such repository${revision ? ` or no revision ${revision}` : ''}`, { where, cause: error })
  }
  if (error.statusCode === 401 || error.statusCode === 403)
    return badInput('the hub has no such repository, or does not let you read it', {
      where,
      hint: 'For private and gated ones set HF_TOKEN.',
      cause: error,
    })
  return new TinsmithError('failed', `the hub answered with status ${error.statusCode}`, { where, hint: 'Try again later.', cause: error })
}

function unreachable(repository: Repository, error: unknown): TinsmithError {
  const { message, cause } = error as Error
  const reason = (cause instanceof Error && cause.message) || message || String(error)
  return new TinsmithError('failed', `the hub cannot be reached (${reason.split('\n')[0]})`, {
    where: repository.id,
    hint: 'Check the network, or give a folder that lies on this machine.',
    cause: error,
  })
}
