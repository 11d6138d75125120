import type { Command } from 'commander'
import type { RunOptions, RunResult } from '../commands/run.js'
import type { Act } from './action.js'
import { attentionOption, cacheOption, dtypeWords, engineOption, oneOf, wholeNumber } from './options.js'
import { figure } from './words.js'

export function addRun(program: Command, act: Act): void {
  program
    .command('run')
    .description('embed or classify texts, or go on writing them')
    .argument('<model>', 'folder, .onnx file or hub id (owner/name)')
    .argument('<text|file...>', 'texts, or files with a text a line')
    .option('--dtype <word>', 'which file of the folder', oneOf('--dtype', dtypeWords))
    .addOption(engineOption('auto'))
    .addOption(cacheOption())
    .addOption(attentionOption())
    .option('--max-new-tokens <n>', 'most tokens to write', wholeNumber('--max-new-tokens', 1), 128)
    .option('--chat', 'the text is a message of a conversation')
    .action(
      act(async (context, [model, ...texts], options: RunOptions) => {
        const { run } = await import('../commands/run.js')
        const result = await run(model, texts, { ...options, ...context })
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe(result: RunResult): string {
  return result.results
    .map(({ text, vector, labels, entities, generated }) => {
      if (generated !== undefined) return `${text}${generated}`
      if (labels)
        return `${text}\n${labels
          .slice(0, 5)
          .map(({ label, score }) => `  ${label} ${figure(score)}`)
          .join('\n')}`
      if (entities) return `${text}\n${entities.map((entity) => `  ${entity.label} ${entity.text}`).join('\n')}`
      return `${text}\n  [${vector!.slice(0, 8).map(figure).join(', ')}${vector!.length > 8 ? `, ... ${vector!.length} numbers` : ''}]`
    })
    .join('\n')
}
