import type { ByteSource } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { detectFormat, readLines, type SampleSet, type TextSample } from '../data/index.js'
import { labelSpans, labelWords } from '../pipelines/index.js'
import { accuracy, f1, majority } from './metrics.js'
import { inStage, type Task } from './task.js'

/**
 * Labels of words: how many marked spans are found whole. Files have a word and its label a line (the first and the last
 * column) and an empty line between sentences (CoNLL), or a JSON object a line with its words in `tokens` and their labels in
 * `tags`; a sample's text is its words with spaces between, its label their labels likewise.
 */
export const tokenClassification: Task<TextSample> = {
  name: 'token-classification',
  summary: 'Labels of words, such as named entities: F1 of whole spans and accuracy of words',
  main: { metric: 'f1', better: 'higher' },
  samples: readSentences,
  async evaluate(pipeline, samples, { progress, signal, batchSize } = {}) {
    const sentences = samples.map(({ texts }) => texts[0].split(' '))
    const found = await inStage(progress, 'label', samples.length, (onBatch) =>
      labelWords(pipeline, sentences, { batchSize, signal, onBatch }),
    )
    const predicted = found.map((words) => words.map(({ label }) => label))
    const expected = samples.map(({ label }) => String(label).split(' '))
    const common = majority(expected.flat()).value
    const constant = expected.map((labels) => labels.map(() => common))
    const scores = (labels: readonly string[][]) => ({
      f1: 100 * spanF1(labels, expected),
      accuracy: 100 * accuracy(labels.flat(), expected.flat()),
    })
    return { samples: samples.length, metrics: scores(predicted), baselines: scores(constant) }
  },
}

/** F1 of spans that have the same label and the same words, over all sentences (CoNLL-2003), 0 to 1. */
export function spanF1(predicted: readonly (readonly string[])[], expected: readonly (readonly string[])[]): number {
  const keys = (sentences: readonly (readonly string[])[]) =>
    new Set(sentences.flatMap((labels, i) => labelSpans(labels).map(({ label, first, last }) => `${i} ${first} ${last} ${label}`)))
  const [found, wanted] = [keys(predicted), keys(expected)]
  return f1([...found].filter((key) => wanted.has(key)).length, found.size, wanted.size)
}

interface Sentence {
  readonly words: readonly string[]
  readonly labels: readonly string[]
}

async function readSentences(source: ByteSource): Promise<SampleSet> {
  const sentences = (await detectFormat(source)) === 'jsonl' ? await readRecords(source) : await readColumns(source)
  const samples = sentences
    .filter(({ words }) => words.length)
    .map(({ words, labels }) => ({ texts: [words.join(' ')], label: labels.join(' ') }))
  if (!samples.length) throw badInput('the file holds no samples', { where: source.name, hint: 'Expected: a word and its label a line.' })
  return { samples, notes: [] }
}

async function readRecords(source: ByteSource): Promise<Sentence[]> {
  const sentences: Sentence[] = []
  for await (const { number, text } of readLines(source)) if (text.trim()) sentences.push(sentenceOf(text, number, source.name))
  return sentences
}

function sentenceOf(text: string, line: number, file: string): Sentence {
  const record = parsed(text)
  const [words, labels] = [record?.['tokens'] ?? record?.['words'], record?.['tags'] ?? record?.['ner_tags'] ?? record?.['labels']]
  if (!isWords(words) || !isWords(labels) || words.length !== labels.length)
    throw badInput(`line ${line} is no sentence with a label for each word`, {
      where: file,
      hint: 'Expected: for example {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}.',
    })
  return { words: words.map(String), labels: labels.map(String) }
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown> | null
  } catch {
    return null
  }
}

/** Words (or numbers of labels) without spaces in them, which would not be told apart later. */
function isWords(value: unknown): value is (string | number)[] {
  return Array.isArray(value) && value.every((each) => /^\S+$/.test(String(each)))
}

async function readColumns(source: ByteSource): Promise<Sentence[]> {
  const sentences: { words: string[]; labels: string[] }[] = [{ words: [], labels: [] }]
  for await (const { number, text } of readLines(source)) {
    const cells = text.trim().split(/\s+/)
    const sentence = sentences.at(-1)!
    if (cells[0] === '' || cells[0] === '-DOCSTART-') {
      if (sentence.words.length) sentences.push({ words: [], labels: [] })
    } else if (cells.length < 2) {
      throw badInput(`line ${number} has one column where a word and its label are expected`, { where: source.name })
    } else {
      sentence.words.push(cells[0])
      sentence.labels.push(cells.at(-1)!)
    }
  }
  return sentences
}
