import { badInput } from '../../base/errors.js'
import type { TextSample } from '../../data/index.js'
import { crossEntropy, ignoredLabel } from '../../nn/losses.js'
import { type Encoded, firstTokens, sentencePieces } from '../../pipelines/index.js'
import type { Objective } from '../objective.js'
import { classesOf, outputOf, sharedInput } from './graph-values.js'
import { classIndexes, requireSeveralClasses } from './labels.js'
import { paddedLabels, TextInputs, type TextModel } from './text-inputs.js'

interface LabelledTokens {
  readonly encoded: Encoded
  /** Of each token; {@link ignoredLabel} for all but the first of each word. */
  readonly labels: readonly number[]
}

/**
 * Labels of words: the cross-entropy of the output `logits` [batch, tokens, classes] at the first token of each word. Samples
 * are as the task token-classification reads them: words with spaces between, their labels likewise.
 *
 * @throws TinsmithError `bad-input` when the model has no such output; `usage` for a length that it does not read
 * @example
 * const objective = tokenClassification({ tokenizer, graph: model.graph, config: model.config })
 * await objective.batch([{ texts: ['Ada wrote'], label: 'B-PER O' }], new Random(1))
 */
export function tokenClassification(model: TextModel): Objective<TextSample> {
  const { tokenizer, config, graph } = model
  const inputs = new TextInputs(model)
  const logitsOf = (from: typeof graph) => outputOf(from, 'token classification', ['logits'], 3)
  const classes = classesOf(logitsOf(graph))
  const indexesOf = (sample: TextSample) =>
    classIndexes(
      config,
      wordLabels(sample).map((label) => ({ label: /^\d+$/.test(label) ? Number(label) : label })),
      classes,
    )
  const known = new WeakMap<TextSample, LabelledTokens>()
  const labelled = (sample: TextSample): LabelledTokens => {
    const tokens = known.get(sample) ?? labelTokens(sample, indexesOf(sample))
    known.set(sample, tokens)
    return tokens
  }
  function labelTokens({ texts }: TextSample, indexes: readonly number[]): LabelledTokens {
    const pieces = sentencePieces(tokenizer, texts[0].split(' '))
    const encoded = tokenizer.wrap(pieces.flat(), { maxLength: inputs.maxLength })
    const labels = new Array<number>(encoded.ids.length).fill(ignoredLabel)
    firstTokens(pieces, encoded).forEach((position, word) => {
      if (position !== undefined) labels[position] = indexes[word]
    })
    return { encoded, labels }
  }
  return {
    name: 'token-classification',
    check: (samples) => requireSeveralClasses(config, samples.flatMap(indexesOf)),
    loss(net) {
      const logits = logitsOf(net.graph)
      return crossEntropy(net, logits, sharedInput(net, 'labels', 'int64', logits.shape!.slice(0, 2)))
    },
    async batch(samples) {
      const rows = samples.map(labelled)
      if (!rows.some(({ labels }) => labels.some((label) => label !== ignoredLabel)))
        throw badInput('no word of the batch has a token', { hint: 'Leave empty sentences out of the training data.' })
      const feeds = inputs.feeds(rows.map(({ encoded }) => encoded))
      const labels = paddedLabels(
        rows.map((row) => row.labels),
        feeds['input_ids'].shape[1],
        ignoredLabel,
      )
      return { ...feeds, labels }
    },
  }
}

/** @throws TinsmithError `bad-input` when words and labels are not equally many */
function wordLabels({ texts, label }: TextSample): string[] {
  const words = texts[0].split(' ')
  const labels = String(label ?? '').split(' ')
  if (words.length === labels.length && label !== undefined) return labels
  throw badInput(`"${texts[0].slice(0, 40)}" has ${words.length} words and ${label === undefined ? 'no' : labels.length} labels`, {
    where: 'the training data',
  })
}
