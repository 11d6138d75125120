import { describe, expect, it } from 'vitest'
import type { Feeds } from '../../src/engine/session.js'
import { type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { generateIds } from '../../src/pipelines/index.js'
import { byteTokenizer, FakeSession, pipelineOf, port, textPorts } from './fakes.js'

const vocabulary = 257
const heads = 2
const headSize = 3

/** The id that follows: any function of all ids before it. */
const following = (ids: readonly number[]) => 97 + (ids.reduce((sum, id, i) => (sum + (i + 1) * id) % 26, 0) % 26)

function logitsAfter(ids: readonly number[], last: number): NDArray {
  const data = new Float32Array(last * vocabulary)
  for (let at = 0; at < last; at++) data[at * vocabulary + following(ids.slice(0, ids.length - last + at + 1))] = 5
  return { dtype: 'float32', shape: [1, last, vocabulary], data }
}

/** A decoder whose cache holds the ids themselves, so that a wrong cache gives a wrong text. */
function cachedDecoder(): FakeSession {
  const cache = (name: string, symbol: string) => port(name, ['batch_size', heads, symbol, headSize], 'float16')
  return new FakeSession(
    [
      port('input_ids', ['batch_size', 'sequence_length']),
      port('attention_mask', ['batch_size', 'past_sequence_length + sequence_length']),
      port('position_ids', ['batch_size', 'sequence_length']),
      port('num_logits_to_keep', []),
      cache('past_key_values.0.key', 'past_sequence_length'),
    ],
    [
      port('logits', ['batch_size', 'sequence_length', vocabulary], 'float32'),
      cache('present.0.key', 'past_sequence_length + sequence_length'),
    ],
    (feeds) => {
      const past = feeds['past_key_values.0.key']
      const before = past.shape[2]
      const ids = [...numbersOf(past).subarray(0, before * headSize)].filter((_, i) => i % headSize === 0)
      ids.push(...numbersOf(feeds['input_ids']))
      const data = new Float32Array(heads * ids.length * headSize)
      for (let i = 0; i < data.length; i++) data[i] = ids[Math.floor(i / headSize) % ids.length]
      return {
        logits: logitsAfter(ids, Number(numbersOf(feeds['num_logits_to_keep'])[0]) || ids.length - before),
        'present.0.key': { dtype: 'float16', shape: [1, heads, ids.length, headSize], data },
      }
    },
  )
}

const plainDecoder = () =>
  new FakeSession(textPorts, [port('logits', ['batch_size', 'sequence_length', vocabulary], 'float32')], (feeds) => {
    const ids = [...numbersOf(feeds['input_ids'])]
    return { logits: logitsAfter(ids, ids.length) }
  })

function expectedIds(prompt: readonly number[], count: number): number[] {
  const ids = [...prompt]
  while (ids.length < prompt.length + count) ids.push(following(ids))
  return ids.slice(prompt.length)
}

async function collect(ids: AsyncIterable<number>): Promise<number[]> {
  const all: number[] = []
  for await (const id of ids) all.push(id)
  return all
}

const shapes = (feeds: Feeds) => Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, array.shape]))

describe('generateIds', () => {
  const prompt = [100, 101, 102]

  it('feeds an empty cache first, then one token and its own outputs, and frees them', async () => {
    const session = cachedDecoder()
    expect(await collect(generateIds(session, prompt, { maxNewTokens: 5 }))).toEqual(expectedIds(prompt, 5))
    expect(session.runs.map(shapes)).toEqual(
      [3, 1, 1, 1, 1].map((fresh, step) => ({
        input_ids: [1, fresh],
        attention_mask: [1, 3 + step],
        position_ids: [1, fresh],
        num_logits_to_keep: [],
        'past_key_values.0.key': [1, heads, step ? 2 + step : 0, headSize],
      })),
    )
    expect(session.runs.map((feeds) => [...numbersOf(feeds['position_ids'])])).toEqual([[0, 1, 2], [3], [4], [5], [6]])
    expect(session.runs[0]['past_key_values.0.key'].dtype).toBe('float16')
    const caches = session.made.filter((output) => output.dtype === 'float16')
    expect(session.runs.slice(1).map((feeds) => caches.indexOf(feeds['past_key_values.0.key'] as (typeof caches)[0]))).toEqual([0, 1, 2, 3])
    expect(session.made.every((output) => output.disposed)).toBe(true)
  })

  it('gives the same without a cache', async () => {
    expect(await collect(generateIds(plainDecoder(), prompt, { maxNewTokens: 5 }))).toEqual(expectedIds(prompt, 5))
  })

  it('ends at a stop id, which it does not give out, and when the signal fires', async () => {
    const expected = expectedIds(prompt, 8)
    const stop = expected.findIndex((id, i) => i > 2 && !expected.slice(0, i).includes(id))
    expect(await collect(generateIds(cachedDecoder(), prompt, { stopIds: new Set([expected[stop]]) }))).toEqual(expected.slice(0, stop))
    const session = cachedDecoder()
    await expect(collect(generateIds(session, prompt, { signal: AbortSignal.abort() }))).rejects.toMatchObject({ code: 'interrupted' })
  })

  it('frees the cache when its reader stops early', async () => {
    const session = cachedDecoder()
    for await (const _ of generateIds(session, prompt)) break
    expect(session.made.every((output) => output.disposed)).toBe(true)
  })
})

describe('generate', () => {
  const pipeline = () => pipelineOf(cachedDecoder(), { tokenizer: byteTokenizer() })
  const expected = (prompt: string, count: number) => String.fromCharCode(...expectedIds([...new TextEncoder().encode(prompt)], count))

  it('gives the text after the prompt, whole and in pieces', async () => {
    const pieces: string[] = []
    expect(await pipeline().generate('hé', { maxNewTokens: 6, onText: (piece) => pieces.push(piece) })).toBe(expected('hé', 6))
    expect(pieces.join('')).toBe(expected('hé', 6))
    expect(pieces).toHaveLength(6)
  })

  it('takes conversations through the template', async () => {
    const ids = byteTokenizer().ids('user: Hi<end>bot:')
    expect(ids).toContain(256)
    expect(await pipeline().generate([{ role: 'user', content: 'Hi' }], { maxNewTokens: 4 })).toBe(
      String.fromCharCode(...expectedIds(ids, 4)),
    )
  })

  it('stops before a stop string', async () => {
    const text = expected('abc', 10)
    const stop = text.slice(4, 6)
    expect(await pipeline().generate('abc', { maxNewTokens: 10, stop: [stop] })).toBe(text.slice(0, text.indexOf(stop)))
  })

  it('stays within the limit of the model', async () => {
    await expect(pipeline().generate('a'.repeat(1000))).rejects.toMatchObject({ code: 'bad-input' })
    expect(await pipeline().generate('a'.repeat(997), { maxNewTokens: 10 })).toHaveLength(3)
  })

  it('wants a prompt or a token that begins one', async () => {
    await expect(pipeline().generate('')).rejects.toMatchObject({ code: 'bad-input' })
    const started = pipelineOf(cachedDecoder(), { tokenizer: byteTokenizer(), generationConfig: { bos_token_id: 256 } })
    expect(await started.generate('', { maxNewTokens: 2 })).toBe(String.fromCharCode(...expectedIds([256], 2)))
  })

  it('refuses models that do not predict tokens', async () => {
    const encoder = new FakeSession(textPorts, [port('last_hidden_state', ['batch_size', 'sequence_length', 2], 'float32')], () => ({
      last_hidden_state: ndarray('float32', [1, 1, 2], [0, 0]),
    }))
    await expect(pipelineOf(encoder).generate('a')).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('cannot generate'),
    })
  })
})
