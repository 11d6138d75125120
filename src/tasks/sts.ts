import { readSamples, type TextSample } from '../data/index.js'
import { cosineSimilarity } from '../numbers/metrics.js'
import type { Pipeline } from '../pipelines/index.js'
import { pearson, spearman } from './metrics.js'
import { type EvaluateOptions, inStage, type Task } from './task.js'

/** Semantic similarity: how well the cosine of two texts' vectors follows the scores that people gave. */
export const sts: Task<TextSample> = {
  name: 'sts',
  summary: 'Semantic similarity of two texts: rank correlation of the cosine of their vectors with given scores',
  main: { metric: 'spearman', better: 'higher' },
  samples: (source, options) => readSamples(source, { ...options, texts: 2, label: 'number' }),
  async evaluate(pipeline, samples, options = {}) {
    const vectors = await embedDistinct(
      pipeline,
      samples.flatMap(({ texts }) => texts),
      options,
    )
    const cosines = samples.map(({ texts: [first, second] }) => cosineSimilarity(vectors.get(first)!, vectors.get(second)!))
    const scores = samples.map(({ label }) => Number(label))
    return {
      samples: samples.length,
      metrics: { spearman: 100 * spearman(cosines, scores), pearson: 100 * pearson(cosines, scores) },
      baselines: {},
    }
  },
}

/** The vector of each distinct text, embedded once. */
export async function embedDistinct(
  pipeline: Pipeline,
  texts: readonly string[],
  { progress, signal, batchSize }: EvaluateOptions,
): Promise<Map<string, Float32Array>> {
  const distinct = [...new Set(texts)]
  const vectors = await inStage(progress, 'embed', distinct.length, (onBatch) => pipeline.embed(distinct, { batchSize, signal, onBatch }))
  return new Map(distinct.map((text, i) => [text, vectors[i]]))
}
