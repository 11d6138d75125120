import { badInput, unsupported } from './errors.js'
import type { Image } from './image.js'

/** By sharp, which the application installs. */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Image> {
  const sharp = await loadSharp()
  try {
    const picture = sharp(bytes)
    const { channels } = await picture.metadata()
    const space = channels < 3 ? 'b-w' : 'srgb'
    const { data, info } = await picture.autoOrient().toColourspace(space).raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    return { width: info.width, height: info.height, channels: info.channels as Image['channels'], data: new Uint8Array(data) }
  } catch (error) {
    throw badInput(`this is no image that can be read (${(error as Error).message.trim()})`, {
      where: name,
      hint: 'Give a PNG, JPEG, WebP, GIF, AVIF or TIFF file.',
      cause: error,
    })
  }
}

async function loadSharp(): Promise<typeof import('sharp')['default']> {
  try {
    return (await import('sharp')).default
  } catch (error) {
    throw unsupported('image files need the package sharp, which is not there', {
      hint: 'Run `npm install sharp`, or give pixels.',
      cause: error,
    })
  }
}
