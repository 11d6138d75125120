import { badInput } from '../../src/base/errors.js'
import { Random } from '../../src/base/random.js'
import type { TextSample } from '../../src/data/index.js'

/**
 * The examples in a text: a line each, the label, a tab or a comma, and the text.
 *
 * @throws TinsmithError `bad-input` naming the line
 */
export function parseExamples(text: string): TextSample[] {
  return text.split(/\r?\n/).flatMap((line, i) => {
    if (!line.trim()) return []
    const [, label, content] = (line.includes('\t') ? /^([^\t]+)\t(.+)$/ : /^([^,]+),(.+)$/).exec(line) ?? []
    if (!label?.trim() || !content?.trim())
      throw badInput(`line ${i + 1} has no label and text`, { hint: 'Write the label, a tab or a comma, and then the text.' })
    return [{ texts: [content.trim()], label: label.trim() }]
  })
}

/** Examples to learn from, and a fifth of each class to measure on; where there are few examples, they are measured on what was learned. */
export function heldOut(examples: readonly TextSample[], seed: number): { learned: readonly TextSample[]; kept: readonly TextSample[] } {
  const order = new Random(seed, 'held out').permutation(examples.length).map((index) => examples[index])
  const classes = [...new Set(examples.map(({ label }) => label))].map((label) => order.filter((example) => example.label === label))
  const kept = new Set(classes.flatMap((members) => members.slice(0, Math.floor(members.length / 5))))
  if (!kept.size) return { learned: examples, kept: examples }
  return { learned: examples.filter((example) => !kept.has(example)), kept: examples.filter((example) => kept.has(example)) }
}
