import type { Command } from 'commander'
import type { CacheAction, CacheResult } from '../commands/cache.js'
import type { Act } from './action.js'
import { oneOf } from './options.js'
import { size } from './words.js'

const actions: readonly CacheAction[] = ['where', 'size', 'clear']

export function addCache(program: Command, act: Act): void {
  program
    .command('cache')
    .description('files of the hub and finished steps that are kept')
    .argument('<action>', actions.join(', '), oneOf('cache', actions))
    .action(
      act(async (_context, [action]) => {
        const { cache } = await import('../commands/cache.js')
        const result = await cache(action as CacheAction)
        return { document: result, text: () => describe(action as CacheAction, result) }
      }),
    )
}

function describe(action: CacheAction, { path, bytes = {} }: CacheResult): string {
  if (action === 'where') return path
  const parts = Object.entries(bytes).map(([name, taken]) => `${name} ${size(taken)}`)
  return `${path}: ${action === 'clear' ? 'freed ' : ''}${parts.join(', ')}`
}
