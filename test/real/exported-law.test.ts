import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Model } from '../../src/ir/model.js'
import { lower, type TargetName } from '../../src/lower/index.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { importModel } from '../../src/raise/import.js'
import { raise } from '../../src/raise/index.js'
import { completed, goldens, reference, worst } from '../support/goldens.js'
import { codes, farthest, throughFile, wholeText } from '../support/graphs.js'
import { apply } from '../support/passes.js'
import { sharedPath } from '../support/shared.js'

const folder = sharedPath('golden', 'exported')
const known = goldens()
const files = (folder ? fs.readdirSync(folder).sort() : []).flatMap((file) => {
  const golden = known.find(({ name }) => name === file.split('.')[0])
  return golden ? [{ file, golden }] : []
})

/** Files that other tools wrote, of architectures that are known: whatever was raised and what was not, nothing is lost. */
describe.skipIf(!files.length).each(files)('$file', ({ file, golden }) => {
  const open = async () => (await importModel(path.join(folder!, file))).model.graph

  it.each(['ort-node', 'ort-wasm'] as const satisfies readonly TargetName[])('%s', async (target) => {
    const { inputs, outputs } = await reference(golden)
    const original = await open()
    const feeds = completed(original, inputs)
    const computed = await evaluateGraph(original, feeds)
    for (const { name } of original.outputs)
      if (outputs[name]) expect(worst(computed[name], outputs[name], inputs['attention_mask'])).toBeLessThanOrEqual(1e-4)
    for (const [pass, options] of [
      ['none', {}],
      ['dynamic-int8', {}],
      ['weight-only', { blockSize: 16 }],
    ] as const) {
      const model = new Model([['model', await open()]])
      if (pass !== 'none') await apply(model, pass, options)
      const lowered = lower(model.graph, target)
      const expected = pass === 'none' ? computed : await evaluateGraph(model.graph, feeds)
      expect(farthest(await evaluateGraph(lowered, feeds), expected), pass).toBeLessThanOrEqual(2e-5)
      if (target === 'ort-wasm' && pass === 'weight-only') continue
      // Names and the order of sums are this project's after the first trip; then nothing changes any more.
      const first = await throughFile(lowered)
      raise(first)
      expect(farthest(await evaluateGraph(first, feeds), expected), pass).toBeLessThanOrEqual(2e-5)
      expect(await codes(first), pass).toEqual(await codes(model.graph))
      const again = await throughFile(lower(first, target))
      raise(again)
      expect(await wholeText(again), pass).toBe(await wholeText(first))
    }
  })
})
