import type { Command } from 'commander'
import type { DemoEngine, DemoForm, DemoModel, DemoResult } from '../commands/demo.js'
import type { Act } from './action.js'
import { duration, figure, size, table } from './words.js'

export function addDemo(program: Command, act: Act): void {
  program
    .command('demo')
    .description('compress two small models that come with the package and show before and after')
    .action(
      act(async (context) => {
        const { demo } = await import('../commands/demo.js')
        const result = await demo(context)
        return { document: result, text: () => describeDemo(result) }
      }),
    )
}

const forms: Readonly<Record<DemoForm['form'], { readonly name: string; readonly numbers: string }>> = {
  original: { name: 'before', numbers: '32-bit floats' },
  int8: { name: 'int8', numbers: '8-bit integers' },
  int4: { name: 'int4', numbers: '4-bit integers' },
}

const engineNames: Readonly<Record<DemoEngine, string>> = { ort: 'ONNX Runtime', compiled: 'own kernels' }
const engines = Object.keys(engineNames) as DemoEngine[]

/** What a newcomer should know of a task. */
interface Explanation {
  readonly does: readonly string[]
  /** Head of the column of its quality. */
  readonly quality: string
  readonly shown: (value: number) => string
  readonly measured: (samples: number) => readonly string[]
  readonly example: (input: string) => string
}

const explanations: Readonly<Record<string, Explanation>> = {
  classification: {
    does: ['reads the definition of a word and says what kind of', 'thing it means: an animal, a feeling, a motion ... It knows 45 kinds.'],
    quality: 'right answers',
    shown: (value) => `${value.toFixed(1)} %`,
    measured: (samples) => [`Right answers are counted on ${samples} definitions that it was not trained on.`],
    example: (input) => `Asked what "${input}" is, it answers`,
  },
  'language-model': {
    does: ['makes up definitions, a piece of a word at a time.'],
    quality: 'perplexity',
    shown: (value) => value.toFixed(2),
    measured: () => [
      'Perplexity says among how many pieces it wavers when it guesses the next',
      'one: less is better. Measured on definitions that it was not trained on.',
      'Speed is that of reading text.',
    ],
    example: (input) => `Asked to go on after "${input}", it writes`,
  },
}

/** The result in words for a newcomer, in lines for a terminal of 80 columns. */
export function describeDemo({ models, seconds }: DemoResult): string {
  return [
    'Tinsmith comes with small models that it trained itself. A model is mostly a',
    'long list of numbers. Here Tinsmith writes those of two models with fewer bits,',
    'so that the models get smaller, and measures what that gains and what it costs.',
    '',
    ...models.flatMap((model) => [...describeModel(model), '']),
    'ONNX Runtime is what transformers.js uses, own kernels what tinsmith run uses.',
    'Sizes are those of ONNX files. (The package itself keeps the models as 16-bit',
    'floats, half as large as the 32-bit floats in which they compute.)',
    '',
    `All of this took ${duration(seconds)}, and nothing is left behind. With a model of yours:`,
    '',
    '  tinsmith compress SOURCE OUT',
  ].join('\n')
}

function describeModel({ model, task, samples, unit, input, forms: [original, ...made] }: DemoModel): string[] {
  const { does, quality, shown, measured, example } = explanations[task]
  const rows = [original, ...made].map((form) => {
    const { name, numbers } = forms[form.form]
    const rates = engines.map((engine) => `${figure(Math.round(form.rates[engine]))} ${unit}`)
    return [`${name}: ${numbers}`, size(form.bytes), shown(form.quality), ...rates]
  })
  return [
    `${model} ${does[0]}`,
    ...does.slice(1),
    '',
    ...indented(table(['', 'size', quality, ...Object.values(engineNames)], rows).split('\n')),
    '',
    ...indented(made.flatMap((form) => describeGain(form, original))),
    ...indented(measured(samples)),
    '',
    `  ${example(input)}`,
    ...indented([original, ...made].map(({ form, answer }) => `  ${forms[form].name.padEnd(8)}${answer}`)),
  ]
}

function describeGain({ form, bytes, rates, seconds }: DemoForm, original: DemoForm): string[] {
  const smaller = figure(Number((original.bytes / bytes).toPrecision(2)))
  const [first, second] = engines.map((engine) => `${engineNames[engine]}: ${speed(rates[engine] / original.rates[engine])}`)
  return [`${form} is ${smaller} times smaller; it took ${duration(seconds ?? 0)} to make.`, `${first} as before; ${second}.`]
}

/** Differences that come and go from run to run are none. */
function speed(ratio: number): string {
  return ratio > 0.9 && ratio < 1.1 ? 'about as fast' : `${figure(Number(ratio.toPrecision(2)))} times as fast`
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`)
}
