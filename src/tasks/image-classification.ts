import { usage } from '../base/errors.js'
import { type ImageSample, imagesInFolder, imagesInTable } from '../data/index.js'
import { labelAccuracy } from './classification.js'
import type { Task } from './task.js'

/** Classes of images: how often the likeliest label is the given one. */
export const imageClassification: Task<ImageSample> = {
  name: 'image-classification',
  summary: 'Classes of images, from a folder for each class or a table of path,label: accuracy and macro F1, beside the majority class',
  main: { metric: 'accuracy', better: 'higher' },
  async samples(source, { columns, folder } = {}) {
    if (!folder) throw usage('a table of images needs the folder where they lie')
    return imagesInTable(source, folder, { columns })
  },
  samplesIn: (folder) => imagesInFolder(folder),
  evaluate: labelAccuracy,
}
