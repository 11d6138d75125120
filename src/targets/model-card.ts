import { isHubId } from '../formats/index.js'
import type { Model } from '../ir/model.js'
import type { DTypeWord } from '../pipelines/index.js'
import type { Provenance } from './provenance.js'

/** README.md of a written model. */
export function modelCard(model: Model, dtype: DTypeWord, provenance: Provenance): string {
  const { source, recipe, figures } = provenance
  const name = source.name.split('/').at(-1)!
  const head = [
    'library_name: transformers.js',
    ...(isHubId(source.name) ? [`base_model: ${source.name}`] : []),
    'tags:',
    '- onnx',
    '- tinsmith',
  ]
  const made = recipe ? `made with the recipe **${recipe.name}**${recipe.summary ? ` (${recipe.summary})` : ''}` : 'converted to ONNX'
  return [
    '---',
    ...head,
    '---',
    '',
    `# ${name} (${dtype})`,
    '',
    `A ${model.type} model, ${made} by [Tinsmith](https://www.npmjs.com/package/tinsmith) from \`${source.name}\`.`,
    'The terms of its source hold for it too.',
    '',
    ...figuresTable(provenance),
    '## Use',
    '',
    '```js',
    "import { pipeline } from '@huggingface/transformers'",
    '',
    `const run = await pipeline('${pipelineTask(model)}', '${name}', { dtype: '${dtype}' })`,
    '```',
    '',
    ...(recipe ? ['## Recipe', '', '```yaml', recipe.text.trimEnd(), '```', '', ...changesOf(recipe.changes)] : []),
    `\`tinsmith.json\` names the source's files with their hashes${figures.task ? ', the figures' : ''} and all versions.`,
    '',
  ].join('\n')
}

function changesOf(changes: readonly string[]): string[] {
  return changes.length ? [`Changed options: ${changes.map((change) => `\`${change}\``).join(', ')}.`, ''] : []
}

function figuresTable({ figures }: Provenance): string[] {
  const { before, after, baseline, task } = figures
  const names = Object.keys(after.metrics).filter((name) => name in before.metrics)
  const rows = [
    ['megabytes', megabytes(before.bytes), megabytes(after.bytes), ''],
    ...names.map((name) => [name, ...[before.metrics[name], after.metrics[name], baseline?.[name]].map(number)]),
  ]
  const withBaseline = names.some((name) => baseline?.[name] !== undefined)
  const line = (cells: readonly string[]) => `| ${(withBaseline ? cells : cells.slice(0, 3)).join(' | ')} |`
  return [
    '## Figures',
    '',
    ...(task ? [`Measured on the task ${task}${figures.samples ? ` with ${figures.samples} samples` : ''}.`, ''] : []),
    line(['', 'before (fp32)', 'after', 'majority class']),
    line(['---', '---', '---', '---']),
    ...rows.map(line),
    '',
  ]
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toPrecision(4)
}

function number(value: number | undefined): string {
  return value === undefined ? '' : String(Number(value.toPrecision(5)))
}

/** The pipeline of transformers.js for a model. */
function pipelineTask({ config, graphs }: Model): string {
  const architecture = String([config?.['architectures'] ?? ''].flat()[0] ?? '')
  if (/SequenceClassification$/.test(architecture)) return 'text-classification'
  if (/TokenClassification$/.test(architecture)) return 'token-classification'
  if (/MaskedLM$/.test(architecture)) return 'fill-mask'
  const decodes = [...graphs.values()].some((graph) => graph.inputs.some(({ name }) => name.startsWith('past')))
  return decodes ? 'text-generation' : 'feature-extraction'
}
