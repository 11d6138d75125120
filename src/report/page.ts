import type { StepReport } from '../recipes/run.js'
import { barTile, type Pair } from './bars.js'
import { type Html, html } from './html.js'
import { dotted, files, repetition, shellWord, warnings, wholePage } from './parts.js'
import type { Report } from './report.js'
import { table } from './table.js'
import { bytesText, changeText, countText, metricText, plainNumber, secondsText } from './words.js'

/** Metrics that are better when they are lower. */
const lowerIsBetter = new Set(['perplexity', 'loss', 'kl'])

/** The page `report.html`: one file without anything from outside. */
export function reportHtml(report: Report): string {
  const { origin, dtype } = report
  const title = `${origin.source.name} as ${dtype}`
  const content = html`
${warnings(report.warnings)}
<section aria-label="Before and after">
<div class="tiles">${pairs(report).map(barTile)}
</div>
</section>
${quality(report)}
${blocks(report.blocks)}
${steps(report.steps)}
${files(report)}
${repetition(origin, commandOf(report))}
`
  return wholePage(title, subtitle(report), content, origin)
}

function subtitle({ model, origin }: Report): string {
  const { recipe } = origin
  const done = recipe ? `recipe ${recipe.name}${recipe.summary ? `: ${recipe.summary}` : ''}` : 'converted without changes'
  return `${model.type}, ${countText(model.parameters)} parameters; ${done}.`
}

/** Size, the first metric and speed, as far as they are known. */
function pairs({ before, after, task }: Report): Pair[] {
  const size = {
    name: 'Size of the graphs',
    verdict: ratio(before.bytes / after.bytes, 'smaller', 'larger'),
    before: { value: before.bytes, text: bytesText(before.bytes) },
    after: { value: after.bytes, text: bytesText(after.bytes) },
  }
  const [metric] = Object.keys(after.metrics).filter((name) => name in before.metrics)
  const result: Pair[] = [size]
  if (metric) result.push(metricPair(task ? `${task}: ${metric}` : metric, before.metrics[metric], after.metrics[metric]))
  if (before.rate && after.rate) result.push(speedPair(before.rate, after.rate))
  return result
}

function metricPair(name: string, before: number, after: number): Pair {
  const numbers = { before: { value: before, text: metricText(before) }, after: { value: after, text: metricText(after) } }
  return { name, verdict: changeText(before, after), ...numbers }
}

function speedPair(before: NonNullable<Report['before']['rate']>, after: NonNullable<Report['after']['rate']>): Pair {
  const side = ({ value, unit }: typeof before) => ({ value, text: `${plainNumber(value, 3)} ${unit}` })
  return { name: 'Speed', verdict: ratio(after.value / before.value, 'as fast', 'as fast'), before: side(before), after: side(after) }
}

function ratio(times: number, more: string, less: string): string {
  if (Math.abs(times - 1) < 0.005) return 'the same'
  if (more === less) return `${plainNumber(times, 3)} times ${more}`
  return times > 1 ? `${plainNumber(times, 3)} times ${more}` : `${plainNumber(1 / times, 3)} times ${less}`
}

function quality({ before, after, baseline = {}, task, samples }: Report): Html | null {
  const names = [...new Set([...Object.keys(before.metrics), ...Object.keys(after.metrics)])]
  if (!names.length) return null
  const withBaseline = names.some((name) => baseline[name] !== undefined)
  const number = (value: number | undefined) => (value === undefined ? '' : metricText(value))
  const change = (name: string) => {
    const [old, now] = [before.metrics[name], after.metrics[name]]
    return old === undefined || now === undefined ? '' : changeText(old, now)
  }
  const columns = ['before', 'after', 'change', ...(withBaseline ? ['without a model'] : [])].map((title) => ({ title, number: true }))
  const rows = names.map((name) => [
    lowerIsBetter.has(name) ? html`${name} <span class="quiet">(lower is better)</span>` : name,
    number(before.metrics[name]),
    number(after.metrics[name]),
    change(name),
    ...(withBaseline ? [number(baseline[name])] : []),
  ])
  return html`
<section>
<h2>Quality</h2>
${task && html`<p class="quiet">Task ${task}${samples && `, ${countText(samples)} samples`}.</p>`}
${table('Metrics before and after', [{ title: 'metric' }, ...columns], rows)}
</section>`
}

function blocks(list: Report['blocks']): Html | null {
  if (!list?.length) return null
  const columns = [{ title: 'block' }, ...['SQNR', 'cosine'].map((title) => ({ title, number: true }))]
  const rows = list.map(({ block, sqnr, cosine }) => [
    dotted(block),
    sqnr === null ? 'equal' : `${plainNumber(sqnr, 3)} dB`,
    cosine.toFixed(5),
  ])
  return html`
<section>
<h2>Block by block</h2>
<p class="quiet">The residual stream after each block against the original's: signal to quantization noise ratio, and mean cosine of the tokens. The first drop is where to look. A few large channels can rule the ratio; the cosine counts every token alike.</p>
${table('Agreement of the blocks with the original', columns, rows)}
</section>`
}

function steps(list: readonly StepReport[]): Html | null {
  if (!list.length) return null
  const columns = [{ title: 'pass' }, ...['changed', 'refused', 'difference', 'time'].map((title) => ({ title, number: true }))]
  const rows = list.map(({ pass, changed, refused, difference, seconds }) => [
    pass,
    changed,
    refused.length,
    difference === undefined ? '' : plainNumber(difference, 2),
    secondsText(seconds),
  ])
  return html`
<section>
<h2>Steps</h2>
<p class="quiet">Difference: the largest between the outputs before and after on probe inputs, over the largest output; for passes that must not change the outputs.</p>
${table('Passes in the order in which they ran', columns, rows)}
${list.map((step) => [refusals(step), details(step)])}
</section>`
}

function refusals({ pass, refused }: StepReport): Html | null {
  if (!refused.length) return null
  const rows = refused.map(({ what, why }) => [dotted(what), why])
  return html`
<details><summary>${pass}: what was refused, and why (${refused.length})</summary>${table(`Refused by ${pass}`, [{ title: 'what' }, { title: 'why' }], rows)}</details>`
}

function details({ pass, details }: StepReport): Html | null {
  if (!details?.length) return null
  const names = [...new Set(details.flatMap((row) => Object.keys(row)))]
  const columns = names.map((name) => ({ title: name, number: details.every((row) => typeof (row[name] ?? 0) === 'number') }))
  const cell = (value: string | number | undefined) => (typeof value === 'number' ? plainNumber(value) : dotted(value ?? ''))
  const rows = details.map((row) => names.map((name) => cell(row[name])))
  return html`
<details><summary>${pass}: place by place (${details.length})</summary>${table(`Details of ${pass}`, columns, rows)}</details>`
}

/** The command line that gives the same model again. */
function commandOf({ origin, dtype }: Report): string {
  const { source, recipe, calibration, seed } = origin
  const words = [recipe ? 'compress' : 'convert', source.name, 'OUT']
  if (!recipe) words.push('--dtype', dtype)
  else words.push('--recipe', recipe.name, ...recipe.changes.flatMap((change) => ['--set', change]))
  if (calibration && isFileName(calibration.origin)) words.push('--calibrate', calibration.origin)
  if (seed) words.push('--seed', String(seed))
  return ['tinsmith', ...words.map(shellWord)].join(' ')
}

/** Texts that a model wrote itself have a description instead. */
function isFileName(origin: string): boolean {
  return /\.\w+$/.test(origin)
}
