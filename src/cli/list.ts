import type { Command } from 'commander'
import type { Listed, ListKind } from '../commands/list.js'
import type { Act } from './action.js'
import { oneOf } from './options.js'

const kinds: readonly ListKind[] = ['passes', 'recipes', 'models', 'tasks', 'targets', 'operators']

export function addList(program: Command, act: Act): void {
  program
    .command('list')
    .description('what there is')
    .argument('<what>', kinds.join(', '), oneOf('list', kinds))
    .action(
      act(async (_context, [kind]) => {
        const { list } = await import('../commands/list.js')
        const found = await list(kind as ListKind)
        return { document: found, text: () => found.map(describe).join('\n') }
      }),
    )
}

function describe({ name, summary, options }: Listed): string {
  const lines = Object.entries(options).map(([option, value]) => `    ${option}: ${describeOption(value)}`)
  return [`${name}  ${summary}`, ...lines].join('\n')
}

function describeOption(value: unknown): string {
  if (Array.isArray(value)) return value.join(', ')
  if (value === null || typeof value !== 'object') return String(value)
  const { description, default: usual, enum: words } = value as { description?: string; default?: unknown; enum?: unknown[] }
  const parts = [
    description ?? '',
    words ? `one of ${words.join(', ')}` : '',
    usual === undefined ? '' : `default ${JSON.stringify(usual)}`,
  ]
  return parts.filter(Boolean).join('; ')
}
