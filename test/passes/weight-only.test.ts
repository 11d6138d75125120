import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { integerGrid } from '../../src/numbers/quantizer.js'
import { searchAffine } from '../../src/numbers/search.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { weightOnly } from '../../src/passes/quantize/weight-only.js'
import { modelOf, tinyLlama } from '../support/checkpoints.js'
import { farthest, passContext, probes, randomCalibration } from '../support/graphs.js'

const vocabulary = 300

function decoder(tied: boolean): Model {
  const sizes = { hidden: 64, heads: 4, kvHeads: 2, headSize: 16, inner: 96, vocabulary, tied }
  return modelOf(tinyLlama(new Random(5, 'tiny llama'), sizes))
}

/** The decoder, quantized. */
async function quantized(tied: boolean, head: 4 | 8, calibrated = false): Promise<Graph> {
  const model = decoder(tied)
  const calibration = calibrated ? await randomCalibration(model.graph, vocabulary) : null
  await weightOnly.run(model, weightOnly.options.parse({ head }), passContext(calibration))
  tidy(model.graph)
  verify(model.graph)
  return model.graph
}

const headOf = (graph: Graph) => anatomyOf(graph).others.at(-1)!

describe('a head of 4 bits', () => {
  it.each([false, true])(
    'that shared the table is a matrix of its own, and the table stays as it was; calibrated: %s',
    async (calibrated) => {
      const [before, after] = [await quantized(true, 8), await quantized(true, 4, calibrated)]
      expect([headOf(after).name, headOf(after).dtype]).toEqual(['lm_head', 'uint4'])
      expect(headOf(before).dtype).toBe('uint8')
      const table = anatomyOf(after).embeddings[0].table
      expect(table.dtype).toBe('uint8')
      expect(await table.tensor!.read()).toEqual(await anatomyOf(before).embeddings[0].table.tensor!.read())
      expect(after.constants.has('lm_head.weight_minimum')).toBe(calibrated)
    },
  )

  it('of its own gets the bits', async () => {
    expect(headOf(await quantized(false, 8)).dtype).toBe('uint8')
    expect(headOf(await quantized(false, 4)).dtype).toBe('uint4')
  })

  it('is computed by the engine as defined', async () => {
    const graph = await quantized(true, 4, true)
    const session = await openGraph(graph)
    for (const feeds of probes(graph))
      expect(farthest(await session.run(feeds), await evaluateGraph(graph, feeds))).toBeLessThanOrEqual(0.06)
    await session.dispose()
  })

  it('has less error in its logits on the calibration texts than one that is searched without them', async () => {
    const model = decoder(true)
    const { batches } = await randomCalibration(model.graph, vocabulary)
    const [plain, calibrated] = [await quantized(true, 4), await quantized(true, 4, true)]
    const errors = [0, 0]
    for (const { feeds } of batches) {
      const expected = numbersOf((await evaluateGraph(model.graph, feeds))['logits'])
      for (const [i, graph] of [plain, calibrated].entries()) {
        const logits = numbersOf((await evaluateGraph(graph, feeds))['logits'])
        for (let at = 0; at < logits.length; at++) errors[i] += (logits[at] - expected[at]) ** 2
      }
    }
    expect(errors[1]).toBeLessThan(errors[0])
  })
})

it('importance lowers the weighted error of real zero points', () => {
  const random = new Random(9)
  const [inputs, outputs] = [64, 20]
  const layout = { shape: [inputs, outputs], axis: 0, blockSize: 32 }
  const x = random.normals(inputs * outputs)
  const importance = { axis: 0, values: random.normals(inputs).map((value) => value ** 4) }
  const weighted = (parameters: { scale: Float32Array; zeroPoint: ArrayLike<number> }) => {
    let error = 0
    for (let k = 0; k < inputs; k++)
      for (let n = 0; n < outputs; n++) {
        const [group, value] = [Math.floor(k / 32) * outputs + n, x[k * outputs + n]]
        const [scale, zero] = [parameters.scale[group], parameters.zeroPoint[group]]
        const code = Math.min(15, Math.max(0, Math.round(value / scale + zero)))
        error += importance.values[k] * (value - scale * (code - zero)) ** 2
      }
    return error
  }
  const grid = integerGrid('uint4')
  const plain = searchAffine(x, layout, grid, { floatZeroPoint: true })
  expect(weighted(searchAffine(x, layout, grid, { floatZeroPoint: true, importance }))).toBeLessThan(weighted(plain))
})
