import { cacheFolder, folderEntries, joinPath, openFolder, pathKind, removeFolder, sha256, touchFolder, writeFolder } from '#platform'
import type { ByteSource, Folder, WritableFolder } from './bytes.js'
import { TinsmithError } from './errors.js'
import { SourceFolder } from './folders.js'

export interface CacheOptions {
  /** Bytes kept at most; beyond them the least recently used entries go. Default 20 GiB. */
  limit?: number
  /** Where it lies. Default: under its name in the platform's cache folder. */
  path?: string
}

/** How often an entry is made that other processes evict at once. */
const mostAttempts = 3

/** What a key may be made of. */
export type KeyPart = null | boolean | number | bigint | string | readonly KeyPart[] | { readonly [name: string]: KeyPart | undefined }

/**
 * Folders of files kept under the hash of what they were made from. Entries appear whole or not at all and are never changed, so any
 * number of processes may share a cache.
 *
 * @example
 * const cache = new Cache('passes')
 * const key = await cache.key({ pass: 'fuse-qkv', input: hash, version })
 * const made = (await cache.get(key)) ?? (await cache.put(key, (folder) => save(result, folder)))
 */
export class Cache {
  readonly path: string
  readonly limit: number

  /** @param name of the cache among Tinsmith's caches */
  constructor(name: string, options: CacheOptions = {}) {
    this.path = options.path ?? joinPath(cacheFolder(), name)
    this.limit = options.limit ?? 20 * 2 ** 30
  }

  /** The hash of what an entry depends on: equal values give equal keys whatever the order of their names. */
  key(parts: KeyPart): Promise<string> {
    return sha256(new TextEncoder().encode(canonicalText(parts)))
  }

  /** The files of an entry, null when there is none. They stay readable though the entry is removed meanwhile. */
  async get(key: string): Promise<Folder | null> {
    const path = joinPath(this.path, key)
    try {
      const folder = await openFolder(path)
      const sources = new Map<string, ByteSource>()
      for (const file of await folder.list()) sources.set(file, await folder.open(file))
      if (!sources.size || (await pathKind(path)) === null) return null
      await touchFolder(path).catch(() => {})
      return new SourceFolder(sources, path)
    } catch (error) {
      if (error instanceof TinsmithError && error.code === 'bad-input') return null
      throw error
    }
  }

  /**
   * Makes an entry of what `fill` writes (at least one file) and returns its files. When another process made the same one meanwhile,
   * that one stays. Throws `cannot-write` when the system refuses.
   */
  async put(key: string, fill: (folder: WritableFolder) => Promise<void>): Promise<Folder> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const made = await this.#make(key, fill)
      await this.#evict(key)
      if (made) return made
    }
    throw new TinsmithError('failed', `the entry ${key} vanishes as soon as it is made`, {
      where: this.path,
      hint: 'Give the cache more space.',
    })
  }

  /** Null when another process evicted the entry at once. */
  async #make(key: string, fill: (folder: WritableFolder) => Promise<void>): Promise<Folder | null> {
    let filling = false
    try {
      await writeFolder(joinPath(this.path, key), {}, async (folder) => {
        filling = true
        await fill(folder)
        filling = false
      })
    } catch (error) {
      const taken = !filling && error instanceof TinsmithError && error.code === 'usage'
      if (!taken) throw error
    }
    return this.get(key)
  }

  /** Bytes of all entries. */
  async size(): Promise<number> {
    return (await folderEntries(this.path)).reduce((sum, entry) => sum + entry.bytes, 0)
  }

  async clear(): Promise<void> {
    for (const entry of await folderEntries(this.path)) await removeFolder(joinPath(this.path, entry.name))
  }

  /** Removes the least recently used entries beyond the limit, but not the one just made. */
  async #evict(keep: string): Promise<void> {
    const entries = (await folderEntries(this.path)).sort((a, b) => a.usedAt - b.usedAt)
    let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0)
    for (const entry of entries) {
      if (bytes <= this.limit) return
      if (entry.name === keep) continue
      await removeFolder(joinPath(this.path, entry.name))
      bytes -= entry.bytes
    }
  }
}

/**
 * One text for equal values: names sorted, absent ones left out, bigints and numbers apart.
 *
 * @example
 * canonicalText({ b: 1n, a: [NaN] }) // '{"a":[NaN],"b":1n}'
 */
export function canonicalText(value: KeyPart): string {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return JSON.stringify(value)
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  if (typeof value === 'bigint') return `${value}n`
  if (isList(value)) return `[${value.map(canonicalText).join(',')}]`
  const names = Object.keys(value).sort()
  const known = names.flatMap((name) => (value[name] === undefined ? [] : [`${JSON.stringify(name)}:${canonicalText(value[name])}`]))
  return `{${known.join(',')}}`
}

function isList(value: readonly KeyPart[] | object): value is readonly KeyPart[] {
  return Array.isArray(value)
}
