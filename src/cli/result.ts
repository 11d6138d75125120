import type { CompressResult } from '../commands/compress.js'
import type { ConvertResult } from '../commands/convert.js'
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
