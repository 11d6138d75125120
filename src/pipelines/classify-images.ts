import { throwIfAborted } from '../base/errors.js'
import { type ImageSource, readImage } from '../data/index.js'
import { type BatchRunOptions, outputNamed } from './batching.js'
import { type Classification, classificationsOf } from './classify.js'
import { rowsOf } from './embed.js'
import type { PipelineModel } from './pipeline-model.js'

/**
 * The raw scores [labels] of each image, in the order of the images. Files are decoded batch by batch.
 *
 * @throws TinsmithError `bad-input` when the model reads no images or a file is none
 */
export async function classifyImageLogits(
  model: PipelineModel,
  images: readonly ImageSource[],
  { batchSize = 32, signal, onBatch }: BatchRunOptions = {},
): Promise<Float32Array[]> {
  const output = outputNamed(model, 'classify', ['logits'], 2)
  const { imageProcessor, session } = model
  const logits: Float32Array[] = []
  for (let at = 0; at < images.length; at += batchSize) {
    throwIfAborted(signal)
    const batch = await Promise.all(images.slice(at, at + batchSize).map(readImage))
    const results = await session.run({ pixel_values: imageProcessor.pixels(batch) }, { outputs: [output], signal })
    logits.push(...rowsOf(results[output]))
    results[output].dispose()
    onBatch?.(batch.length)
  }
  return logits
}

/** All labels with their scores for each image, the best first; scores as those of texts. */
export async function classifyImages(
  model: PipelineModel,
  images: readonly ImageSource[],
  options: BatchRunOptions = {},
): Promise<Classification[][]> {
  return (await classifyImageLogits(model, images, options)).map((row) => classificationsOf(row, model.config))
}
