import { badInput, unsupported } from '../base/errors.js'
import type { Image } from '../base/image.js'
import type { Config } from '../ir/index.js'
import type { NDArray } from '../numbers/dtype.js'
import { type Resampling, resizeImage } from './resize-image.js'

const file = 'preprocessor_config.json'

/** Resamplings by the numbers that Pillow gives them. */
const resamplings: readonly Resampling[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming']

interface Size {
  readonly height: number
  readonly width: number
}

/** The images that a model reads. */
export interface ImageShape extends Size {
  readonly channels: number
}

type Step = (image: Image) => Image

/**
 * Makes a model's `pixel_values` of images, as preprocessor_config.json says: grey or colour as the model wants it, resized,
 * cut to the middle, scaled and normalized. What the file does not say is as ViT has it: resized to the model's own size,
 * bilinear, divided by 255, then (x - 0.5) / 0.5.
 *
 * Source: image processors of the Hugging Face library (ViTImageProcessor and those alike).
 *
 * @example
 * new ImageProcessor({}, { channels: 1, height: 28, width: 28 }).pixels([digit]).shape // [1, 1, 28, 28]
 */
export class ImageProcessor {
  readonly shape: ImageShape
  readonly #steps: readonly Step[]
  /** By channel: each number times the first, plus the second. */
  readonly #scales: readonly (readonly [number, number])[]

  /**
   * @param settings the document of preprocessor_config.json, `{}` where there is none
   * @throws TinsmithError `bad-input` naming the key that is wrong; `unsupported` for what is not known
   */
  constructor(settings: Config, shape: ImageShape) {
    if (settings['do_pad'] === true) throw unsupported('padding of images ("do_pad") is not supported', { where: file })
    this.shape = shape
    const { channels } = shape
    this.#steps = [
      (image) => withChannels(image, channels),
      ...(settings['do_resize'] === false ? [] : [resizing(settings, shape)]),
      ...(settings['do_center_crop'] === true ? [cropping(settings)] : []),
    ]
    const factor = settings['do_rescale'] === false ? 1 : numberOf(settings['rescale_factor'] ?? 1 / 255, 'rescale_factor')
    const [mean, deviation] = ['image_mean', 'image_std'].map((key, i) =>
      settings['do_normalize'] === false ? new Array<number>(channels).fill(i) : perChannel(settings[key] ?? 0.5, channels, key),
    )
    this.#scales = deviation.map((each, c) => [factor / each, -mean[c] / each])
  }

  /**
   * One batch.
   *
   * @returns float32 [images, channels, height, width]
   * @throws TinsmithError `bad-input` when the settings lead to another size than the model reads
   */
  pixels(images: readonly Image[]): NDArray {
    const { channels, height, width } = this.shape
    const plane = height * width
    const data = new Float32Array(images.length * channels * plane)
    images.forEach((image, i) => {
      const pixels = this.#prepared(image).data
      this.#scales.forEach(([factor, offset], c) => {
        const start = (i * channels + c) * plane
        for (let p = 0; p < plane; p++) data[start + p] = pixels[p * channels + c] * factor + offset
      })
    })
    return { dtype: 'float32', shape: [images.length, channels, height, width], data }
  }

  #prepared(image: Image): Image {
    const { height, width } = this.shape
    const made = this.#steps.reduce((each, step) => step(each), image)
    if (made.height === height && made.width === width) return made
    throw badInput(`the image becomes ${made.width} x ${made.height} pixels and the model reads ${width} x ${height}`, {
      where: file,
      hint: 'Its "size" or "crop_size" belongs to another model, or "do_resize" is off.',
    })
  }
}

/** To `size`: height and width, or the shorter side, the other keeping its ratio. */
function resizing(settings: Config, shape: ImageShape): Step {
  const number = settings['resample'] ?? resamplings.indexOf('bilinear')
  const resampling = typeof number === 'number' ? resamplings[number] : undefined
  if (!resampling)
    throw unsupported(`the resampling ${JSON.stringify(number)} is not known`, { where: file, hint: 'Known: 0 to 5, as Pillow has them.' })
  const size = settings['size'] ?? { height: shape.height, width: shape.width }
  const shortest = (size as Config)['shortest_edge']
  if (shortest === undefined) {
    const { height, width } = fixedSize(size, 'size')
    return (image) => resizeImage(image, width, height, resampling)
  }
  const short = sideOf(shortest, 'size')
  return (image) => {
    const least = Math.min(image.width, image.height)
    const [width, height] = [image.width, image.height].map((side) => (side === least ? short : Math.trunc((short * side) / least)))
    return resizeImage(image, width, height, resampling)
  }
}

/** The middle of an image; black where it is smaller. */
function cropping(settings: Config): Step {
  const { height, width } = fixedSize(settings['crop_size'] ?? settings['size'], 'crop_size')
  return (image) => {
    const { channels, data } = image
    const [top, left] = [Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2)]
    const pixels = data instanceof Float32Array ? new Float32Array(height * width * channels) : new Uint8Array(height * width * channels)
    const [first, end] = [Math.max(left, 0), Math.min(left + width, image.width)]
    for (let y = Math.max(top, 0); y < Math.min(top + height, image.height); y++) {
      const row = data.subarray((y * image.width + first) * channels, (y * image.width + end) * channels)
      pixels.set(row, ((y - top) * width + first - left) * channels)
    }
    return { width, height, channels, data: pixels }
  }
}

/**
 * Grey by Rec. 601's luma, as Pillow rounds it; grey as three equal channels; opacity is left out.
 *
 * @throws TinsmithError `unsupported` for models that read neither 1 nor 3 channels, unless the image has as many
 */
function withChannels(image: Image, channels: number): Image {
  if (image.channels === channels) return image
  if (channels !== 1 && channels !== 3)
    throw unsupported(`an image with ${image.channels} channels cannot be given to a model that reads ${channels}`)
  const { width, height, data } = image
  const pixels = data instanceof Float32Array ? new Float32Array(width * height * channels) : new Uint8Array(width * height * channels)
  const grey = image.channels < 3
  const luma = (at: number) => (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471) / 65536
  const lumaOf = data instanceof Float32Array ? luma : (at: number) => Math.floor(luma(at) + 0.5)
  for (let p = 0, from = 0; p < width * height; p++, from += image.channels)
    if (channels === 1) pixels[p] = grey ? data[from] : lumaOf(from)
    else for (let c = 0; c < 3; c++) pixels[3 * p + c] = data[grey ? from : from + c]
  return { width, height, channels, data: pixels }
}

/** `{ height, width }`, or a number for both. */
function fixedSize(value: unknown, key: string): Size {
  if (typeof value === 'number') return { height: sideOf(value, key), width: sideOf(value, key) }
  const { height, width } = (value ?? {}) as Record<string, unknown>
  return { height: sideOf(height, key), width: sideOf(width, key) }
}

function sideOf(value: unknown, key: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 2 ** 14) return value
  throw wrong(key, 'height and width in pixels')
}

function numberOf(value: unknown, key: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw wrong(key, 'a number')
}

/** A number for each channel; one for all of them may be given alone. */
function perChannel(value: unknown, channels: number, key: string): number[] {
  const list = [value].flat()
  const all = list.length === 1 ? new Array<unknown>(channels).fill(list[0]) : list
  if (all.length !== channels) throw wrong(key, `${channels} numbers, one for each channel`)
  return all.map((each) => numberOf(each, key))
}

function wrong(key: string, wanted: string) {
  return badInput(`"${key}" must be ${wanted}`, { where: file })
}
