import type { ByteSource, Folder } from './bytes.js'

/** What a reader has seen of a folder; plain data. */
export interface FolderNotes {
  /** All files that there were. */
  readonly files: readonly string[]
  /** The state of each that was opened, taken before. */
  readonly states: ReadonlyMap<string, string>
}

/** A folder that notes which files it was asked for. Where files have no state the notes say so, and never hold again. */
export class NotingFolder implements Folder {
  readonly name: string
  readonly #folder: Folder
  readonly #states = new Map<string, string>()

  constructor(folder: Folder) {
    this.name = folder.name
    this.#folder = folder
  }

  list(): Promise<string[]> {
    return this.#folder.list()
  }

  has(path: string): Promise<boolean> {
    return this.#folder.has(path)
  }

  async open(path: string): Promise<ByteSource> {
    this.#states.set(path, await stateOf(this.#folder, path))
    return this.#folder.open(path)
  }

  async notes(): Promise<FolderNotes> {
    return { files: await this.list(), states: this.#states }
  }
}

/** Whether all files of a folder are as they were noted. */
export async function isAsNoted(folder: Folder, { files, states }: FolderNotes): Promise<boolean> {
  const now = await Promise.all([...states.keys()].map((path) => stateOf(folder, path)))
  return (
    [...states.values()].every((state, i) => state === now[i] && state !== unknown) && (await folder.list()).join('\n') === files.join('\n')
  )
}

const unknown = 'unknown'

async function stateOf(folder: Folder, path: string): Promise<string> {
  return (await folder.state?.(path)) ?? unknown
}
