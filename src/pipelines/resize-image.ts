import type { Image } from '../base/image.js'

/** How pixels are made of others: Pillow's names. */
export type Resampling = 'nearest' | 'lanczos' | 'bilinear' | 'bicubic' | 'box' | 'hamming'

interface Filter {
  /** Half of its width, in pixels of the smaller image. */
  readonly support: number
  weight(distance: number): number
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

const filters: Readonly<Record<Exclude<Resampling, 'nearest'>, Filter>> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x))) },
  bicubic: {
    support: 2,
    weight(x) {
      const d = Math.abs(x)
      if (d < 1) return (1.5 * d - 2.5) * d * d + 1
      return d < 2 ? -0.5 * (((d - 5) * d + 8) * d - 4) : 0
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}

/** Bits after the point of weights for 8-bit pixels. */
const precision = 22

/**
 * An image in another size, pixel for pixel as `Image.resize` of Pillow 12 makes it: rows first, then columns; when it shrinks
 * the filter is widened. Pixels of 8 bits are rounded after each direction, others are not.
 *
 * Source: Pillow, libImaging/Resample.c.
 *
 * @example
 * resizeImage({ width: 2, height: 1, channels: 1, data: Uint8Array.of(10, 30) }, 1, 1, 'box').data // [20]
 */
export function resizeImage(image: Image, width: number, height: number, resampling: Resampling): Image {
  if (image.width === width && image.height === height) return image
  if (resampling === 'nearest') return nearest(image, width, height)
  const { channels } = image
  const rows = image.width === width ? image : resizeRows(image, width, filters[resampling])
  if (rows.height === height) return rows
  const flat: Image = { ...rows, data: transposed(rows.data, rows.height, width, channels), width: rows.height, height: width }
  const resized = resizeRows(flat, height, filters[resampling])
  return { width, height, channels, data: transposed(resized.data, width, height, channels) }
}

function nearest({ width: w, height: h, channels, data }: Image, width: number, height: number): Image {
  const pixels = like(data, width * height * channels)
  const columns = steps(w, width)
  let at = 0
  for (const row of steps(h, height))
    for (const column of columns) for (let c = 0, from = (row * w + column) * channels; c < channels; c++) pixels[at++] = data[from + c]
  return { width, height, channels, data: pixels }
}

/** The pixel nearest to each new one; positions are summed up, which decides where two are equally near. */
function steps(from: number, to: number): number[] {
  const scale = from / to
  let position = scale * 0.5
  return Array.from({ length: to }, () => {
    const pixel = Math.min(from - 1, Math.trunc(position))
    position += scale
    return pixel
  })
}

/** Room for pixels of the same kind. */
function like(data: Image['data'], length: number): Image['data'] {
  return data instanceof Float32Array ? new Float32Array(length) : new Uint8ClampedArray(length)
}

/** The pixels that a new one is made of: the first, and their weights. */
interface Taps {
  readonly first: number
  readonly weights: Float64Array
}

function tapsOf(from: number, to: number, { support, weight }: Filter): Taps[] {
  const scale = from / to
  const widened = Math.max(scale, 1)
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale
    const first = Math.max(0, Math.trunc(center - support * widened + 0.5))
    const end = Math.min(from, Math.trunc(center + support * widened + 0.5))
    const weights = Float64Array.from({ length: end - first }, (_, k) => weight((k + first - center + 0.5) / widened))
    const sum = weights.reduce((total, each) => total + each, 0)
    return { first, weights: weights.map((each) => (sum ? each / sum : each)) }
  })
}

function resizeRows(image: Image, width: number, filter: Filter): Image {
  const { height, channels, data } = image
  const taps = tapsOf(image.width, width, filter)
  const inBytes = !(data instanceof Float32Array)
  const pixels = like(data, width * height * channels)
  const [unit, half] = inBytes ? [2 ** precision, 2 ** (precision - 1)] : [1, 0]
  const weighted = taps.map(({ first, weights }) => ({ first, weights: inBytes ? weights.map((w) => roundAway(w * unit)) : weights }))
  for (let y = 0, at = 0; y < height; y++)
    for (const { first, weights } of weighted)
      for (let c = 0; c < channels; c++) {
        let sum = half
        for (let k = 0, from = (y * image.width + first) * channels + c; k < weights.length; k++, from += channels)
          sum += data[from] * weights[k]
        pixels[at++] = inBytes ? Math.floor(sum / unit) : sum
      }
  return { width, height, channels, data: pixels }
}

/** Half away from zero, as C programs write it. */
function roundAway(x: number): number {
  return Math.trunc(x + (x < 0 ? -0.5 : 0.5))
}

/** [rows, columns, channels] -> [columns, rows, channels] */
function transposed(data: Image['data'], rows: number, columns: number, channels: number): Image['data'] {
  const result = like(data, data.length)
  for (let y = 0, from = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) for (let c = 0; c < channels; c++) result[(x * rows + y) * channels + c] = data[from++]
  return result
}
