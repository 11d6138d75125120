import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { SilentProgress } from '../../src/base/progress.js'
import { Random } from '../../src/base/random.js'
import type { Calibration } from '../../src/calibration/calibration.js'
import { collect } from '../../src/calibration/collect.js'
import { calibrationDefaults, calibrationFromFile, calibrationFromTokens } from '../../src/calibration/from-text.js'
import {
  ChannelRangeObserver,
  HistogramObserver,
  MinMaxObserver,
  MomentsObserver,
  ObserverGroup,
  RowSampleObserver,
} from '../../src/calibration/observers.js'
import { probe } from '../../src/calibration/probes.js'
import { selfGenerated } from '../../src/calibration/self-generated.js'
import { openGraph } from '../../src/engine/open.js'
import type { Value } from '../../src/ir/node.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { Tokenizer } from '../../src/pipelines/index.js'
import { wordPieceConfig, wordPieceDefinition } from '../pipelines/fakes.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'

const channels = 4
const rows = (random: Random, count: number) => random.normals(count * channels).map((x, i) => x * (1 + (i % channels)) + (i % channels))
const array = (data: Float32Array) => ndarray('float32', [data.length / channels, channels], data)
const none = new Uint8Array(0)

describe('observers', () => {
  const data = rows(new Random(1), 60)
  const special = Uint8Array.from({ length: 60 }, (_, i) => (i % 7 === 0 ? 1 : 0))
  const make = () => ({
    extremes: new MinMaxObserver(),
    histogram: new HistogramObserver(256),
    moments: new MomentsObserver(channels),
    rows: new RowSampleObserver(channels, 100, new Random(2)),
  })

  it('streaming sees what one look at everything sees', () => {
    const [whole, streamed] = [new ObserverGroup(make()), new ObserverGroup(make())]
    whole.observe(array(data), special)
    let at = 0
    for (const size of [1, 2, 20, 30, 7]) {
      streamed.observe(array(data.slice(at * channels, (at + size) * channels)), special.slice(at, at + size))
      at += size
    }
    expect(at).toBe(60)
    expect(streamed.parts.extremes).toEqual(whole.parts.extremes)
    expect([...streamed.parts.rows.rows]).toEqual([...whole.parts.rows.rows])
    expect([...streamed.parts.rows.special]).toEqual([...special])
    expect(streamed.parts.moments.count).toBe(whole.parts.moments.count)
    for (const key of ['mean', 'variance', 'min', 'max'] as const)
      streamed.parts.moments[key].forEach((x, c) => void expect(x).toBeCloseTo(whole.parts.moments[key][c], 10))
    const total = (observer: HistogramObserver) => Array.from(observer.histogram.counts as ArrayLike<number>).reduce((a, b) => a + b, 0)
    expect(total(streamed.parts.histogram)).toBe(total(whole.parts.histogram))
    expect(total(streamed.parts.histogram)).toBe(240)
  })

  it('moments against their formulas; special tokens count for the extremes alone', () => {
    const observer = new MomentsObserver(channels)
    observer.observe(array(data), special)
    for (let c = 0; c < channels; c++) {
      const all = Array.from({ length: 60 }, (_, row) => data[row * channels + c])
      const plain = all.filter((_, row) => !special[row])
      const mean = plain.reduce((a, b) => a + b, 0) / plain.length
      expect(observer.count).toBe(plain.length)
      expect(observer.mean[c]).toBeCloseTo(mean, 10)
      expect(observer.variance[c]).toBeCloseTo(plain.reduce((sum, x) => sum + (x - mean) ** 2, 0) / plain.length, 8)
      expect([observer.min[c], observer.max[c]]).toEqual([Math.min(...all), Math.max(...all)])
    }
    const empty = new MomentsObserver(channels)
    expect([...empty.mean, ...empty.variance]).toEqual(new Array(8).fill(0))
  })

  it('ranges of channels, for any number of rows in a batch', () => {
    for (let rows = 1; rows < 12; rows++) {
      const observer = new ChannelRangeObserver(channels)
      observer.observe(array(data.subarray(0, rows * channels)))
      for (let c = 0; c < channels; c++) {
        const all = Array.from({ length: rows }, (_, row) => data[row * channels + c])
        expect([observer.min[c], observer.max[c]]).toEqual([Math.min(...all), Math.max(...all)])
      }
    }
  })

  it('a large mean does not eat a small variance, nor make it negative', () => {
    const observer = new MomentsObserver(1)
    const values = Float32Array.from({ length: 1000 }, (_, i) => 1000 + (i % 2 ? 0.125 : -0.125))
    observer.observe(ndarray('float32', [1000, 1], values), none)
    expect(observer.variance[0]).toBeCloseTo(0.125 ** 2, 6)
    const constant = new MomentsObserver(1)
    constant.observe(ndarray('float32', [3, 1], [0.1, 0.1, 0.1]), none)
    expect(constant.variance[0]).toBeGreaterThanOrEqual(0)
  })

  it('the sample of rows is uniform over the stream', () => {
    const [limit, stream, runs] = [10, 50, 2000]
    const drawn = new Float64Array(stream)
    for (let run = 0; run < runs; run++) {
      const observer = new RowSampleObserver(1, limit, new Random(run, 'reservoir'))
      for (let at = 0; at < stream; at += 5) observer.observe(ndarray('float32', [5, 1], [at, at + 1, at + 2, at + 3, at + 4]), none)
      expect(observer.count).toBe(limit)
      expect(new Set(observer.rows).size).toBe(limit)
      for (const row of observer.rows) drawn[row]++
    }
    const expected = (runs * limit) / stream
    const chiSquare = drawn.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    // 49 degrees of freedom: beyond 95 once in ten thousand.
    expect(chiSquare).toBeLessThan(95)
  })

  it('a kept row keeps its mark, and the seed decides', () => {
    const sample = (seed: number) => {
      const observer = new RowSampleObserver(1, 5, new Random(seed))
      for (let i = 0; i < 40; i++) observer.observe(ndarray('float32', [1, 1], [i]), Uint8Array.of(i % 3 === 0 ? 1 : 0))
      observer.rows.forEach((row, i) => void expect(observer.special[i]).toBe(row % 3 === 0 ? 1 : 0))
      return [...observer.rows]
    }
    expect(sample(1)).toEqual(sample(1))
    expect(sample(1)).not.toEqual(sample(2))
  })
})

const context = { open: openGraph, progress: new SilentProgress(), signal: undefined }

describe('collect', () => {
  it('shows observers computed values and inputs, batch by batch', async () => {
    const net = new Net()
    const x = net.input('x', 'float32', ['rows', 2])
    const doubled = net.op('Add', [x, x])
    net.output('y', net.op('Relu', [doubled]))
    const batch = (...values: number[]) => ({
      feeds: { x: ndarray('float32', [values.length / 2, 2], values) },
      special: new Uint8Array(values.length / 2),
    })
    const calibration: Calibration = { batches: [batch(1, -2, 3, 4), batch(-5, 6)], samples: 3, origin: '', hash: '' }
    const observe = async (...values: Value[]) => {
      const observers = new Map(values.map((value) => [value, new MinMaxObserver()]))
      await collect(net.graph, observers, calibration, context)
      return values.map((value) => [observers.get(value)!.min, observers.get(value)!.max])
    }
    expect(await observe(x, doubled, net.graph.outputs[0])).toEqual([
      [-5, 6],
      [-10, 12],
      [0, 12],
    ])
    expect(await observe(x)).toEqual([[-5, 6]])
    expect(net.graph.outputs).toHaveLength(1)
  })
})

describe('probes', () => {
  it.each([
    ['BERT', tinyBertModel(1).graph],
    ['Llama', tinyLlamaModel(1).graph],
  ])('%s: every input, within the tables, the same for the same seed', async (_, graph) => {
    for (const past of [0, 3]) {
      const feeds = probe(graph, new Random(4), past)
      expect(Object.keys(feeds)).toEqual(graph.inputs.map(({ name }) => name))
      expect(probe(graph, new Random(4), past)).toEqual(feeds)
      expect(probe(graph, new Random(5), past)).not.toEqual(feeds)
      for (const id of numbersOf(feeds['input_ids'])) expect(id).toBeLessThan(40)
      if (!past) expect(new Set(numbersOf(feeds['input_ids'])).size).toBeGreaterThan(3)
      const mask = numbersOf(feeds['attention_mask'])
      expect(new Set(mask)).toEqual(new Set([0, 1]))
      const results = await evaluateGraph(graph, feeds)
      for (const result of Object.values(results)) expect(numbersOf(result).every(Number.isFinite)).toBe(true)
    }
    const feeds = probe(graph, new Random(4), 3)
    const length = feeds['input_ids'].shape[1]
    if (feeds['position_ids'])
      expect([...numbersOf(feeds['position_ids'])].slice(0, length)).toEqual(Array.from({ length }, (_, i) => 3 + i))
    if (feeds['past_key_values.0.key']) expect(feeds['past_key_values.0.key'].shape).toEqual([2, 2, 3, 4])
    if (feeds['token_type_ids']) for (const id of numbersOf(feeds['token_type_ids'])) expect(id).toBeLessThan(2)
  })
})

describe('calibration from text', () => {
  const tokenizer = new Tokenizer(wordPieceDefinition, wordPieceConfig, { maxLength: 16 })
  const { graph } = tinyBertModel(1)
  const file = (text: string, name = 'texts.txt') => new MemorySource(new TextEncoder().encode(text), name)
  const words = ['a', 'b', 'c', 'd', 'paris', 'ada', 'was', 'in']
  const random = new Random(1)
  // No two begin alike.
  const texts = Array.from({ length: 60 }, (_, i) =>
    [words[i >> 3], words[i & 7], ...Array.from({ length: random.integer(8) }, () => words[random.integer(8)])].join(' '),
  )

  it('has no padding, marks special tokens, and loses nothing', async () => {
    const calibration = await calibrationFromFile(file(texts.join('\n')), tokenizer, graph, new SilentProgress())
    expect(calibration.samples).toBe(60)
    expect(calibration.origin).toContain('texts.txt')
    const seen: string[] = []
    for (const { feeds, special } of calibration.batches) {
      const [batch, length] = feeds['input_ids'].shape
      expect(numbersOf(feeds['attention_mask']).every((x) => x === 1)).toBe(true)
      expect(special).toHaveLength(batch * length)
      const ids = [...numbersOf(feeds['input_ids'])]
      expect([...special]).toEqual(ids.map((id) => (id === 2 || id === 3 ? 1 : 0)))
      for (let row = 0; row < batch; row++) seen.push(ids.slice(row * length, (row + 1) * length).join())
      expect(Object.keys(feeds).sort()).toEqual(['attention_mask', 'input_ids', 'token_type_ids'])
    }
    expect(seen.sort()).toEqual(texts.map((text) => tokenizer.encodeOne(text).ids.join()).sort())
  })

  it('keeps to the number of samples, the length and the tokens of a batch', async () => {
    const options = { ...calibrationDefaults, samples: 20, maxLength: 5, batchTokens: 15 }
    const calibration = await calibrationFromFile(file(texts.join('\n')), tokenizer, graph, new SilentProgress(), options)
    expect(calibration.samples).toBe(20)
    for (const { feeds } of calibration.batches) {
      const [batch, length] = feeds['input_ids'].shape
      expect(length).toBeLessThanOrEqual(5)
      expect(batch * length).toBeLessThanOrEqual(15)
    }
  })

  it('the hash tells what was read', async () => {
    const hashOf = async (...lines: string[]) =>
      (await calibrationFromFile(file(lines.join('\n')), tokenizer, graph, new SilentProgress())).hash
    expect(await hashOf('a b', 'c')).toBe(await hashOf('a b', 'c'))
    expect(await hashOf('a b', 'c')).not.toBe(await hashOf('a b', 'd'))
  })

  it('warns of texts that begin alike, and refuses a file without any', async () => {
    const progress = new SilentProgress()
    await calibrationFromFile(
      file(
        words
          .concat(words)
          .map((word) => `a ${word}`)
          .join('\n'),
      ),
      tokenizer,
      graph,
      progress,
    )
    expect(progress.warnings.join()).toMatch(/begin alike/)
    const even = new SilentProgress()
    await calibrationFromFile(file(texts.join('\n')), tokenizer, graph, even)
    expect(even.warnings).toEqual([])
    await expect(calibrationFromFile(file('\n\n'), tokenizer, graph, even)).rejects.toMatchObject({ code: 'bad-input' })
  })

  it('feeds a decoder its positions and an empty cache', async () => {
    const decoder = tinyLlamaModel(1).graph
    const row = { ids: [1, 2, 3], types: [0, 0, 0], special: [1, 0, 0] }
    const { batches } = await calibrationFromTokens([row, row], decoder, 0, 'tokens')
    expect(batches).toHaveLength(1)
    const { feeds } = batches[0]
    expect([...numbersOf(feeds['position_ids'])]).toEqual([0, 1, 2, 0, 1, 2])
    expect(feeds['past_key_values.1.value'].shape).toEqual([2, 2, 0, 4])
    const session = await openGraph(decoder)
    expect((await session.run(feeds))['logits'].shape).toEqual([2, 3, 40])
    await session.dispose()
  })

  it('names an input that text cannot give', async () => {
    const net = new Net()
    net.output('y', net.op('Relu', [net.input('pixel_values', 'float32', ['batch_size', 'patches', 3])]))
    await expect(calibrationFromTokens([{ ids: [1], types: [0], special: [0] }], net.graph, 0, '')).rejects.toThrow(/pixel_values/)
  })
})

describe('text that a decoder writes itself', () => {
  const { graph } = tinyLlamaModel(3, { headSize: 8 })
  const write = (seed: number, samples = 3) => selfGenerated(graph, null, 40, new Random(seed), context, { samples, length: 9 })
  const idsOf = ({ batches }: Calibration) => batches.flatMap(({ feeds }) => [...numbersOf(feeds['input_ids'])])

  it('is decided by the seed', async () => {
    const [first, again, other] = [await write(1), await write(1), await write(2)]
    expect(idsOf(again)).toEqual(idsOf(first))
    expect(again.hash).toBe(first.hash)
    expect(idsOf(other)).not.toEqual(idsOf(first))
  })

  it('has the samples and lengths that were asked for, none padded, none alike', async () => {
    const calibration = await write(1, 4)
    const ids = idsOf(calibration)
    expect([calibration.samples, ids.length]).toEqual([4, 36])
    expect(new Set(Array.from({ length: 4 }, (_, i) => ids.slice(i * 9, (i + 1) * 9).join())).size).toBe(4)
    for (const { feeds } of calibration.batches) expect(numbersOf(feeds['attention_mask']).every((x) => x === 1)).toBe(true)
    for (const id of ids) expect(id).toBeLessThan(40)
  })
})
