import { badInput } from '../../base/errors.js'
import { type ImageSample, readImage } from '../../data/index.js'
import type { Graph } from '../../ir/graph.js'
import type { Config } from '../../ir/model.js'
import { ImageProcessor } from '../../pipelines/index.js'
import type { Objective } from '../objective.js'
import { classHead } from './classification.js'

export interface ImageClassificationOptions {
  readonly graph: Graph
  /** The document of config.json; null where the model has none. */
  readonly config: Config | null
  /** The document of preprocessor_config.json. Default `{}`. */
  readonly imageSettings?: Config
  /** Share of the target that is spread evenly over all classes. Default 0. */
  readonly labelSmoothing?: number
}

/**
 * Classes of images: the cross-entropy of the output `logits` [batch, classes].
 *
 * @throws TinsmithError `bad-input` when the model has no such output, or reads no images of a fixed size
 * @example
 * const objective = imageClassification({ graph: model.graph, config: model.config })
 */
export function imageClassification({
  graph,
  config,
  imageSettings = {},
  labelSmoothing,
}: ImageClassificationOptions): Objective<ImageSample> {
  const processor = new ImageProcessor(imageSettings, imageShape(graph))
  const head = classHead({ graph, config }, 'image classification', labelSmoothing)
  return {
    name: 'image-classification',
    ...head,
    async batch(samples) {
      const images = await Promise.all(samples.map(({ image }) => readImage(image)))
      return { pixel_values: processor.pixels(images), labels: head.labels(samples) }
    },
  }
}

function imageShape(graph: Graph): ImageProcessor['shape'] {
  const [, channels, height, width] = graph.inputs.find(({ name }) => name === 'pixel_values')?.shape ?? []
  if (typeof channels === 'number' && typeof height === 'number' && typeof width === 'number') return { channels, height, width }
  throw badInput('the model reads no images of a fixed size', { hint: 'Image classification needs an input pixel_values.' })
}
