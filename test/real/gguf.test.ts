import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { SourceFolder } from '../../src/base/folders.js'
import { openGraph } from '../../src/engine/open.js'
import { readSafetensors } from '../../src/formats/index.js'
import type { Model } from '../../src/ir/model.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { maxAbsoluteDifference, sqnr } from '../../src/numbers/metrics.js'
import { createPipeline } from '../../src/pipelines/index.js'
import { importModel } from '../../src/raise/import.js'
import { completed } from '../support/goldens.js'
import { apply } from '../support/passes.js'
import { modelPath } from '../support/shared.js'

interface Reference {
  readonly texts: readonly string[]
  readonly ids: readonly (readonly number[])[]
  readonly greedy_64: readonly number[]
}

const folder = modelPath('SmolLM2-135M-Instruct-GGUF')
describe.skipIf(!folder)('SmolLM2 from its GGUF file', () => {
  const reference = (): Reference => JSON.parse(fs.readFileSync(path.join(folder!, 'reference.json'), 'utf8'))

  /** The logits of the last tokens beside those of the reference. */
  async function run(model: Model) {
    const session = await openGraph(model.graph, { threads: 2 })
    const file = path.join(folder!, 'reference.safetensors')
    const { tensors } = await readSafetensors(new MemorySource(fs.readFileSync(file), file))
    const feeds = completed(model.graph, { input_ids: await tensors.get('in.input_ids')!.array() })
    const logits = numbersOf((await session.run(feeds))['logits'])
    const expected = numbersOf(await tensors.get('out.logits_last8')!.array())
    return { session, logits: logits.subarray(-expected.length), expected }
  }

  it('tokenizes, computes and continues as the reference does', async () => {
    const { model, warnings } = await importModel(folder!)
    expect(warnings).toEqual(['the source is quantized already (Q4_1, Q8_0), and what that cost stays lost'])
    const { session, logits, expected } = await run(model)
    expect(maxAbsoluteDifference(expected, logits)).toBeLessThan(2e-3)

    const pipeline = await createPipeline(new SourceFolder(model.files, 'SmolLM2'), session)
    const { texts, ids, greedy_64: greedy } = reference()
    expect(texts.map((text) => pipeline.tokenizer.encodeOne(text).ids)).toEqual(ids)
    const written = texts[0] + (await pipeline.generate(texts[0], { maxNewTokens: 24 }))
    expect(written).toBe(pipeline.tokenizer.decode(greedy.slice(0, ids[0].length + 24)))
    await pipeline.dispose()
  })

  it('keeps the blocks that it has when it is quantized to 4 bits', async () => {
    const { model } = await importModel(folder!)
    const { changed, details } = await apply(model, 'weight-only')
    expect([changed, details!.length]).toEqual([30 * 7 + 1, 30 * 7 + 1])
    const { session, logits, expected } = await run(model)
    // What is left is that activations are rounded to 8 bits: less than a tenth of the signal.
    expect(sqnr(expected, logits)).toBeGreaterThan(20)
    await session.dispose()
  })
})
