import { sparkline } from '../base/sparkline.js'
import type { CompressResult } from '../commands/compress.js'
import type { ConvertResult } from '../commands/convert.js'
import type { TrainResult } from '../commands/train.js'
import { count, duration, figure, size, table } from './words.js'

/** What was written where, step by step. */
export function describeWritten(out: string, result: ConvertResult | CompressResult): string {
  const { model, steps, files } = result
  const parts = [`${model.type}, ${count(model.parameters, 'parameter')}`]
  if (steps.length) parts.push(stepsTable(steps))
  const refused = steps.flatMap((step) => (step.changed ? step.refused : []))
  if (refused.length)
    parts.push(
      `left as they are: ${refused
        .slice(0, 3)
        .map(({ what, why }) => `${what} (${why})`)
        .join(', ')}${refused.length > 3 ? ` and ${refused.length - 3} more` : ''}`,
    )
  parts.push(figuresTable(result))
  parts.push(
    `wrote ${count(files.length, 'file')} to ${out}: ${files
      .filter((file) => file.path.startsWith('onnx/'))
      .map((file) => file.path)
      .join(', ')}`,
  )
  return parts.join('\n\n')
}

/** What was learned, and what was written. */
export function describeTrained(out: string, result: TrainResult): string {
  const { model, samples, steps, before, after, files, best, baseline } = result
  const losses = steps.map((step) => step.loss)
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0)
  const parts = [
    `${model.type}, ${count(model.parameters, 'parameter')}, ${count(samples, 'sample')}, ${count(steps.length, 'step')} in ${duration(seconds)}`,
    losses.length ? `loss ${figure(losses[0])} ${sparkline(losses)} ${figure(losses.at(-1)!)}` : 'the run had ended already',
  ]
  const metrics = Object.entries(after.metrics)
  if (metrics.length)
    parts.push(
      table(
        ['', 'before', 'after', ''],
        metrics.map(([metric, value]) => {
          const [was, without] = [before.metrics[metric], baseline?.[metric]]
          const change = was === undefined ? '' : difference(value - was)
          return [
            metric,
            was === undefined ? '-' : figure(was),
            figure(value),
            without === undefined ? change : `${change} (majority class ${figure(without)})`,
          ]
        }),
      ),
      `best at step ${best}`,
    )
  parts.push(`wrote ${count(files.length, 'file')} to ${out}`)
  return parts.join('\n\n')
}

function stepsTable(steps: ConvertResult['steps']): string {
  return table(
    ['pass', 'changed', 'refused', 'time'],
    steps.map((step) => [step.pass, String(step.changed), String(step.refused.length), duration(step.seconds)]),
  )
}

function figuresTable(result: ConvertResult | CompressResult): string {
  const { before, after } = result
  const measured = 'recipe' in result ? result : null
  const rows = [['size', size(before.bytes), size(after.bytes), `${figure((100 * after.bytes) / before.bytes)} %`]]
  for (const [metric, value] of Object.entries(after.metrics)) {
    const was = before.metrics[metric]
    rows.push([metric, figure(was), figure(value), difference(value - was)])
    if (measured?.baseline?.[metric] !== undefined) rows.push([`${metric}, majority class`, figure(measured.baseline[metric]), '', ''])
  }
  const [old, now] = [measured?.before.rate, measured?.after.rate]
  if (old && now) rows.push([`speed (${now.unit})`, figure(old.value), figure(now.value), `${figure(now.value / old.value)} times`])
  return table(['', 'before', 'after', ''], rows)
}

function difference(value: number): string {
  return `${value > 0 ? '+' : ''}${figure(value)}`
}
