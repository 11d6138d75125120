import { Option } from 'commander'
import { didYouMean, usage } from '../base/errors.js'
import type { EngineName } from '../commands/load.js'
import type { DTypeWord } from '../pipelines/index.js'

/** Words for the dtype of a file. */
export const dtypeWords: readonly DTypeWord[] = ['fp32', 'fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16']

const engineNames: readonly EngineName[] = ['ort', 'web', 'compiled', 'auto']
const engineWords = 'ort, web (ONNX Runtime as WebAssembly), compiled (own kernels), or auto (own kernels where they cover the model)'

/** On what a model runs. */
export function engineOption(usual: 'auto' | 'ort'): Option {
  return new Option('--engine <name>', engineWords).argParser(oneOf('--engine', engineNames)).default(usual)
}

/** On what models run one after the other. */
export function enginesOption(): Option {
  const one = oneOf('--engines', engineNames)
  return new Option('--engines <names>', `${engineWords}; several with commas between them (default: "ort")`).argParser((text: string) =>
    text.split(',').map((name) => one(name.trim())),
  )
}

/** What own kernels keep keys and values as. */
export function cacheOption(): Option {
  return new Option(
    '--cache <dtype>',
    'what own kernels keep keys and values of decoders as: float32 or int8 (default: "float32")',
  ).argParser(oneOf('--cache', ['float32', 'int8']))
}

/** What own kernels multiply in attention. */
export function attentionOption(): Option {
  return new Option(
    '--attention <dtype>',
    'what own kernels multiply in the attention of encoders: float32, or int8, which is faster (default: "float32")',
  ).argParser(oneOf('--attention', ['float32', 'int8']))
}

/** Takes one of some words. */
export function oneOf<Word extends string>(what: string, words: readonly Word[]): (text: string) => Word {
  return (text) => {
    if ((words as readonly string[]).includes(text)) return text as Word
    throw usage(`${what} cannot be "${text}"`, { hint: didYouMean(text, words) })
  }
}

/** Takes a whole number. */
export function wholeNumber(what: string, least = 0): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() && Number.isSafeInteger(value) && value >= least) return value
    throw usage(`${what} must be a whole number of ${least} or more and is "${text}"`)
  }
}

/** Takes an option that may come several times. */
export function several(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text]
}
