import { cacheFolder } from '#platform'
import { Cache } from '../base/cache.js'
import { didYouMean, usage } from '../base/errors.js'

export const cacheActions = ['where', 'size', 'clear'] as const

export type CacheAction = (typeof cacheActions)[number]

/** Names of Tinsmith's caches: files of the hub, finished steps of recipes, compiled code and compiled models. */
const caches = ['hub', 'steps', 'code'] as const

export interface CacheResult {
  readonly path: string
  /** Bytes by cache; after `clear`, those that were freed. */
  readonly bytes?: Readonly<Record<string, number>>
}

/**
 * Says where the cache lies or how large it is, or empties it.
 *
 * @throws TinsmithError `usage` for another action; `cannot-write` when the system refuses
 */
export async function cache(action: CacheAction): Promise<CacheResult> {
  if (!cacheActions.includes(action)) throw usage(`cache has no action "${action}"`, { hint: didYouMean(action, cacheActions) })
  const path = cacheFolder()
  if (action === 'where') return { path }
  const bytes: Record<string, number> = {}
  for (const name of caches) {
    const each = new Cache(name)
    bytes[name] = await each.size()
    if (action === 'clear') await each.clear()
  }
  return { path, bytes }
}
