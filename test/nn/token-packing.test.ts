import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { verify } from '../../src/ir/verify.js'
import { packableBy, packTokens, unpackTokens } from '../../src/nn/token-packing.js'
import { type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { farthest, wholeText } from '../support/graphs.js'
import { apply } from '../support/passes.js'

const vocabulary = 40
const encoders: readonly (readonly [string, () => Model])[] = [
  ['embeddings', () => tinyBertModel(1, { vocabulary })],
  ['masked language model', () => tinyBertModel(2, { vocabulary }, { architectures: ['BertForMaskedLM'] })],
  ['classifier', () => smallModel('distilbert', 'DistilBertForSequenceClassification', { num_labels: 3, vocab_size: vocabulary })],
  ['token classifier', () => smallModel('distilbert', 'DistilBertForTokenClassification', { num_labels: 3, vocab_size: vocabulary })],
]

/** Sequences of the lengths given, padded to the longest. */
function batchOf(graph: Graph, lengths: readonly number[], seed: number): Feeds {
  const tokens = Math.max(1, ...lengths)
  const fill = (value: (row: number, column: number) => number) =>
    ndarray(
      'int64',
      [lengths.length, tokens],
      lengths.flatMap((_, row) => Array.from({ length: tokens }, (_, column) => value(row, column))),
    )
  const values: Record<string, NDArray> = {
    input_ids: fill((row, column) => (seed + 7 * row + 3 * column) % vocabulary),
    attention_mask: fill((row, column) => (column < lengths[row] ? 1 : 0)),
    token_type_ids: fill((row) => row % 2),
  }
  return Object.fromEntries(graph.inputs.map(({ name }) => [name, values[name]]))
}

describe.each(encoders)('packed tokens: %s', (_, build) => {
  const { graph } = build()
  const packed = graph.clone()

  it('every linear that reads tokens reads them packed', () => {
    const padded = (of: Graph) =>
      [...of.nodes()].filter((node) => node.type === 'MatMul' && node.input(0)?.shape?.length === 3 && node.input(1)?.shape?.length === 2)
    expect(packTokens(packed)).toBe(padded(graph).length)
    verify(packed)
    expect(padded(packed)).toEqual([])
  })

  it('real tokens are computed as before, whatever the lengths; outputs for padding are 0', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
        fc.nat(vocabulary),
        async (lengths, seed) => {
          const feeds = batchOf(graph, lengths, seed)
          const [got, expected] = [await evaluateGraph(packed, feeds), await evaluateGraph(graph, feeds)]
          expect(farthest(got, expected, feeds.attention_mask)).toBeLessThanOrEqual(1e-6)
          for (const output of Object.values(got))
            for (const number of numbersAtPadding(output, feeds.attention_mask)) expect(Math.abs(number)).toBe(0)
        },
      ),
      { numRuns: 15 },
    ))

  it('a mask that shows nothing at all gives finite numbers', async () => {
    for (const output of Object.values(await evaluateGraph(packed, batchOf(graph, [0, 0], 3))))
      expect(numbersOf(output).every(Number.isFinite)).toBe(true)
  })

  it('unpacking gives the graph back, text for text', async () => {
    const again = packed.clone()
    expect(unpackTokens(again)).toBe(true)
    expect(await wholeText(again)).toBe(await wholeText(graph))
    expect(unpackTokens(again)).toBe(false)
  })
})

function numbersAtPadding(output: NDArray, mask: NDArray): number[] {
  if (output.shape[1] !== mask.shape[1] || output.shape.length < 3) return []
  const width = output.shape[2]
  return Array.from(numbersOf(output)).filter((_, i) => Number(mask.data[Math.floor(i / width)]) === 0)
}

describe('graphs that are left alone', () => {
  it.each([
    ['decoders', () => tinyLlamaModel(1), /padding mask/],
    ['images', () => smallModel('vit', 'ViTModel'), /padding mask/],
  ])('%s', async (_, build, why) => {
    const { graph } = build()
    const before = await wholeText(graph)
    expect(packableBy(graph)).toMatch(why)
    expect(packTokens(graph)).toBe(0)
    expect(unpackTokens(graph)).toBe(false)
    expect(await wholeText(graph)).toBe(before)
  })

  it('ranges over the whole batch, which padding is part of', async () => {
    const model = tinyBertModel(3)
    await apply(model, 'dynamic-int8')
    expect(packableBy(model.graph)).toMatch(/range/)
    expect((await apply(model, 'remove-padding')).refused).toMatchObject([{ why: expect.stringMatching(/range/) }])
  })

  it('a graph whose rows are mixed while they are packed', async () => {
    const { graph } = tinyBertModel(4)
    packTokens(graph)
    const gelu = [...graph.nodes()].find((node) => node.type === 'Gelu')!
    const reversed = graph.add('CumSum', [gelu.output, graph.addConstant('axis', ArrayTensor.of(ndarray('int64', [], [0])))], {
      before: gelu.next!,
    })
    for (const { node, index } of [...gelu.output.uses]) if (node !== reversed) node.setInput(index, reversed.output)
    expect(unpackTokens(graph)).toBe(false)
  })
})
