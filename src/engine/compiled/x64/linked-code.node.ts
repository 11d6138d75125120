import { keep, keptFile, readKept, thisScript } from '../../../base/kept-files.node.js'
import { roundUp } from '../plan/steps.js'
import type { Features } from './features.js'

/** Of pieces; their constants are vectors of 64 bytes at most. */
const alignment = 64

/** Pieces of code, each once, and where they begin. */
export interface LinkedCode {
  readonly code: Uint8Array
  readonly offsets: ReadonlyMap<string, number>
}

/**
 * Puts pieces of code together. What an earlier process made is taken as it was kept.
 *
 * @param codes by keys, which say all that a piece depends on beside the features
 * @param features those that the pieces are made for; null where they run on every processor
 * @param script what makes the code: where it is undefined nothing is kept
 */
export function linkedCode(
  codes: ReadonlyMap<string, () => Uint8Array>,
  features: Features | null,
  script: string | undefined = thisScript,
): LinkedCode {
  const keys = [...codes.keys()]
  const file = script && keptFile(script, 'kernels', features, keys)
  const kept = file && readKept(file)
  const bytes = kept || linked([...codes.values()].map((code) => code()))
  if (file && !kept) keep(file, bytes)
  const offsets = new DataView(bytes.buffer, bytes.byteOffset)
  return { code: bytes.subarray(4 * keys.length), offsets: new Map(keys.map((key, i) => [key, offsets.getUint32(4 * i, true)])) }
}

/** Where each piece begins, in numbers of 32 bits, and behind them the pieces. */
function linked(pieces: readonly Uint8Array[]): Uint8Array {
  const offsets = new Uint32Array(pieces.length)
  let end = 0
  for (const [i, { length }] of pieces.entries()) {
    offsets[i] = end
    end += roundUp(length, alignment)
  }
  const bytes = new Uint8Array(offsets.byteLength + end)
  bytes.set(new Uint8Array(offsets.buffer))
  for (const [i, piece] of pieces.entries()) bytes.set(piece, offsets.byteLength + offsets[i])
  return bytes
}
