import { badInput } from '../../base/errors.js'
import type { TextSample } from '../../data/index.js'
import { ignoredLabel, nextTokenLoss } from '../../nn/losses.js'
import type { Tokenizer } from '../../pipelines/index.js'
import type { Objective } from '../objective.js'
import { outputOf, sharedInput } from './graph-values.js'
import { paddedLabels, TextInputs, type TextModel, type TokenWindow } from './text-inputs.js'

/**
 * Next tokens: the cross-entropy of the output `logits` [batch, tokens, vocabulary] with the token that follows. Padding does
 * not count.
 *
 * @throws TinsmithError `bad-input` when the model has no such output; `usage` for a length that it does not read
 * @example
 * const windows = packWindows(samples, { tokenizer, length: 128 })
 * const objective = causalLanguageModel({ tokenizer, graph: model.graph, config: model.config })
 */
export function causalLanguageModel(model: TextModel): Objective<TokenWindow> {
  const inputs = new TextInputs(model)
  const logitsOf = (graph: typeof model.graph) => outputOf(graph, 'next tokens', ['logits'], 3)
  logitsOf(model.graph)
  return {
    name: 'causal-language-model',
    loss(net) {
      const logits = logitsOf(net.graph)
      return nextTokenLoss(net, logits, sharedInput(net, 'labels', 'int64', logits.shape!.slice(0, 2)))
    },
    check: (windows) => {
      for (const { ids } of windows) lengthWithin(ids.length, inputs.maxLength)
    },
    async batch(windows) {
      const rows = windows.map(({ ids }) => ({ ids, types: ids.map(() => 0), special: ids.map(() => 0) }))
      const feeds = inputs.feeds(rows)
      const labels = paddedLabels(
        windows.map(({ ids }) => ids),
        feeds['input_ids'].shape[1],
        ignoredLabel,
      )
      return { ...feeds, labels }
    },
  }
}

export interface PackOptions {
  readonly tokenizer: Tokenizer
  /** Tokens of a window. */
  readonly length: number
  /** The id between texts. Default: the tokenizer's end token, where it has one. */
  readonly separatorId?: number
}

/**
 * Texts one after the other, a separator after each, cut into windows that do not overlap. What is left at the end and fills no
 * window is kept only where there is no whole one.
 *
 * @throws TinsmithError `bad-input` when the texts have less than two tokens
 */
export function packWindows(
  samples: readonly TextSample[],
  { tokenizer, length, separatorId = tokenizer.eosId }: PackOptions,
): TokenWindow[] {
  if (length < 2) throw badInput(`a window of ${length} tokens has no next token`, { hint: 'Windows have at least 2 tokens.' })
  const windows: TokenWindow[] = []
  let open: number[] = []
  for (const text of samples.flatMap(({ texts }) => texts)) {
    for (const id of tokenizer.ids(text)) open.push(id)
    if (separatorId !== undefined) open.push(separatorId)
    let start = 0
    for (; open.length - start >= length; start += length) windows.push({ ids: open.slice(start, start + length) })
    open = open.slice(start)
  }
  if (windows.length) return windows
  if (open.length < 2) throw badInput(`the texts have ${open.length} tokens and at least 2 are needed`)
  return [{ ids: open }]
}

function lengthWithin(length: number, limit: number): void {
  if (length > limit)
    throw badInput(`a window of ${length} tokens is longer than the model's limit of ${limit}`, { hint: 'Pack shorter windows.' })
  if (length < 2) throw badInput(`a window of ${length} tokens has no next token`)
}
