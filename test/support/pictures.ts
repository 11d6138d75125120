import fs from 'node:fs'
import path from 'node:path'
import type { Image } from '../../src/base/image.js'

const sharp = await import('sharp').then(
  (module) => module.default,
  () => null,
)

/** False (and a message) where the package that decodes images is absent. */
export const canDecode = sharp !== null
if (!canDecode) console.warn('skipped: sharp is absent, so no image files are tested')

/** Writes an image file of the format that the path's extension names. */
export async function writePicture(file: string, { width, height, channels, data }: Image): Promise<void> {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  await sharp!(Buffer.from(data), { raw: { width, height, channels } })
    .toColourspace(channels < 3 ? 'b-w' : 'srgb')
    .toFile(file)
}

/** An image of one grey. */
export const grey = (level: number, size = 4): Image => ({
  width: size,
  height: size,
  channels: 1,
  data: new Uint8Array(size * size).fill(level),
})
