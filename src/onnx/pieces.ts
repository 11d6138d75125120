import { StoredTensor, type Tensor } from '../ir/tensor.js'
import type { LazyBytes } from './wire.js'

/** What is copied from file to file at a time. */
const pieceBytes = 2 ** 24

/** A tensor as a blob of a message that is about to be written. */
export class TensorBytes implements LazyBytes {
  readonly tensor: Tensor
  readonly length: number

  constructor(tensor: Tensor) {
    this.tensor = tensor
    this.length = tensor.byteLength
  }

  read(): Promise<Uint8Array> {
    return this.tensor.bytes()
  }
}

/** The bytes of a tensor; those of a stored one piece by piece, so that it is never in memory whole. */
export async function* tensorPieces(tensor: Tensor): AsyncGenerator<Uint8Array> {
  const { byteLength } = tensor
  if (!(tensor instanceof StoredTensor) || byteLength <= pieceBytes) {
    const bytes = await tensor.bytes()
    if (bytes.length !== byteLength) throw new Error(`a tensor of ${byteLength} bytes gave ${bytes.length}`)
    yield bytes
    return
  }
  for (let at = 0; at < byteLength; at += pieceBytes)
    yield await tensor.source.read(tensor.offset + at, Math.min(pieceBytes, byteLength - at))
}
