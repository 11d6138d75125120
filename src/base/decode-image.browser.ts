import { badInput } from './errors.js'
import type { Image } from './image.js'

/** By the browser. */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Image> {
  const bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]), { premultiplyAlpha: 'none' }).catch((error) => {
    throw badInput(`this is no image that can be read (${(error as Error).message})`, { where: name, cause: error })
  })
  const { width, height } = bitmap
  const context = new OffscreenCanvas(width, height).getContext('2d')!
  context.drawImage(bitmap, 0, 0)
  bitmap.close()
  return { width, height, channels: 4, data: context.getImageData(0, 0, width, height).data }
}
