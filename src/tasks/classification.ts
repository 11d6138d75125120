import { badInput } from '../base/errors.js'
import { type ImageSample, readSamples, type Sample, type TextSample } from '../data/index.js'
import type { Config } from '../ir/index.js'
import { argmax, labelName, type Pipeline, type TextOrPair } from '../pipelines/index.js'
import { accuracy, macroF1, majority } from './metrics.js'
import { type EvaluateOptions, type Evaluation, inStage, type Task } from './task.js'

/** Classes of texts or pairs: how often the likeliest label is the given one. */
export const classification: Task<TextSample> = {
  name: 'classification',
  summary: 'Classes of texts or pairs of texts: accuracy and macro F1, beside the majority class',
  main: { metric: 'accuracy', better: 'higher' },
  samples: (source, options) => readSamples(source, { ...options, label: 'class' }),
  evaluate: labelAccuracy,
}

/** How often the likeliest label of each sample is the given one, and the most frequent given one. */
export async function labelAccuracy(pipeline: Pipeline, samples: readonly Sample[], options: EvaluateOptions = {}): Promise<Evaluation> {
  const logits = await logitsOf(pipeline, samples, options)
  const expected = expectedLabels(pipeline.config, samples, logits[0].length, pipeline.name)
  const predicted = logits.map(argmax)
  const constant = expected.map(() => majority(expected).value)
  return {
    samples: samples.length,
    metrics: { accuracy: 100 * accuracy(predicted, expected), macroF1: 100 * macroF1(predicted, expected) },
    baselines: { accuracy: 100 * accuracy(constant, expected), macroF1: 100 * macroF1(constant, expected) },
  }
}

/** The raw scores of each sample. */
export function logitsOf(
  pipeline: Pipeline,
  samples: readonly Sample[],
  { progress, signal, batchSize }: EvaluateOptions,
): Promise<Float32Array[]> {
  return inStage(progress, 'classify', samples.length, (onBatch) => {
    const options = { batchSize, signal, onBatch }
    const images = samples.filter((sample): sample is ImageSample => 'image' in sample)
    if (images.length)
      return pipeline.classifyImageLogits(
        images.map(({ image }) => image),
        options,
      )
    return pipeline.classifyLogits((samples as readonly TextSample[]).map(textOrPair), options)
  })
}

function textOrPair({ texts: [first, second] }: TextSample): TextOrPair {
  return second === undefined ? first : [first, second]
}

/**
 * Label indexes of the samples: by the names of config.json's `id2label` or `label2id`, else as indexes.
 *
 * @throws TinsmithError `bad-input` naming a label that the model does not have
 */
export function expectedLabels(config: Config, samples: readonly Pick<Sample, 'label'>[], classes: number, where: string): number[] {
  const names = Array.from({ length: classes }, (_, index) => labelName(config, index).toLowerCase())
  const given = config['label2id'] as Readonly<Record<string, unknown>> | undefined
  const byName = new Map<string, number>(Object.entries(given ?? {}).map(([name, index]) => [name.toLowerCase(), Number(index)]))
  names.forEach((name, index) => void byName.set(name, index))
  return samples.map(({ label }) => {
    const index = byName.get(String(label).toLowerCase()) ?? (Number.isInteger(label) ? Number(label) : -1)
    if (index >= 0 && index < classes) return index
    throw badInput(`the label "${label}" is none of the model's`, { where, hint: `The model has ${names.slice(0, 20).join(', ')}.` })
  })
}
