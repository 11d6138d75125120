import type { Command } from 'commander'
import type { DemoResult } from '../commands/demo.js'
import type { Act } from './program.js'
import { figure, size } from './words.js'

export function addDemo(program: Command, act: Act): void {
  program
    .command('demo')
    .description('compress a small model and show before and after')
    .action(
      act(async (context) => {
        const { demo } = await import('../commands/demo.js')
        const result = await demo(context)
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe({ model, recipe, before, after, agreement, example, seconds }: DemoResult): string {
  const [small, fast] = [before.bytes / after.bytes, after.rate.value / before.rate.value]
  const { query, nearestBefore, nearestAfter } = example
  return [
    `${model} turns sentences into vectors, so that similar sentences can be found.`,
    `Compressed with the recipe ${recipe} in ${figure(seconds)} seconds:`,
    '',
    `  size        ${size(before.bytes)} before, ${size(after.bytes)} after: ${figure(small)} times smaller`,
    `  speed       ${figure(before.rate.value)} sentences a second before, ${figure(after.rate.value)} after: ${figure(fast)} times as fast`,
    `  agreement   the vectors before and after have a cosine of ${figure(agreement.cosine)} on average (1 would be the same)`,
    '',
    `  nearest to "${query}"`,
    `    before: "${nearestBefore}"`,
    `    after:  "${nearestAfter}"`,
    '',
    'Now with a model of yours: tinsmith compress SOURCE OUT',
  ].join('\n')
}
