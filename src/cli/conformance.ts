import type { Command } from 'commander'
import type { Act } from './action.js'
import { count } from './words.js'

/** Failures that people are shown; the JSON document has all. */
const shown = 20

export function addConformance(program: Command, act: Act): void {
  program
    .command('conformance')
    .description("run ONNX's node tests through shape rules and reference evaluation")
    .argument('<folder|archive>', 'folder with NAME/model.onnx, or .tar.gz')
    .action(
      act(async (context, [path]) => {
        const { conformance } = await import('../commands/conformance.js')
        const result = await conformance(path, context)
        return { document: result, text: () => describe(result) }
      }),
    )
}

type Result = Awaited<ReturnType<typeof import('../commands/conformance.js')['conformance']>>

function describe({ passed, failed, unsupported }: Result): string {
  const without = Object.entries(unsupported)
  return [
    `${count(passed, 'case')} passed, ${failed.length} failed`,
    ...failed.slice(0, shown).map(({ case: name, why }) => `  ${name}: ${why}`),
    ...(failed.length > shown ? [`  and ${failed.length - shown} more`] : []),
    ...(without.length ? [`operators without a record: ${without.map(([operator, cases]) => `${operator} ${cases}`).join(', ')}`] : []),
  ].join('\n')
}
