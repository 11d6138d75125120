import type { Command } from 'commander'
import type { DemoForm, DemoModel, DemoResult } from '../commands/demo.js'
import type { Act } from './program.js'
import { figure, size, table } from './words.js'

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

const formNames: Readonly<Record<DemoForm['form'], string>> = {
  original: 'as it was trained, 32-bit floats',
  int8: 'recipe int8, 8-bit integers',
  int4: 'recipe int4, 4-bit integers',
}

/** What a newcomer should know of each task: what the model does, and what its quality means. */
const explanations: Readonly<
  Record<string, { readonly does: string; readonly quality: string; readonly shown: (value: number) => string }>
> = {
  classification: {
    does: 'reads a definition and says what kind of thing it defines (one of 45, such as noun.animal).',
    quality: 'right answers',
    shown: (value) => `${value.toFixed(1)} %`,
  },
  'language-model': {
    does: 'writes definitions, word by word. Its perplexity says between how many next tokens it wavers: less is better.',
    quality: 'perplexity',
    shown: (value) => value.toFixed(2),
  },
}

/** The result in words for a newcomer. */
export function describeDemo({ models, seconds }: DemoResult): string {
  return [
    'Tinsmith comes with small models that it trained itself. Here it stores two of them in fewer bits and measures what that costs.',
    ...models.map(describeModel),
    `All of this took ${figure(Math.round(seconds))} seconds. Now with a model of yours: tinsmith compress SOURCE OUT`,
  ].join('\n\n')
}

function describeModel({ model, task, samples, unit, input, forms }: DemoModel): string {
  const { does, quality, shown } = explanations[task]
  const [original, ...made] = forms
  const smallest = made.reduce((a, b) => (b.bytes < a.bytes ? b : a))
  const fastest = made.reduce((a, b) => (b.rate > a.rate ? b : a))
  return [
    `${model} ${does}`,
    '',
    indented(
      table(
        ['', 'size', quality, unit],
        forms.map(({ form, bytes, quality: value, rate }) => [formNames[form], size(bytes), shown(value), figure(Math.round(rate))]),
      ),
    ),
    '',
    `  ${smallest.form} is ${times(original.bytes / smallest.bytes)} smaller${smallest === fastest ? ' and' : `; ${fastest.form} is`} ${times(fastest.rate / original.rate)} as fast.`,
    `  Quality is measured on ${samples} ${task === 'language-model' ? 'pieces of text' : 'texts'} that it was not trained on.`,
    '',
    `  What it makes of "${input}":`,
    ...forms.map(({ form, answer }) => `    ${form.padEnd(8)}  ${answer}`),
  ].join('\n')
}

function times(ratio: number): string {
  return `${figure(Number(ratio.toPrecision(2)))} times`
}

function indented(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')
}
