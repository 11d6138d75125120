import { sha256 } from '#platform'
import { concatenate } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { type ImageSource, readImage, sampleEvenly } from '../data/index.js'
import type { Graph } from '../ir/graph.js'
import { ImageProcessor } from '../pipelines/index.js'
import type { Calibration, CalibrationBatch } from './calibration.js'

export interface ImageCalibrationOptions {
  /** Images to take, evenly from all. */
  readonly samples: number
  /** Images that run together. */
  readonly batchSize: number
}

export const imageCalibrationDefaults: ImageCalibrationOptions = { samples: 64, batchSize: 8 }

/** Whether a graph reads images. */
export function readsImages(graph: Graph): boolean {
  return graph.inputs.some((input) => input.name === 'pixel_values')
}

/**
 * Calibration from images. No token is special: that of the class is one among those that linears see.
 *
 * @param settings the document of preprocessor_config.json
 * @throws TinsmithError `bad-input` when the graph reads no images of a fixed size, or a file is no image
 */
export async function calibrationFromImages(
  images: readonly ImageSource[],
  graph: Graph,
  settings: Readonly<Record<string, unknown>>,
  origin: string,
  { samples, batchSize }: ImageCalibrationOptions = imageCalibrationDefaults,
): Promise<Calibration> {
  const processor = processorOf(graph, settings)
  const chosen = sampleEvenly(images, samples)
  const batches: CalibrationBatch[] = []
  for (let at = 0; at < chosen.length; at += batchSize) {
    const pixels = processor.pixels(await Promise.all(chosen.slice(at, at + batchSize).map(readImage)))
    batches.push({ feeds: { pixel_values: pixels }, special: new Uint8Array() })
  }
  const bytes = batches.map(({ feeds }) => new Uint8Array((feeds['pixel_values'].data as Float32Array).buffer))
  return { batches, samples: chosen.length, origin, hash: await sha256(concatenate(bytes)) }
}

function processorOf(graph: Graph, settings: Readonly<Record<string, unknown>>): ImageProcessor {
  const [, channels, height, width] = graph.inputs.find((input) => input.name === 'pixel_values')?.shape ?? []
  if (typeof channels === 'number' && typeof height === 'number' && typeof width === 'number')
    return new ImageProcessor(settings, { channels, height, width })
  throw badInput('the model reads no images of a fixed size', { hint: 'Calibration from images needs an input pixel_values.' })
}
