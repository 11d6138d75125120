import type { ByteSource } from '../base/bytes.js'
import { unsupported } from '../base/errors.js'
import { readSamples, type Sample, type SampleSet, type TextSample } from '../data/index.js'
import { numbersOf } from '../numbers/dtype.js'
import { cosineSimilarity, klDivergence, quantile } from '../numbers/metrics.js'
import { argmax, type Pipeline } from '../pipelines/index.js'
import { logitsOf } from './classification.js'
import { languageModel, tokenWindows, windowLogits } from './language-model.js'
import { mean } from './metrics.js'
import { embedDistinct } from './sts.js'
import { type EvaluateOptions, type Evaluation, inStage, type SampleOptions } from './task.js'

/** How far a compressed model gives what its original gives; needs no labels. */
export const agreement = {
  name: 'agreement',
  summary: 'Agreement with the original, without labels: cosine of vectors, or KL divergence and top-1 agreement of predictions',

  /** Texts of a file; the whole text for models that generate. */
  samples(source: ByteSource, original: Pipeline, options: SampleOptions = {}): Promise<SampleSet> {
    return original.kind === 'generate' ? languageModel.samples(source) : readSamples(source, options)
  },

  /**
   * Metrics by what the original is for. Vectors: `cosine` (mean) and `cosineLow` (1 % quantile), 0 to 1. Predictions:
   * `kl` (mean of KL(original || compressed), nats) and `top1` (percent of equal likeliest labels or tokens).
   *
   * @throws TinsmithError `unsupported` for models that neither embed, classify nor generate
   */
  async evaluate(original: Pipeline, compressed: Pipeline, samples: readonly Sample[], options: EvaluateOptions = {}): Promise<Evaluation> {
    const texts = samples as readonly TextSample[]
    switch (original.kind) {
      case 'embed':
        return embeddingAgreement(original, compressed, texts, options)
      case 'classify':
      case 'classify-images':
        return classAgreement(original, compressed, samples, options)
      case 'generate':
        return predictionAgreement(original, compressed, texts, options)
    }
    throw unsupported(`the agreement of ${original.kind} models is not measured`, { where: original.name })
  },
}

async function embeddingAgreement(
  original: Pipeline,
  compressed: Pipeline,
  samples: readonly TextSample[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const texts = samples.flatMap((sample) => sample.texts)
  const before = await embedDistinct(original, texts, options)
  const after = await embedDistinct(compressed, texts, options)
  const cosines = [...before].map(([text, vector]) => cosineSimilarity(vector, after.get(text)!))
  return { samples: cosines.length, metrics: { cosine: mean(cosines), cosineLow: quantile(cosines, 0.01) }, baselines: {} }
}

async function classAgreement(
  original: Pipeline,
  compressed: Pipeline,
  samples: readonly Sample[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const before = await logitsOf(original, samples, options)
  const after = await logitsOf(compressed, samples, options)
  const divergences = before.map((logits, i) => klDivergence(logits, after[i], logits.length)[0])
  const same = before.filter((logits, i) => argmax(logits) === argmax(after[i])).length
  return { samples: samples.length, metrics: { kl: mean(divergences), top1: (100 * same) / samples.length }, baselines: {} }
}

async function predictionAgreement(
  original: Pipeline,
  compressed: Pipeline,
  samples: readonly TextSample[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const windows = tokenWindows(original, samples, options)
  const divergences: number[] = []
  let same = 0
  await inStage(options.progress, 'compare', windows.length, async (advance) => {
    for (const window of windows) {
      const outputs = [await windowLogits(original, window, options.signal), await windowLogits(compressed, window, options.signal)]
      const [before, after] = outputs.map(numbersOf)
      const vocabulary = before.length / window.length
      divergences.push(...klDivergence(before, after, vocabulary))
      for (let at = 0; at < before.length; at += vocabulary)
        if (argmax(before.subarray(at, at + vocabulary)) === argmax(after.subarray(at, at + vocabulary))) same++
      for (const output of outputs) output.dispose()
      advance(1)
    }
  })
  return { samples: windows.length, metrics: { kl: mean(divergences), top1: (100 * same) / divergences.length }, baselines: {} }
}
