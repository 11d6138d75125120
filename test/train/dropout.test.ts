import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import { verify } from '../../src/ir/verify.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { adapterFrom, adapterNames } from '../../src/train/adapters/index.js'
import { Dropout } from '../../src/train/dropout.js'
import { classification, sentences, tinyClassifier } from './runs.js'

const probability = 0.25
const graph = tinyClassifier()
const dropout = Dropout.insert(graph, probability)
const batch = async (copies = 40) => {
  const { labels: _, ...feeds } = await classification.batch(
    Array.from({ length: copies }, () => sentences[0]),
    new Random(1),
  )
  return feeds
}
const masksOf = async (seed: number) => dropout.masks(graph, await batch(), new Random(seed))

describe('dropout', () => {
  test('stands on the probabilities and on what attention and feed-forward add, in every block', async () => {
    const shapes = Object.values(await masksOf(1)).map((mask) => mask.shape.join())
    expect(shapes).toEqual([...['40,2,5,5', '40,5,16', '40,5,16'], ...['40,2,5,5', '40,5,16', '40,5,16']])
  })

  test('keeps the share that it was told, within four standard errors', async () => {
    const bits = Object.values(await masksOf(2)).flatMap((mask) => [...(mask.data as Uint8Array)])
    const kept = bits.reduce((a, b) => a + b, 0) / bits.length
    expect(Math.abs(kept - (1 - probability))).toBeLessThan(4 * Math.sqrt((probability * (1 - probability)) / bits.length))
  })

  test('the same seed gives the same masks; seeds and places have masks of their own', async () => {
    const [first, again, other] = [await masksOf(3), await masksOf(3), await masksOf(4)]
    expect(again).toEqual(first)
    expect(other['dropout/0'].data).not.toEqual(first['dropout/0'].data)
    expect(first['dropout/1'].data).not.toEqual(first['dropout/2'].data)
  })

  test('the expectation of what a mask leaves is the value itself', async () => {
    const place = graph.value('dropout/1')!
    const { node } = [...place.uses][0]
    const session = await openGraph(graph, { observe: [node.output.name, node.input(1)!.name] })
    const feeds = await batch(400)
    const masks = dropout.masks(graph, feeds, new Random(5))
    const ones = Object.fromEntries(
      Object.entries(masks).map(([name, mask]) => [name, { ...mask, data: (mask.data as Uint8Array).slice().fill(1) }]),
    )
    const result = await session.run({ ...feeds, ...ones, 'dropout/1': masks['dropout/1'] })
    await session.dispose()
    const [masked, scaled] = [node.output, node.input(1)!].map((value) => numbersOf(result[value.name]))
    const rows = 400
    const width = masked.length / rows
    for (let i = 0; i < width; i++) {
      const mean = Array.from({ length: rows }, (_, row) => masked[row * width + i]).reduce((a, b) => a + b, 0) / rows
      const exact = scaled[i] * (1 - probability)
      const error = Math.abs(scaled[i]) * Math.sqrt((probability * (1 - probability)) / rows)
      expect(Math.abs(mean - exact)).toBeLessThan(5 * error + 1e-6)
    }
  })

  test.each(adapterNames)('stands at the same places in a graph with %s', (name) => {
    const adapted = tinyClassifier()
    adapterFrom({ name }).insert(adapted, new Random(1))
    Dropout.insert(adapted, probability)
    const sites = adapted.inputs.filter((input) => input.name.startsWith('dropout/'))
    expect(sites.map((site) => site.shape!.length)).toEqual([4, 3, 3, 4, 3, 3])
    verify(adapted)
  })

  test('a probability of 0 changes nothing', () => {
    const plain = tinyClassifier()
    const before = plain.size
    Dropout.insert(plain, 0)
    expect(plain.size).toBe(before)
  })
})
