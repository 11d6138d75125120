import type { ByteSink } from '../base/bytes.js'
import type { Tensor } from '../ir/tensor.js'
import { tensorPieces } from './pieces.js'

/** Where tensors go that shall not lie in the model's own file. */
export interface ExternalData {
  /** Opens a file beside the model's for writing. */
  file(name: string): Promise<ByteSink>
  /** Name of the first file (`model.onnx_data`); the next are `model.onnx_data_1` and so on. */
  basename: string
  /** A file ends before the tensor that would make it longer; default 2 * 10^9. */
  chunkBytes?: number
  /** Tensors of fewer bytes stay in the model's file; default 1024. */
  threshold?: number
  /** `needed` (default): only when the model's file would pass 1.9 * 10^9 bytes, the protobuf format's end being at 2^31. */
  when?: 'needed' | 'always'
}

/** A tensor's place in an external file. */
export interface Place {
  readonly file: string
  readonly offset: number
}

/** Places for tensors in files, decided before anything is written; the same tensor has one place. */
export function planExternal(tensors: readonly Tensor[], external: ExternalData): Map<Tensor, Place> {
  const places = new Map<Tensor, Place>()
  const { basename, chunkBytes = 2e9, threshold } = external
  let file = 0
  let end = 0
  for (const tensor of tensors) {
    if (places.has(tensor) || !isExternal(tensor, threshold)) continue
    let offset = aligned(end, tensor.byteLength)
    if (end && offset + tensor.byteLength > chunkBytes) {
      file++
      offset = 0
    }
    places.set(tensor, { file: file ? `${basename}_${file}` : basename, offset })
    end = offset + tensor.byteLength
  }
  return places
}

/** Whether a tensor may lie in another file than the model's, and is worth it. */
export function isExternal(tensor: Tensor, threshold = 1024): boolean {
  return tensor.dtype !== 'string' && tensor.byteLength >= threshold
}

/** Large tensors begin on a page, so that runtimes can map them; small ones on a cache line. */
function aligned(offset: number, byteLength: number): number {
  const alignment = byteLength > 2 ** 20 ? 4096 : 64
  return Math.ceil(offset / alignment) * alignment
}

/** Writes planned tensors one after the other. */
export async function writeExternal(places: ReadonlyMap<Tensor, Place>, external: ExternalData): Promise<void> {
  let name = ''
  let sink: ByteSink | null = null
  let end = 0
  for (const [tensor, { file, offset }] of places) {
    if (!sink || file !== name) {
      await sink?.close()
      sink = await external.file(file)
      name = file
      end = 0
    }
    if (offset > end) await sink.write(new Uint8Array(offset - end))
    for await (const piece of tensorPieces(tensor)) await sink.write(piece)
    end = offset + tensor.byteLength
  }
  await sink?.close()
}
