/** The report on a training: `report.json`, and `report.html` with its curves. */
import { type WritableFolder, writeFile } from '../base/bytes.js'
import type { Figure, Provenance } from '../targets/index.js'
import type { EvaluationRecord, StepRecord, TrainedGroup } from '../train/index.js'
import { barTile } from './bars.js'
import { chart, type Point, smoothed } from './curves.js'
import { type Html, html } from './html.js'
import { dotted, files, repetition, shellWord, warnings, wholePage } from './parts.js'
import { table } from './table.js'
import { changeText, countText, metricText, plainNumber, secondsText } from './words.js'

/** How a model was trained and what came of it: the document `report.json`. */
export interface TrainingReport {
  readonly model: { readonly type: string; readonly parameters: number }
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  /** Name of the training data, and how many samples they have. */
  readonly data: string
  readonly samples: number
  /** What was trained; all other parameters stayed as they were. */
  readonly groups: readonly TrainedGroup[]
  readonly steps: readonly StepRecord[]
  readonly evaluations: readonly EvaluationRecord[]
  /** The step whose parameters were written. */
  readonly best: number
  /** The task that was measured, and the metric that decides what is best. */
  readonly task?: string
  readonly main?: { readonly metric: string; readonly better: 'higher' | 'lower' }
  readonly before: Figure
  readonly after: Figure
  /** The metrics without any model (the majority class). */
  readonly baseline?: Readonly<Record<string, number>>
  readonly warnings: readonly string[]
  readonly origin: Omit<Provenance, 'figures'>
}

/**
 * Puts `report.json` and `report.html` into a folder.
 *
 * @throws TinsmithError `cannot-write` when the system refuses
 */
export async function writeTrainingReport(folder: WritableFolder, report: TrainingReport): Promise<void> {
  await writeFile(folder, 'report.json', `${JSON.stringify(report, null, 2)}\n`)
  await writeFile(folder, 'report.html', trainingHtml(report))
}

/** The page `report.html`: one file without anything from outside. */
export function trainingHtml(report: TrainingReport): string {
  const { model, origin, samples, steps } = report
  const title = `${origin.source.name} trained with ${origin.recipe?.name}`
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0)
  const subtitle = `${model.type}, ${countText(model.parameters)} parameters; ${countText(samples)} samples of ${report.data}, ${countText(steps.length)} steps in ${secondsText(seconds)}. ${origin.recipe?.summary}.`
  const content = html`
${warnings(report.warnings)}
<section aria-label="Before and after">
<div class="tiles">${outcome(report)}
</div>
</section>
${steps.length > 0 && html`<section><h2>Course</h2><div class="charts">${course(steps)}</div></section>`}
${measured(report)}
${trained(report)}
${files(report)}
${repetition(origin, commandOf(report))}
`
  return wholePage(title, subtitle, content, origin)
}

/** The loss, and the main metric where there is one. */
function outcome({ steps, before, after, main, task, baseline }: TrainingReport): Html[] {
  const tiles: Html[] = []
  if (steps.length) {
    const losses = smoothed(pointsOf(steps, 'loss'))
    const [first, last] = [losses[0].y, losses.at(-1)!.y]
    const verdict = `${plainNumber(first, 3)} to ${plainNumber(last, 3)}`
    tiles.push(barTile({ name: 'Loss, smoothed', verdict, before: side(first), after: side(last) }))
  }
  const metric = main?.metric
  if (metric && before.metrics[metric] !== undefined && after.metrics[metric] !== undefined) {
    const [was, is, without] = [before.metrics[metric], after.metrics[metric], baseline?.[metric]]
    const beside = without === undefined ? '' : `; without a model ${metricText(without)}`
    tiles.push(barTile({ name: `${task}: ${metric}`, verdict: `${changeText(was, is)}${beside}`, before: side(was), after: side(is) }))
  }
  return tiles
}

function side(value: number) {
  return { value, text: metricText(value) }
}

function pointsOf(steps: readonly StepRecord[], figure: Exclude<keyof StepRecord, 'step'>, factor = 1): Point[] {
  return steps.map((record) => ({ x: record.step, y: factor * record[figure] }))
}

function course(steps: readonly StepRecord[]): Html[] {
  const line = (title: string, points: Point[]) => chart({ title, along: 'step', curves: [{ name: title, tone: 'strong', points }] })
  const both = (title: string, points: Point[]) =>
    chart({
      title,
      along: 'step',
      curves: [
        { name: 'each step', tone: 'quiet', points },
        { name: 'smoothed', tone: 'strong', points: smoothed(points) },
      ],
    })
  return [
    both('Loss', pointsOf(steps, 'loss')),
    line('Learning rate', pointsOf(steps, 'learningRate')),
    both('Norm of the gradients, before clipping', pointsOf(steps, 'gradientNorm')),
    both('Time of a step (ms)', pointsOf(steps, 'seconds', 1000)),
  ]
}

function measured({ evaluations, best, before, main, task, baseline = {} }: TrainingReport): Html | null {
  const names = Object.keys(evaluations[0]?.metrics ?? {}).sort((a, b) => Number(b === main?.metric) - Number(a === main?.metric))
  if (!names.length) return null
  const records = [...(Object.keys(before.metrics).length ? [{ step: 0, metrics: before.metrics }] : []), ...evaluations]
  const charts = names.map((name) => {
    const points = records.flatMap(({ step, metrics }) => (metrics[name] === undefined ? [] : [{ x: step, y: metrics[name] }]))
    const chosen = name === main?.metric ? points.find(({ x }) => x === best) : undefined
    return chart({
      title: name,
      along: 'step',
      curves: [{ name, tone: 'strong', points }],
      mark: chosen && { ...chosen, name: `written: step ${best}, ${metricText(chosen.y)}` },
      level: baseline[name] === undefined ? undefined : { y: baseline[name], name: `without a model ${metricText(baseline[name])}` },
    })
  })
  const number = (value: number | undefined) => (value === undefined ? '' : metricText(value))
  const rows = [
    ...records.map(({ step, metrics }) => [
      `${step === 0 ? 'before' : countText(step)}${step === best ? ' (written)' : ''}`,
      ...names.map((name) => number(metrics[name])),
    ]),
    ...(Object.keys(baseline).length ? [['without a model', ...names.map((name) => number(baseline[name]))]] : []),
  ]
  const columns = [{ title: 'step' }, ...names.map((title) => ({ title, number: true }))]
  return html`
<section>
<h2>Quality on the way</h2>
<p class="quiet">Task ${task}; ${main && `the parameters with the ${main.better === 'higher' ? 'highest' : 'lowest'} ${main.metric} were written.`}</p>
<div class="charts">${charts}</div>
<details><summary>The same as numbers</summary>${table('Metrics by step', columns, rows)}</details>
</section>`
}

function trained({ groups, model }: TrainingReport): Html {
  const total = groups.reduce((sum, group) => sum + group.parameters, 0)
  const columns = [{ title: 'such as' }, ...['tensors', 'parameters', 'rate', 'weight decay'].map((title) => ({ title, number: true }))]
  const rows = groups.map(({ examples, tensors, parameters, rate, weightDecay }) => [
    dotted(examples[0]),
    countText(tensors),
    countText(parameters),
    plainNumber(rate),
    plainNumber(weightDecay),
  ])
  return html`
<section>
<h2>What was trained</h2>
<p class="quiet">${countText(total)} parameters; the model that was written has ${countText(model.parameters)}. Rate: the factor on the learning rate.</p>
${table('Groups of parameters', columns, rows)}
</section>`
}

/** The command line that gives the same model again. */
function commandOf({ origin, data, task }: TrainingReport): string {
  const { source, recipe, seed } = origin
  const words = ['train', source.name, 'OUT', '--recipe', recipe?.name ?? '', '--data', data]
  if (task) words.push('--evaluate', `${task}=FILE`)
  for (const change of recipe?.changes ?? []) words.push('--set', change)
  if (seed) words.push('--seed', String(seed))
  return ['tinsmith', ...words.map(shellWord)].join(' ')
}
