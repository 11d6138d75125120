import { badInput } from '../../base/errors.js'
import { roundHalfEven } from '../../numbers/rounding.js'
import type { Cache } from './backend.js'
import { type CacheLayer, type CachePart, cacheOffset, partColumns } from './plan/plan.js'
import { smallestScale } from './reference/quantize.js'

/** Bytes of a cache that lie side by side. */
export interface CacheSpan {
  readonly start: number
  readonly bytes: number
}

/**
 * Keys and values of a sequence, in bytes as `sequenceWords` in program.ts says. What is kept as codes is quantized once, when it is written.
 *
 * Source: codes for each token and head: Liu et al., KIVI (2024), section 3; at 8 bits, keys need no scales for each channel.
 */
export abstract class CacheBytes implements Cache {
  constructor(
    readonly layers: readonly CacheLayer[],
    readonly capacity: number,
  ) {}

  /** A copy of some of the bytes. */
  protected abstract bytesOf(span: CacheSpan): Uint8Array
  protected abstract setBytes(start: number, bytes: Uint8Array): void
  abstract dispose(): void

  read(layer: number, part: CachePart, tokens: number): Float32Array {
    const pieces = this.spans(layer, part, 0, tokens).map((span) => this.bytesOf(span))
    const { scales } = this.layers[layer]
    return scales ? decoded(pieces, partColumns(this.layers[layer], part) / scales) : new Float32Array(pieces[0].buffer)
  }

  write(layer: number, part: CachePart, values: Float32Array, first = 0): void {
    const columns = partColumns(this.layers[layer], part)
    const tokens = values.length / columns
    if (first + tokens > this.capacity) throw badInput(`A cache of ${this.capacity} tokens has no room for ${first + tokens}`)
    const { scales } = this.layers[layer]
    const pieces = scales ? encoded(values, scales, columns / scales) : [bytesOf(values)]
    for (const [i, { start }] of this.spans(layer, part, first, tokens).entries()) this.setBytes(start, pieces[i])
  }

  copy(from: CacheBytes, tokens: number): void {
    const source = from.allSpans(0, tokens)
    for (const [i, { start }] of this.allSpans(0, tokens).entries()) this.setBytes(start, from.bytesOf(source[i]))
  }

  /** Where keys and values of tokens from `first` on lie. */
  allSpans(first: number, tokens: number): CacheSpan[] {
    return this.layers.flatMap((_, layer) => (['keys', 'values'] as const).flatMap((part) => this.spans(layer, part, first, tokens)))
  }

  /** Where keys or values of tokens from `first` on lie: the elements, or the codes and then the scales of each head. */
  protected spans(layer: number, part: CachePart, first: number, tokens: number): CacheSpan[] {
    const { capacity, layers } = this
    const { scales = 0 } = layers[layer]
    const row = (scales ? 1 : 4) * partColumns(layers[layer], part)
    const start = capacity * cacheOffset({ caches: layers }, layer, part)
    const heads = Array.from({ length: scales }, (_, head) => ({
      start: start + capacity * (row + 4 * head) + 4 * first,
      bytes: 4 * tokens,
    }))
    return [{ start: start + first * row, bytes: tokens * row }, ...heads]
  }
}

/**
 * Codes of values [tokens, heads, size], and the scales [tokens] of each head: scale = largest magnitude / 127 (1 where that is below 2^-100),
 * code = round(value * (1 / scale)), halves to even; in float32. Where values are not finite, neither is the scale, and codes mean nothing.
 */
function encoded(values: Float32Array, heads: number, size: number): Uint8Array[] {
  const codes = new Int8Array(values.length)
  const scales = Array.from({ length: heads }, () => new Float32Array(values.length / (heads * size)))
  for (let first = 0; first < values.length; first += size) {
    const group = values.subarray(first, first + size)
    const width = Math.fround(group.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127)
    const scale = width < smallestScale ? 1 : width
    const inverse = Math.fround(1 / scale)
    for (const [i, value] of group.entries()) codes[first + i] = roundHalfEven(Math.fround(value * inverse))
    const [token, head] = [Math.floor(first / (heads * size)), (first / size) % heads]
    scales[head][token] = scale
  }
  return [codes, ...scales].map(bytesOf)
}

/** What codes stand for [tokens, heads, size], rounded to float32. */
function decoded([codes, ...scales]: readonly Uint8Array[], size: number): Float32Array {
  const heads = scales.map(({ buffer }) => new Float32Array(buffer))
  const row = heads.length * size
  return Float32Array.from(new Int8Array(codes.buffer), (code, i) => code * heads[Math.floor((i % row) / size)][Math.floor(i / row)])
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}
