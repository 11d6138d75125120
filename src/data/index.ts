export { type Columns, isHeader, parseColumns, type Wanted } from './columns.js'
export { type Row, readDelimited } from './delimited.js'
export { detectFormat, type TableFormat } from './format.js'
export {
  type ImageFile,
  type ImageOptions,
  type ImageSample,
  type ImageSource,
  imagesInFolder,
  imagesInTable,
  readImage,
  type Sample,
} from './images.js'
export { type Line, readLines, readTextChunks, readWholeText } from './lines.js'
export { readSamples, readTable, type SampleSet, sampleLengths, type TableOptions, type TextSample } from './samples.js'
export { batches, narrowness, sampleEvenly } from './select.js'
