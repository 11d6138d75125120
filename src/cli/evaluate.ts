import type { Command } from 'commander'
import type { EvaluateOptions, EvaluateResult } from '../commands/evaluate.js'
import type { Act } from './action.js'
import { attentionOption, cacheOption, dtypeWords, engineOption, oneOf, wholeNumber } from './options.js'
import { count, duration, figure, size, table } from './words.js'

export function addEvaluate(program: Command, act: Act): void {
  program
    .command('evaluate')
    .description('measure a model on a task')
    .argument('<model>', 'folder, .onnx file or hub id (owner/name)')
    .argument('<task=file>', 'as in sts=dev.csv (tinsmith list tasks)')
    .option('--dtype <word>', 'which file of the folder', oneOf('--dtype', dtypeWords))
    .addOption(engineOption('ort'))
    .addOption(cacheOption())
    .addOption(attentionOption())
    .option('--against <source>', 'the original, to measure beside')
    .option('--columns <names>', 'which columns of the table hold what, as in text=0,label=2')
    .option('--tokens <n>', 'language-model: tokens that are scored', wholeNumber('--tokens', 2))
    .option('--window <n>', 'language-model: tokens of a window', wholeNumber('--window', 2))
    .action(
      act(async (context, [model, task], options: EvaluateOptions) => {
        const { evaluate } = await import('../commands/evaluate.js')
        const result = await evaluate(model, task, { ...options, ...context })
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe({ task, samples, metrics, baseline, against, dtype, engine, bytes, seconds }: EvaluateResult): string {
  const columns = ['', dtype, ...(against ? ['original'] : []), ...(Object.keys(baseline).length ? ['majority class'] : [])]
  const cells = (name: string) => [
    metrics[name],
    ...(against ? [against.metrics[name]] : []),
    ...(columns.at(-1) === 'majority class' ? [baseline[name]] : []),
  ]
  const rows = Object.keys(metrics).map((name) => [name, ...cells(name).map((value) => (value === undefined ? '' : figure(value)))])
  rows.push(['size', size(bytes), ...(against ? [size(against.bytes)] : [])])
  if (against) rows.push([`speed (${against.rate.unit})`, figure(against.ownRate.value), figure(against.rate.value)])
  const agreed = Object.entries(against?.agreement ?? {}).map(([name, value]) => `${name} ${figure(value)}`)
  return [
    `${task}, ${count(samples, 'sample')}, ${engine}, ${duration(seconds)}`,
    table(columns, rows),
    ...(agreed.length ? [`agreement with the original: ${agreed.join(', ')}`] : []),
  ].join('\n\n')
}
