import { numbersOf } from '../numbers/dtype.js'
import { type BatchRunOptions, outputNamed, runBatches } from './batching.js'
import { argmax, labelName, softmax } from './classify.js'
import type { Encoded } from './encoding.js'
import type { PipelineModel } from './pipeline-model.js'
import type { Tokenizer } from './tokenizer.js'

/** A marked span of a text. */
export interface Entity {
  /** Without B- or I-. */
  readonly label: string
  /** Mean probability of the span's words. */
  readonly score: number
  readonly text: string
  /** Characters (UTF-16) of the text, `end` excluded. */
  readonly start: number
  readonly end: number
}

/** A word with the label of its first token. */
export interface LabelledWord {
  readonly label: string
  readonly score: number
}

interface Word {
  readonly text: string
  readonly start: number
  readonly afterSpace: boolean
}

/**
 * Named entities (or other spans that labels B- and I- mark) of each text. Words are runs of letters and digits or
 * single other characters; a word has the label of its first token.
 */
export async function findEntities(model: PipelineModel, texts: readonly string[], options: BatchRunOptions = {}): Promise<Entity[][]> {
  const words = texts.map(splitWords)
  const labels = await labelPieces(
    model,
    words.map((list, i) => wordPieces(model.tokenizer, texts[i], list)),
    options,
  )
  return texts.map((text, i) => spansOf(text, words[i], labels[i]))
}

/** The label of each of given words (a tokenized data set); words beyond the model's limit have the label `O`. */
export async function labelWords(
  model: PipelineModel,
  sentences: readonly (readonly string[])[],
  options: BatchRunOptions = {},
): Promise<LabelledWord[][]> {
  return labelPieces(
    model,
    sentences.map((words) => sentencePieces(model.tokenizer, words)),
    options,
  )
}

/** The ids of each word of a tokenized sentence. */
export function sentencePieces(tokenizer: Tokenizer, words: readonly string[]): number[][] {
  const list = words.map((text, i) => ({ text, start: 0, afterSpace: i > 0 }))
  return wordPieces(tokenizer, words.join(' '), list)
}

function splitWords(text: string): Word[] {
  return [...text.matchAll(/[\p{L}\p{N}\p{M}]+|[^\s]/gu)].map((match) => ({
    text: match[0],
    start: match.index,
    afterSpace: match.index > 0 && /\s/.test(text[match.index - 1]),
  }))
}

/** The ids of each word, told the space before it where that gives what the tokenizer makes of the whole text. */
function wordPieces(tokenizer: Tokenizer, text: string, words: readonly Word[]): number[][] {
  const plain = words.map((word) => tokenizer.ids(word.text))
  const whole = tokenizer.ids(text).join()
  if (plain.flat().join() === whole) return plain
  const spaced = words.map((word) => tokenizer.ids(word.afterSpace ? ` ${word.text}` : word.text))
  return spaced.flat().join() === whole || spaced.flat().length < plain.flat().length ? spaced : plain
}

async function labelPieces(model: PipelineModel, pieces: readonly number[][][], options: BatchRunOptions): Promise<LabelledWord[][]> {
  const output = outputNamed(model, 'label tokens', ['logits'], 3)
  const encoded = pieces.map((words) => model.tokenizer.wrap(words.flat()))
  const labels = new Array<LabelledWord[]>(pieces.length)
  for await (const { rows, encoding, output: result } of runBatches(model, encoded, output, options)) {
    const [, length, width] = result.shape
    const data = numbersOf(result)
    rows.forEach((text, row) => {
      const positions = firstTokens(pieces[text], encoded[text])
      const start = encoding.side === 'left' ? length - encoded[text].ids.length : 0
      labels[text] = positions.map((position) => {
        if (position === undefined) return { label: 'O', score: 0 }
        const at = (row * length + start + position) * width
        const scores = softmax(data.subarray(at, at + width))
        const best = argmax(scores)
        return { label: labelName(model.config, best), score: scores[best] }
      })
    })
  }
  return labels
}

/** Where each word's first token stands; undefined for words that were cut off or have no token. */
export function firstTokens(words: readonly number[][], encoded: Encoded): (number | undefined)[] {
  const positions = encoded.special.flatMap((special, i) => (special ? [] : [i]))
  let next = 0
  return words.map((ids) => {
    const position = ids.length ? positions[next] : undefined
    next += ids.length
    return position
  })
}

function spansOf(text: string, words: readonly Word[], labels: readonly LabelledWord[]): Entity[] {
  return labelSpans(labels.map(({ label }) => label)).map(({ label, first, last }) => {
    const start = words[first].start
    const end = words[last].start + words[last].text.length
    const scores = labels.slice(first, last + 1).map(({ score }) => score)
    return { label, score: scores.reduce((sum, score) => sum + score, 0) / scores.length, text: text.slice(start, end), start, end }
  })
}

/** A run of words with one label; `last` included. */
export interface LabelSpan {
  readonly label: string
  readonly first: number
  readonly last: number
}

/**
 * The spans that labels mark: B- begins one, I- continues one of the same label (or begins one), a label without either
 * joins its neighbours of the same label, O is outside.
 *
 * Source: the CoNLL-2003 evaluation.
 *
 * @example
 * labelSpans(['B-PER', 'I-PER', 'O']) // [{ label: 'PER', first: 0, last: 1 }]
 */
export function labelSpans(labels: readonly string[]): LabelSpan[] {
  const spans: LabelSpan[] = []
  labels.forEach((tag, i) => {
    if (tag === 'O') return
    const [, prefix, label] = /^(?:([BI])-)?(.*)$/.exec(tag)!
    const open = spans.at(-1)
    if (open && prefix !== 'B' && open.last === i - 1 && open.label === label) spans[spans.length - 1] = { ...open, last: i }
    else spans.push({ label, first: i, last: i })
  })
  return spans
}
