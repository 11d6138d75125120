/** A tiny encoder on disk and texts of two kinds, for tests of training. */

import { writeFile } from '../../src/base/bytes.js'
import { writeFolder } from '../../src/base/platform.node.js'
import { Random } from '../../src/base/random.js'
import { writeSafetensors } from '../../src/formats/index.js'
import { wordPieceConfig, wordPieceDefinition } from '../pipelines/fakes.js'
import { tinyBert } from './checkpoints.js'

const specials = ['[PAD]', '[UNK]', '[CLS]', '[SEP]']
const tellers = { praise: ['warm', 'funny', 'bright', 'clever', 'moving'], blame: ['dull', 'cold', 'slow', 'loud', 'empty'] } as const
const others = ['a', 'the', 'film', 'story', 'cast', 'and', 'very', 'is', 'was', 'it', ',']
const words = [...specials, ...Object.values(tellers).flat(), ...others]

export interface Example {
  readonly label: keyof typeof tellers
  readonly text: string
}

/** Sentences, every other one of praise, the others of blame: two of the kind's words among words of both. */
export function reviews(count: number, seed = 1): Example[] {
  return Array.from({ length: count }, (_, i) => {
    const random = new Random(seed, `review ${i}`)
    const pick = (from: readonly string[]) => from[random.integer(from.length)]
    const label = i % 2 ? 'blame' : 'praise'
    return { label, text: `${pick(others)} ${pick(tellers[label])} ${pick(others)} ${pick(others)} ${pick(tellers[label])} film` }
  })
}

/** Lines of `label<TAB>text`. */
export const asLines = (examples: readonly Example[]): string => examples.map(({ label, text }) => `${label}\t${text}\n`).join('')

/** A table with a header. */
export const asTable = (examples: readonly Example[]): string =>
  ['text,label\n', ...examples.map(({ label, text }) => `"${text}",${label}\n`)].join('')

/** Writes a random encoder without a head, with its tokenizer, as a checkpoint's folder. */
export async function writeTinyEncoder(folder: string): Promise<void> {
  const { config, tensors } = tinyBert(new Random(3), { vocabulary: words.length, positions: 16 })
  const definition = {
    ...wordPieceDefinition,
    model: { ...wordPieceDefinition.model, vocab: Object.fromEntries(words.map((word, id) => [word, id])) },
  }
  await writeFolder(folder, { force: true }, async (target) => {
    await writeSafetensors(await target.create('model.safetensors'), tensors)
    for (const [name, document] of Object.entries({
      'config.json': config,
      'tokenizer.json': definition,
      'tokenizer_config.json': wordPieceConfig,
    }))
      await writeFile(target, name, JSON.stringify(document))
  })
}
