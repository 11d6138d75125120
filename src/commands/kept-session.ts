import type { Folder } from '../base/bytes.js'
import { type FolderNotes, isAsNoted } from '../base/folder-notes.js'
import type { Backend } from '../engine/compiled/backend.js'
import { type CompiledOptions, findSession } from '../engine/compiled/session.js'
import type { Session } from '../engine/session.js'

/** What compiles graphs, and how. */
export interface Compiling {
  readonly backend: Backend
  readonly options: CompiledOptions
}

/** What a session was made of, and what people were told then. */
export interface SessionOrigin {
  readonly notes: FolderNotes
  readonly warnings: readonly string[]
}

/** The key under which the session of a folder's file is kept; undefined where nobody can tell whether the file is still the same. */
export async function keyOf(folder: Folder, path: string, { options: { cache, attention } }: Compiling): Promise<string | undefined> {
  const state = await folder.state?.(path)
  return state && JSON.stringify([path, state, cache, attention])
}

/** The session that an earlier process kept, and what people were told then, if all that it was made of is unchanged. */
export async function keptSession(
  key: string,
  folder: Folder,
  { backend, options }: Compiling,
): Promise<{ readonly session: Promise<Session>; readonly warnings: readonly string[] } | undefined> {
  const found = findSession(key, backend, options)
  if (!found) return undefined
  const { notes, warnings } = found.about as SessionOrigin
  if (await isAsNoted(folder, notes)) return { session: found.open(), warnings }
  found.close()
  return undefined
}
