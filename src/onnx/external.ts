import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import type { EntryProto } from './schema.js'

/** Opens a file beside the model by its relative path; a folder's `open` does, and refuses links that lead outside. */
export type OpenExternal = (location: string) => Promise<ByteSource>

/** Where a tensor's bytes lie outside the model's file. */
export interface ExternalPlace {
  readonly source: ByteSource
  readonly offset: number
}

/** The files that hold the tensors of one model, each opened once. */
export class ExternalFiles {
  readonly #open: OpenExternal | undefined
  readonly #files = new Map<string, Promise<ByteSource>>()

  constructor(open: OpenExternal | undefined) {
    this.#open = open
  }

  /**
   * @param entries the tensor's `external_data`
   * @param byteLength what dtype and shape need
   * @throws TinsmithError `bad-input` where the location leaves the model's folder or the range leaves the file
   */
  async place(entries: readonly EntryProto[], byteLength: number, where: string): Promise<ExternalPlace> {
    const details = new Map(entries.map(({ key, value }) => [key, value ?? '']))
    const location = details.get('location') ?? ''
    checkLocation(location, where)
    const offset = count(details.get('offset') ?? '0', 'offset', where)
    const length = count(details.get('length') ?? String(byteLength), 'length', where)
    if (length !== byteLength) throw badInput(`the external data have ${length} bytes and dtype and shape need ${byteLength}`, { where })
    const source = await this.#file(location, where)
    if (offset + length > source.size)
      throw badInput(`bytes ${offset} to ${offset + length} of ${location} are meant but the file has ${source.size}`, {
        where,
        hint: 'The file is cut off or belongs to another model.',
      })
    return { source, offset }
  }

  #file(location: string, where: string): Promise<ByteSource> {
    if (!this.#open) throw badInput(`the bytes lie in ${location}, which was not given`, { where, hint: 'Load the model from its folder.' })
    const file = this.#files.get(location) ?? this.#open(location)
    this.#files.set(location, file)
    return file
  }
}

/** Lets only paths through that stay inside the model's folder. */
function checkLocation(location: string, where: string): void {
  const parts = location.split(/[\\/]/)
  const strange = !location || /^([\\/]|[A-Za-z]:)/.test(location) || parts.includes('..') || location.includes('\0')
  if (strange) throw badInput(`the external data's location ${JSON.stringify(location)} is no path inside the model's folder`, { where })
}

function count(text: string, what: string, where: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw badInput(`the external data's ${what} is ${JSON.stringify(text)}`, { where })
  return value
}
