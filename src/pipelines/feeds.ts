import { badInput } from '../base/errors.js'
import type { Feeds, Port, Session } from '../engine/session.js'
import { allocate, type NDArray, ndarray, sizeOf } from '../numbers/dtype.js'
import { type Encoding, toDType } from './encoding.js'

/** What text feeds a graph with, before it is cut to the inputs that the graph has. */
export interface TextFeeds {
  /** [batch, length] */
  readonly input_ids: NDArray
  /** [batch, past length + length] */
  readonly attention_mask: NDArray
  /** [batch, length] */
  readonly token_type_ids?: NDArray
}

/**
 * The feeds of a graph for tokenized text: exactly its inputs, in their dtypes. Position ids come from the mask, an empty
 * key-value cache from the ports' shapes, token types are 0 where there are none.
 *
 * @param given arrays for other inputs (a key-value cache), by the input's name
 * @throws TinsmithError `bad-input` naming an input which text cannot give
 */
export function textFeeds(session: Pick<Session, 'inputs'>, text: TextFeeds, given: Feeds = {}): Feeds {
  const [batch, length] = text.input_ids.shape
  return Object.fromEntries(session.inputs.map((port) => [port.name, given[port.name] ?? feedOf(port, text, batch, length)]))
}

function feedOf(port: Port, text: TextFeeds, batch: number, length: number): NDArray {
  switch (port.name) {
    case 'input_ids':
      return toDType(text.input_ids, port.dtype)
    case 'attention_mask':
      return toDType(text.attention_mask, port.dtype)
    case 'token_type_ids':
      return toDType(text.token_type_ids ?? ndarray('int64', [batch, length], new Array(batch * length).fill(0)), port.dtype)
    case 'position_ids':
      return toDType(positionsOf(text.attention_mask, length), port.dtype)
    case 'num_logits_to_keep':
      return ndarray(port.dtype, oneElement(port), [0])
    case 'use_cache_branch':
      return ndarray(port.dtype, [1], [0])
  }
  if (isCache(port)) return emptyCache(port, batch)
  throw badInput(`the model wants the input ${port.name}, which text does not give`, { where: port.name })
}

/** The shape of an input that holds one number. */
export function oneElement(port: Port): number[] {
  return port.shape.map(() => 1)
}

/** Whether an input takes what an earlier run gave (key-value cache, states). */
export function isCache(port: Port): boolean {
  return port.name.startsWith('past')
}

/** An empty cache: the batch's symbol becomes its size, other symbols 0. */
export function emptyCache(port: Port, batch: number): NDArray {
  const shape = port.shape.map((dim) => (typeof dim === 'number' ? dim : /^batch/.test(dim) ? batch : 0))
  return { dtype: port.dtype, shape, data: allocate(port.dtype, sizeOf(shape)) }
}

/** The cache input that each output feeds: `present.0.key` to `past_key_values.0.key`, `present_conv.0` to `past_conv.0`. */
export function cachePairs(session: Session): Map<string, string> {
  const outputs = new Set(session.outputs.map((port) => port.name))
  const pairs = new Map<string, string>()
  for (const { name } of session.inputs.filter(isCache)) {
    const output = [name.replace(/^past_key_values/, 'present'), name.replace(/^past/, 'present')].find((candidate) =>
      outputs.has(candidate),
    )
    if (output) pairs.set(output, name)
  }
  return pairs
}

/**
 * Positions of the last `length` tokens: each token's count of tokens before it; padding has 0.
 *
 * @param mask [batch, past length + length]
 * @returns int64 [batch, length]
 */
export function positionsOf(mask: NDArray, length: number): NDArray {
  const [batch, total] = mask.shape
  const positions: number[] = []
  for (let row = 0; row < batch; row++) {
    let seen = 0
    for (let at = 0; at < total; at++) {
      const token = Number(mask.data[row * total + at]) !== 0
      if (at >= total - length) positions.push(token ? seen : 0)
      if (token) seen++
    }
  }
  return ndarray('int64', [batch, length], positions)
}

/** The part of an encoding that graphs take. */
export function feedsOfEncoding({ input_ids, attention_mask, token_type_ids }: Encoding): TextFeeds {
  return { input_ids, attention_mask, token_type_ids }
}
