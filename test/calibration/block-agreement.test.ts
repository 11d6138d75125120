import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { blockOutputs } from '../../src/anatomy/stream.js'
import { blockAgreement } from '../../src/calibration/block-agreement.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { encoderOf } from '../support/blocks.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { passContext, randomCalibration } from '../support/graphs.js'
import { apply } from '../support/passes.js'

const builds: [string, () => Model][] = [
  ['norms on the stream', () => tinyBertModel(1, { layers: 3 })],
  ['norms before the linears', () => tinyLlamaModel(1, { layers: 3 })],
]

async function compare(original: Graph, compressed: Graph) {
  return blockAgreement(original, compressed, (await randomCalibration(original, 40)).batches, passContext())
}

/** The down linear of a block with its weight a little larger. */
async function perturb(graph: Graph, block: number): Promise<void> {
  const { weight } = anatomyOf(graph).blocks[block].linears.get('down')!
  const data = (await weight.tensor!.read()) as Float32Array
  graph.setTensor(
    weight,
    new ArrayTensor(
      'float32',
      weight.tensor!.shape,
      data.map((x) => 1.01 * x),
    ),
  )
}

describe.each(builds)('agreement of blocks, %s', (_, build) => {
  it('is perfect for the same model', async () => {
    const found = await compare(build().graph, build().graph)
    expect(found.map(({ block }) => block)).toEqual(anatomyOf(build().graph).blocks.map(({ name }) => name))
    for (const { sqnr, cosine } of found) {
      expect(sqnr).toBe(Number.POSITIVE_INFINITY)
      expect(cosine).toBeCloseTo(1, 12)
    }
  })

  it('drops at the block that changed first', async () => {
    for (const block of [0, 1, 2]) {
      const changed = build().graph
      await perturb(changed, block)
      const found = await compare(build().graph, changed)
      expect(found.map(({ sqnr }) => Number.isFinite(sqnr))).toEqual([0, 1, 2].map((i) => i >= block))
      expect(found[block].sqnr).toBeGreaterThan(30)
      expect(found[block].cosine).toBeGreaterThan(0.999)
    }
  })

  it('falls with the bits of the weights', async () => {
    const [four, eight] = [build(), build()]
    await apply(four, 'weight-only', { bits: 4, blockSize: 16 })
    await apply(eight, 'weight-only', { bits: 8, blockSize: 16 })
    const [coarse, fine] = [await compare(build().graph, four.graph), await compare(build().graph, eight.graph)]
    for (const [i, { sqnr }] of fine.entries()) expect(sqnr).toBeGreaterThan(coarse[i].sqnr + 5)
  })

  it('sees through other spellings', async () => {
    const expanded = build()
    await apply(expanded, 'expand-attention')
    const merged = build()
    await apply(merged, 'fuse-qkv')
    for (const { graph } of [expanded, merged]) for (const { sqnr } of await compare(build().graph, graph)) expect(sqnr).toBeGreaterThan(90)
  })
})

describe('blocks are matched', () => {
  it('gains that moved leave the stream as it was', async () => {
    const [original, moved] = [tinyBertModel(2), tinyBertModel(2)]
    await apply(moved, 'gamma-migration')
    for (const { sqnr } of await compare(original.graph, moved.graph)) expect(sqnr).toBeGreaterThan(90)
  })

  it('by order where names differ, not at all where numbers do', async () => {
    const [original, renamed] = [tinyBertModel(3).graph, tinyBertModel(3).graph]
    for (const [name, constant] of [...renamed.constants]) renamed.rename(constant, name.replace('encoder.layer', 'other'))
    expect(await compare(original, renamed)).toEqual([
      { block: 'encoder.layer.0', sqnr: Number.POSITIVE_INFINITY, cosine: expect.closeTo(1, 12) },
      { block: 'encoder.layer.1', sqnr: Number.POSITIVE_INFINITY, cosine: expect.closeTo(1, 12) },
    ])
    expect((await compare(original, tinyBertModel(3, { layers: 1 }).graph)).map(({ block }) => block)).toEqual(['encoder.layer.0'])
    expect(await compare(original, tinyBertModel(3, { hidden: 24 }).graph)).toEqual([])
  })

  it.each(['before', 'after'] as const)('norm %s: the stream is the sum that ends a block', (norm) => {
    const outputs = [...blockOutputs(encoderOf({ norm })).values()]
    expect(outputs.map((value) => value.producer?.type)).toEqual(['Add', 'Add'])
    expect(outputs.map((value) => value.producer?.name)).toEqual(['layers.0', 'layers.1'])
  })
})
