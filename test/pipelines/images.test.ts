import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Image } from '../../src/base/image.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { ImageProcessor, type Resampling, resizeImage } from '../../src/pipelines/index.js'
import { FakeSession, pipelineOf, port } from './fakes.js'

const resamplings: readonly Resampling[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming']

const image = (width: number, height: number, channels: Image['channels'], pixel: (x: number, y: number, c: number) => number): Image => ({
  width,
  height,
  channels,
  data: Uint8Array.from({ length: width * height * channels }, (_, i) =>
    pixel(Math.floor(i / channels) % width, Math.floor(i / channels / width), i % channels),
  ),
})

const side = fc.integer({ min: 1, max: 12 })
const pictures = fc
  .record({ width: side, height: side, channels: fc.constantFrom<Image['channels']>(1, 3), seed: fc.nat(1000) })
  .map(({ width, height, channels, seed }) => image(width, height, channels, (x, y, c) => (x * x * 37 + y * 91 + c * 53 + seed) % 256))

describe('resizeImage', () => {
  /** What Pillow 12 makes of (i² * 37 + i * 11) mod 256 in 5 x 4, as 3 x 6. */
  const pillow: Record<Resampling, number[]> = {
    nearest: [0, 170, 124, 212, 98, 24, 212, 98, 24, 226, 84, 238, 226, 84, 238, 42, 128, 254],
    lanczos: [5, 138, 129, 76, 122, 85, 200, 119, 98, 247, 150, 225, 163, 154, 242, 86, 144, 201],
    bilinear: [21, 130, 118, 97, 122, 99, 183, 121, 107, 224, 150, 216, 167, 151, 228, 99, 144, 211],
    bicubic: [8, 134, 123, 87, 122, 90, 190, 119, 96, 236, 150, 225, 166, 152, 237, 89, 144, 210],
    box: [24, 170, 117, 165, 98, 88, 165, 98, 88, 236, 84, 245, 109, 128, 204, 109, 128, 204],
    hamming: [18, 144, 119, 98, 127, 96, 179, 110, 77, 232, 130, 238, 164, 135, 230, 93, 139, 216],
  }

  it.each(resamplings)('%s: as Pillow does it', (resampling) => {
    const given = image(5, 4, 1, (x, y) => ((5 * y + x) ** 2 * 37 + (5 * y + x) * 11) % 256)
    expect([...resizeImage(given, 3, 6, resampling).data]).toEqual(pillow[resampling])
  })

  it.each(resamplings)('%s: one colour stays one colour', (resampling) => {
    fc.assert(
      fc.property(side, side, side, side, fc.nat(255), (width, height, toWidth, toHeight, colour) => {
        const resized = resizeImage(
          image(width, height, 1, () => colour),
          toWidth,
          toHeight,
          resampling,
        )
        expect(resized).toMatchObject({ width: toWidth, height: toHeight, channels: 1 })
        expect(new Set(resized.data)).toEqual(new Set([colour]))
      }),
    )
  })

  it.each(resamplings)('%s: floats become what bytes become, but for rounding', (resampling) => {
    fc.assert(
      fc.property(pictures, side, side, (picture, width, height) => {
        // Bytes cut overshoot off; of colours near the middle no kernel makes any outside 0..255.
        const middling = { ...picture, data: Uint8Array.from(picture.data, (x) => 98 + Math.round((60 * x) / 255)) }
        const bytes = resizeImage(middling, width, height, resampling).data
        const floats = resizeImage({ ...middling, data: Float32Array.from(middling.data) }, width, height, resampling).data
        expect(floats).toBeInstanceOf(Float32Array)
        // Half a step after the first direction, which weights with negative ones enlarge by at most two, and half a step after the second.
        const tolerance = 1.51
        bytes.forEach((byte, i) => void expect(Math.abs(byte - floats[i])).toBeLessThanOrEqual(tolerance))
      }),
    )
  })

  it('a box that shrinks takes means, bilinear that doubles puts three quarters and one', () => {
    const checkered = image(4, 2, 1, (x, y) => 10 * x + 100 * y)
    expect([...resizeImage(checkered, 2, 1, 'box').data]).toEqual([55, 75])
    expect([
      ...resizeImage(
        image(2, 1, 1, (x) => 100 * x),
        4,
        1,
        'bilinear',
      ).data,
    ]).toEqual([0, 25, 75, 100])
  })
})

describe('ImageProcessor', () => {
  const colours = image(2, 2, 3, (x, y, c) => 100 * x + 50 * y + c)
  const pixels = (settings: Record<string, unknown>, given: Image, shape: { channels: number; height: number; width: number }) => [
    ...numbersOf(new ImageProcessor(settings, shape).pixels([given])),
  ]
  const plain = { do_rescale: false, do_normalize: false }

  it('puts channels first, scales and normalizes', () => {
    const settings = { image_mean: [0.1, 0.2, 0.3], image_std: [0.5, 0.25, 1], rescale_factor: 1 / 128 }
    const expected = [0, 1, 2].flatMap((c) =>
      [0, 100, 50, 150].map((pixel) => ((pixel + c) / 128 - settings.image_mean[c]) / settings.image_std[c]),
    )
    pixels(settings, colours, { channels: 3, height: 2, width: 2 }).forEach((x, i) => void expect(x).toBeCloseTo(expected[i], 5))
  })

  it('does without a file what ViT does', () => {
    const seen = pixels(
      {},
      image(1, 1, 1, () => 255),
      { channels: 1, height: 3, width: 2 },
    )
    expect(seen).toEqual([1, 1, 1, 1, 1, 1])
  })

  it('makes grey of colour, and colour of grey, and leaves opacity out', () => {
    const one = { channels: 1, height: 1, width: 1 }
    const pixel = (channels: Image['channels'], ...data: number[]): Image => ({
      width: 1,
      height: 1,
      channels,
      data: Uint8Array.from(data),
    })
    expect(pixels(plain, pixel(3, 200, 100, 50), one)).toEqual([Math.round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)])
    expect(pixels(plain, pixel(4, 8, 8, 8, 0), one)).toEqual([8])
    expect(pixels(plain, pixel(2, 9, 0), { ...one, channels: 3 })).toEqual([9, 9, 9])
    expect(pixels(plain, pixel(4, 1, 2, 3, 4), { ...one, channels: 3 })).toEqual([1, 2, 3])
  })

  it('resizes to the shorter side and takes the middle', () => {
    const wide = image(6, 3, 1, (x) => 10 * x)
    const settings = { ...plain, size: { shortest_edge: 3 }, do_center_crop: true, crop_size: { height: 3, width: 2 } }
    expect(pixels(settings, wide, { channels: 1, height: 3, width: 2 })).toEqual([20, 30, 20, 30, 20, 30])
  })

  it('sets a small image in the middle of black', () => {
    const settings = { ...plain, do_resize: false, do_center_crop: true, crop_size: 3 }
    expect(
      pixels(
        settings,
        image(1, 1, 1, () => 7),
        { channels: 1, height: 3, width: 3 },
      ),
    ).toEqual([0, 0, 0, 0, 7, 0, 0, 0, 0])
  })

  it.each([
    [{ do_resize: false }, /becomes 2 x 2 pixels and the model reads 4 x 4/],
    [{ size: { longest_edge: 9 } }, /"size" must be height and width/],
    [{ resample: 9 }, /resampling 9 is not known/],
    [{ image_mean: [0, 1] }, /"image_mean" must be 3 numbers/],
    [{ rescale_factor: 'x' }, /"rescale_factor" must be a number/],
    [{ do_pad: true }, /do_pad/],
  ])('says what is wrong with %o', (settings, message) => {
    expect(() => pixels(settings, colours, { channels: 3, height: 4, width: 4 })).toThrow(message)
  })
})

describe('classifyImages', () => {
  /** The mean of the pixels and its negative. */
  const session = new FakeSession(
    [port('pixel_values', ['b', 1, 2, 2], 'float32')],
    [port('logits', ['b', 2], 'float32')],
    ({ pixel_values: { data, shape } }) => {
      const means = Array.from({ length: shape[0] }, (_, i) =>
        (data as Float32Array).subarray(4 * i, 4 * i + 4).reduce((a, b) => a + b / 4, 0),
      )
      return {
        logits: ndarray(
          'float32',
          [shape[0], 2],
          means.flatMap((mean) => [mean, -mean]),
        ),
      }
    },
  )
  const config = { id2label: { 0: 'light', 1: 'dark' } }
  const pipeline = pipelineOf(session, { tokenizer: null, config })

  it('gives the labels of each image, batch by batch', async () => {
    const given = [250, 10, 200].map((grey) => image(5, 3, 3, () => grey))
    expect(pipeline.kind).toBe('classify-images')
    const batches: number[] = []
    const labels = await pipeline.classifyImages(given, { batchSize: 2, onBatch: (count) => void batches.push(count) })
    expect(labels.map(([best]) => best.label)).toEqual(['light', 'dark', 'light'])
    expect(labels[0][0].score + labels[0][1].score).toBeCloseTo(1, 6)
    expect(batches).toEqual([2, 1])
    expect(session.made.every(({ disposed }) => disposed)).toBe(true)
  })

  it('refuses pixels that fill no image, and texts', async () => {
    await expect(pipeline.classifyImages([{ width: 2, height: 2, channels: 1, data: new Uint8Array(3) }])).rejects.toThrow(
      /cannot have 3 numbers/,
    )
    await expect(pipeline.classify(['text'])).rejects.toMatchObject({ code: 'bad-input' })
  })
})
