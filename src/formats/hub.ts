import { environment, sha256 } from '#platform'
import { type ByteSource, checkRange, type Folder, MemorySource, type WritableFolder } from '../base/bytes.js'
import { Cache } from '../base/cache.js'
import { TinsmithError } from '../base/errors.js'
import { absentFile, relativeParts } from '../base/folders.js'
import { type HubFile, HubRepository } from './hub-requests.js'

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
  const [name, revision = options.revision ?? 'main'] = id.split('@')
  const repository = new HubRepository(name, revision, {
    address: environment('HF_ENDPOINT') ?? 'https://huggingface.co',
    token: options.token ?? environment('HF_TOKEN'),
    fetch: options.fetch ?? fetch,
  })
  return new HubFolder(repository, await repository.list(), options.cache ?? new Cache('hub'))
}

class HubFolder implements Folder {
  readonly name: string
  readonly #repository: HubRepository
  readonly #files: ReadonlyMap<string, HubFile>
  readonly #cache: Cache

  constructor(repository: HubRepository, files: ReadonlyMap<string, HubFile>, cache: Cache) {
    this.name = repository.name
    this.#repository = repository
    this.#files = files
    this.#cache = cache
  }

  async list(): Promise<string[]> {
    return [...this.#files.keys()].sort()
  }

  async has(path: string): Promise<boolean> {
    return this.#files.has(relativeParts(path, this.name).join('/'))
  }

  async open(path: string): Promise<ByteSource> {
    const file = this.#files.get(relativeParts(path, this.name).join('/'))
    if (!file) throw absentFile(path, this.name, [...this.#files.keys()])
    return file.size ? new HubSource(this.#repository, file, this.#cache) : new MemorySource(new Uint8Array(0), `${this.name}/${path}`)
  }
}

class HubSource implements ByteSource {
  readonly name: string
  readonly size: number
  readonly #repository: HubRepository
  readonly #file: HubFile
  readonly #cache: Cache
  #rangesLeft = mostRanges
  #whole: Promise<ByteSource> | undefined

  constructor(repository: HubRepository, file: HubFile, cache: Cache) {
    this.#repository = repository
    this.#file = file
    this.#cache = cache
    this.name = `${repository.name}/${file.path}`
    this.size = file.size
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    if (length === 0) return new Uint8Array(0)
    if (!this.#whole && (await this.#isKept()) === false && length < this.size && length <= largestRange && this.#rangesLeft-- > 0) {
      const bytes = await this.#repository.readRange(this.#file, offset, length)
      if (bytes) return bytes
    }
    this.#whole ??= this.#openWhole()
    return (await this.#whole).read(offset, length)
  }

  /** The hub names files by the hash of what they hold. */
  #key(): Promise<string> {
    return this.#cache.key({ hub: this.#file.hash, size: this.size })
  }

  async #isKept(): Promise<boolean> {
    return (await this.#cache.get(await this.#key())) !== null
  }

  async #openWhole(): Promise<ByteSource> {
    const key = await this.#key()
    const folder = (await this.#cache.get(key)) ?? (await this.#cache.put(key, (into) => this.#fetchInto(into)))
    return folder.open('file')
  }

  async #fetchInto(folder: WritableFolder): Promise<void> {
    const sink = await folder.create('file')
    for await (const bytes of this.#repository.stream(this.#file)) await sink.write(bytes)
    await sink.close()
    const fetched = await folder.open('file')
    const whole = fetched.size === this.size && (!this.#file.sha256 || (await sha256(fetched)) === this.#file.sha256)
    if (!whole) throw new TinsmithError('failed', 'the file did not arrive whole', { where: this.name, hint: 'Run it again.' })
  }
}
