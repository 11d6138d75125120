import { badInput } from '../../base/errors.js'
import type { TextSample } from '../../data/index.js'
import { crossEntropy, ignoredLabel } from '../../nn/losses.js'
import type { Encoded, Tokenizer } from '../../pipelines/index.js'
import type { Objective } from '../objective.js'
import { classesOf, outputOf, sharedInput } from './graph-values.js'
import { beginsWord, type Masking, type MaskingUnit, maskTokens, vocabulary } from './masking.js'
import { paddedLabels, TextInputs, type TextModel, type TokenWindow } from './text-inputs.js'

export interface MaskedLanguageModelOptions extends TextModel {
  /** Default `token`. */
  readonly unit?: MaskingUnit
  /** Share of the tokens that are hidden. Default 0.15. */
  readonly rate?: number
  /** The text of the mask token. Default `[MASK]` or `<mask>`, whichever the vocabulary has. */
  readonly maskToken?: string
}

/**
 * Hidden tokens: the cross-entropy of the output `logits` [batch, tokens, vocabulary] at the tokens that were hidden. Every
 * batch hides others.
 *
 * @throws TinsmithError `bad-input` when the model has no such output or the tokenizer no mask token; `usage` for a length
 * that the model does not read
 * @example
 * const objective = maskedLanguageModel({ tokenizer, graph: model.graph, config: model.config, unit: 'word' })
 */
export function maskedLanguageModel({
  unit = 'token',
  rate = 0.15,
  maskToken,
  ...model
}: MaskedLanguageModelOptions): Objective<TextSample | TokenWindow> {
  const { tokenizer, graph } = model
  if (!(rate > 0 && rate < 1)) throw badInput(`a share of ${rate} of the tokens cannot be hidden`, { hint: 'Set rate between 0 and 1.' })
  const inputs = new TextInputs(model)
  const logitsOf = (from: typeof graph) => outputOf(from, 'hidden tokens', ['logits'], 3)
  const classes = classesOf(logitsOf(graph))
  const masking: Masking = {
    unit,
    rate,
    maskId: maskIdOf(tokenizer, maskToken),
    replacements: vocabulary(tokenizer).filter((id) => id < classes),
    beginsWord: unit === 'token' ? () => true : beginsWord(tokenizer),
  }
  return {
    name: 'masked-language-model',
    loss(net) {
      const logits = logitsOf(net.graph)
      return crossEntropy(net, logits, sharedInput(net, 'labels', 'int64', logits.shape!.slice(0, 2)))
    },
    async batch(samples, random) {
      const rows = samples.map((sample) => hideable(inputs.together(sample), tokenizer))
      const masked = rows.map((row, i) => maskTokens(row, masking, random.stream(`mask ${i}`)))
      if (!masked.some(({ labels }) => labels.some((label) => label !== ignoredLabel)))
        throw badInput('no text of the batch has a token that could be hidden', { hint: 'Leave empty texts out of the training data.' })
      const feeds = inputs.feeds(rows.map((row, i) => ({ ...row, ids: masked[i].ids })))
      const labels = paddedLabels(
        masked.map((row) => row.labels),
        feeds['input_ids'].shape[1],
        ignoredLabel,
      )
      return { ...feeds, labels }
    },
  }
}

/** Special tokens that a text has of its own count as special too. */
function hideable(encoded: Encoded, tokenizer: Tokenizer): Encoded {
  return { ...encoded, special: encoded.ids.map((id, i) => (tokenizer.specialIds.has(id) ? 1 : encoded.special[i])) }
}

function maskIdOf(tokenizer: Tokenizer, token: string | undefined): number {
  const names = token === undefined ? ['[MASK]', '<mask>'] : [token]
  const id = names.map((name) => tokenizer.idOf(name)).find((found) => found !== undefined)
  if (id !== undefined) return id
  throw badInput(`the tokenizer has no token ${names.join(' or ')} to hide others with`, {
    where: 'tokenizer.json',
    hint: 'Set maskToken.',
  })
}
