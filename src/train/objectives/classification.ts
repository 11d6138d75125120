import type { TextSample } from '../../data/index.js'
import { crossEntropy } from '../../nn/losses.js'
import { type NDArray, ndarray } from '../../numbers/dtype.js'
import type { Objective } from '../objective.js'
import { classesOf, outputOf, sharedInput } from './graph-values.js'
import { classIndexes, type Labelled, requireSeveralClasses } from './labels.js'
import { TextInputs, type TextModel } from './text-inputs.js'

export interface ClassificationOptions extends TextModel {
  /** Share of the target that is spread evenly over all classes. Default 0. */
  readonly labelSmoothing?: number
}

/**
 * Classes of texts or pairs: the cross-entropy of the output `logits` [batch, classes].
 *
 * @throws TinsmithError `bad-input` when the model has no such output; `usage` for a length that it does not read
 * @example
 * const objective = classification({ tokenizer, graph: model.graph, config: model.config, maxLength: 64 })
 */
export function classification({ labelSmoothing, ...model }: ClassificationOptions): Objective<TextSample> {
  const inputs = new TextInputs(model)
  const head = classHead(model, 'classification', labelSmoothing)
  return {
    name: 'classification',
    ...head,
    async batch(samples) {
      return { ...inputs.feeds(samples.map((sample) => inputs.together(sample))), labels: head.labels(samples) }
    },
  }
}

/** What classifications of texts and of images share: one label for each sample. */
export function classHead({ graph, config }: Pick<TextModel, 'graph' | 'config'>, purpose: string, smoothing?: number) {
  const logitsOf = (from: typeof graph) => outputOf(from, purpose, ['logits'], 2)
  const classes = classesOf(logitsOf(graph))
  const indexes = (samples: readonly Labelled[]) => classIndexes(config, samples, classes)
  return {
    labels: (samples: readonly Labelled[]): NDArray => ndarray('int64', [samples.length], indexes(samples)),
    check: (samples: readonly Labelled[]): void => requireSeveralClasses(config, indexes(samples)),
    loss(net) {
      const logits = logitsOf(net.graph)
      return crossEntropy(net, logits, sharedInput(net, 'labels', 'int64', [logits.shape![0]]), { smoothing })
    },
  } satisfies Partial<Objective<Labelled>> & { labels(samples: readonly Labelled[]): NDArray }
}
