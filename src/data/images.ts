import { decodeImage, openFile } from '#platform'
import { type ByteSource, type Folder, readAll } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import type { Image } from '../base/image.js'
import { isNumber } from './columns.js'
import { readTable, type SampleSet, type TextSample } from './samples.js'

/** An image file that is opened when it is read. */
export interface ImageFile {
  readonly folder: Folder
  readonly path: string
}

/** An image as it comes: pixels, an open file, the path of one, or one in a folder. */
export type ImageSource = Image | ByteSource | string | ImageFile

/** An image with what is known of it. */
export interface ImageSample {
  readonly image: ImageSource
  /** The name or the index of a class. */
  readonly label?: number | string
}

/** A sample of any kind. */
export type Sample = TextSample | ImageSample

export interface ImageOptions {
  /** Which columns of a table hold what: `text=0,label=1`, the text being the path. Default by the file. */
  readonly columns?: string
  /** Whether every image must have a class. Default true. */
  readonly labelled?: boolean
}

const imageFile = /\.(png|jpe?g|webp|gif|avif|tiff?)$/i

/**
 * The pixels of an image, decoded where they are not there yet.
 *
 * @throws TinsmithError `bad-input` when the file is no image or the pixels do not fill it
 */
export async function readImage(source: ImageSource): Promise<Image> {
  if (typeof source === 'string') return decoded(await openFile(source))
  if ('data' in source) return checked(source)
  return decoded('path' in source ? await source.folder.open(source.path) : source)
}

async function decoded(file: ByteSource): Promise<Image> {
  return decodeImage(await readAll(file), file.name)
}

function checked(image: Image): Image {
  const { width, height, channels, data } = image
  const sizes = [width, height, channels]
  if (sizes.every((size) => Number.isInteger(size) && size > 0) && channels <= 4 && data.length === width * height * channels) return image
  throw badInput(`an image of ${width} x ${height} pixels and ${channels} channels cannot have ${data.length} numbers`, {
    hint: 'Pixels are [height, width, channels], from 0 to 255.',
  })
}

/**
 * The images of a folder, in the order of their paths; the class of each is the name of the folder that it lies in.
 *
 * @throws TinsmithError `bad-input` when there are none, or one lies in no folder of a class
 * @example
 * const { samples } = await imagesInFolder(await openFolder('digits')) // digits/3/0001.png ...
 */
export async function imagesInFolder(folder: Folder, { labelled = true }: ImageOptions = {}): Promise<SampleSet<ImageSample>> {
  const paths = (await folder.list()).filter((path) => imageFile.test(path))
  if (!paths.length) throw badInput('the folder holds no images', { where: folder.name, hint: 'Expected: a folder for each class.' })
  const alone = paths.find((path) => !path.includes('/'))
  if (alone && labelled)
    throw badInput(`the image ${alone} lies in no folder that names its class`, {
      where: folder.name,
      hint: 'Put the images of each class into a folder with its name, or give a table of path,label.',
    })
  return samplesOf(paths.map((path) => ({ image: { folder, path }, label: classOf(path) })))
}

/**
 * The images that a table names: a path and a class a row.
 *
 * @param folder where the paths begin
 * @throws TinsmithError `bad-input` with the line of a row that is none, or naming an image that is not there
 */
export async function imagesInTable(
  source: ByteSource,
  folder: Folder,
  { columns, labelled = true }: ImageOptions = {},
): Promise<SampleSet<ImageSample>> {
  const samples: ImageSample[] = []
  for await (const { texts, label } of readTable(source, { texts: 1, label: labelled ? 'class' : 'optional', columns })) {
    const [path] = texts
    if (!(await folder.has(path)))
      throw badInput(`there is no image ${path}`, { where: source.name, hint: `Paths begin at the table's folder, ${folder.name}.` })
    samples.push({ image: { folder, path }, label })
  }
  if (!samples.length) throw badInput('the file names no images', { where: source.name, hint: 'Expected: path,label a row.' })
  return samplesOf(samples)
}

function classOf(path: string): number | string | undefined {
  const name = path.split('/').at(-2)
  return isNumber(name) ? Number(name) : name
}

function samplesOf(samples: readonly ImageSample[]): SampleSet<ImageSample> {
  const labels = new Set(samples.map((sample) => sample.label))
  const single = labels.size === 1 && !labels.has(undefined) && samples.length > 1
  return { samples, notes: single ? [`All ${samples.length} images have the label ${[...labels][0]}.`] : [] }
}
