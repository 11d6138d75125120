import type { Command } from 'commander'
import type { CompareOptions, CompareResult } from '../commands/compare.js'
import type { Act } from './action.js'
import { enginesOption, wholeNumber } from './options.js'
import { figure, size, table } from './words.js'

export function addCompare(program: Command, act: Act): void {
  program
    .command('compare')
    .description('quality, size and speed of models side by side, measured in one run')
    .argument('<model...>', 'folders, .onnx files or hub ids; a folder of several dtypes counts as all of them')
    .requiredOption('--evaluate <task=file>', 'what to measure, as in sts=dev.csv')
    .addOption(enginesOption())
    .option('--columns <names>', 'which columns of the table hold what, as in text=0,label=2')
    .option('--tokens <n>', 'language-model: tokens that are scored', wholeNumber('--tokens', 2))
    .option('--window <n>', 'language-model: tokens of a window', wholeNumber('--window', 2))
    .action(
      act(async (context, models, options: CompareOptions) => {
        const { compare } = await import('../commands/compare.js')
        const result = await compare(models, { ...options, ...context })
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe({ rows, unit }: CompareResult): string {
  const metrics = Object.keys(rows[0].metrics)
  const several = new Set(rows.map(({ engine }) => engine)).size > 1
  return table(
    ['model', 'dtype', ...(several ? ['engine'] : []), ...metrics, 'size', unit, 'times'],
    rows.map((row) => [
      row.model,
      row.dtype,
      ...(several ? [row.engine] : []),
      ...metrics.map((name) => figure(row.metrics[name])),
      size(row.bytes),
      figure(row.rate),
      figure(row.ratio),
    ]),
  )
}
