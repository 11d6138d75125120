import { badInput, TinsmithError } from '../base/errors.js'
import { isRecord, parseJson } from './json.js'

/** A file of a repository, as the hub lists it. */
export interface HubFile {
  readonly path: string
  /** Bytes. */
  readonly size: number
  /** Changes when the file does: git's hash, or SHA-256 for large files. */
  readonly hash: string
  /** Of the bytes; known for large files only. */
  readonly sha256: string | undefined
}

export interface HubAccess {
  /** Address of the hub, without a slash at its end. */
  readonly address: string
  readonly token: string | undefined
  readonly fetch: typeof fetch
}

/**
 * What Tinsmith asks the Hugging Face hub: the list of a model's files, and their bytes.
 * Source: https://huggingface.co/docs/hub/api
 */
export class HubRepository {
  readonly name: string
  readonly revision: string
  readonly #access: HubAccess

  /** @param name `owner/name` */
  constructor(name: string, revision: string, access: HubAccess) {
    this.name = name
    this.revision = revision
    this.#access = access
  }

  /** All files by path. */
  async list(): Promise<Map<string, HubFile>> {
    const files = new Map<string, HubFile>()
    let url: string | undefined = `${this.#access.address}/api/models/${this.name}/tree/${encodeURIComponent(this.revision)}?recursive=true`
    while (url) {
      const response: Response = await this.#ask(url)
      const entries = parseJson(await this.#body(() => response.text()), url)
      if (!Array.isArray(entries)) throw this.#failed('the hub answered with something else than a list of files')
      for (const entry of entries) {
        const file = fileOf(entry)
        if (file) files.set(file.path, file)
      }
      url = this.#nextPage(response)
    }
    return files
  }

  /** Null where the server gives no ranges. */
  async readRange(file: HubFile, offset: number, length: number): Promise<Uint8Array | null> {
    const response = await this.#ask(this.#urlOf(file), { Range: `bytes=${offset}-${offset + length - 1}` })
    if (response.status !== 206) {
      await response.body?.cancel()
      return null
    }
    const bytes = new Uint8Array(await this.#body(() => response.arrayBuffer()))
    if (bytes.length !== length) throw this.#failed(`the hub sent ${bytes.length} bytes of ${file.path} instead of ${length}`)
    return bytes
  }

  /** The bytes of a file, as they arrive. */
  async *stream(file: HubFile): AsyncGenerator<Uint8Array> {
    const reader = (await this.#ask(this.#urlOf(file))).body?.getReader()
    if (!reader) return
    try {
      for (;;) {
        const { done, value } = await this.#body(() => reader.read())
        if (done) return
        yield value
      }
    } finally {
      await reader.cancel().catch(() => {})
    }
  }

  #urlOf(file: HubFile): string {
    const path = file.path.split('/').map(encodeURIComponent).join('/')
    return `${this.#access.address}/${this.name}/resolve/${encodeURIComponent(this.revision)}/${path}`
  }

  /** The list goes on at the address in the Link header; never followed to another server, for the token goes along. */
  #nextPage(response: Response): string | undefined {
    const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('Link') ?? '')?.[1]
    return next?.startsWith(`${this.#access.address}/`) ? next : undefined
  }

  async #ask(url: string, headers: Record<string, string> = {}): Promise<Response> {
    const { token, fetch } = this.#access
    const all = token ? { ...headers, Authorization: `Bearer ${token}` } : headers
    const response = await this.#body(() => fetch(url, { headers: all }))
    if (!response.ok) throw this.#refused(response.status)
    return response
  }

  /** Turns the network's errors into sentences. */
  async #body<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const { message, cause } = error as Error
      const reason = ((cause instanceof Error && cause.message) || message || String(error)).split('\n')[0]
      throw this.#failed(`the hub cannot be reached (${reason})`, 'Check the network, or give a folder that lies on this machine.', error)
    }
  }

  #refused(status: number): TinsmithError {
    const where = this.name
    if (status === 404) return badInput(`the hub has no such repository, or no revision ${this.revision} of it`, { where })
    if (status === 401 || status === 403)
      return badInput('the hub has no such repository, or does not let you read it', {
        where,
        hint: 'For private and gated ones set HF_TOKEN.',
      })
    return this.#failed(`the hub answered with status ${status}`)
  }

  #failed(message: string, hint = 'Try again later.', cause?: unknown): TinsmithError {
    return new TinsmithError('failed', message, { where: this.name, hint, cause })
  }
}

function fileOf(entry: unknown): HubFile | null {
  if (!isRecord(entry) || entry['type'] !== 'file') return null
  const { path, size, oid, lfs } = entry
  if (typeof path !== 'string' || typeof size !== 'number' || typeof oid !== 'string') return null
  const sha256 = isRecord(lfs) && typeof lfs['oid'] === 'string' ? lfs['oid'] : undefined
  return { path, size, hash: sha256 ?? oid, sha256 }
}
