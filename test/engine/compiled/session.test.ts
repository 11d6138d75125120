import { describe, expect, it } from 'vitest'
import { openCompiled } from '../../../src/engine/compiled/session.js'
import type { Session } from '../../../src/engine/session.js'
import { type NDArray, ndarray, numbersOf } from '../../../src/numbers/dtype.js'
import { generateIds, positionsOf } from '../../../src/pipelines/index.js'
import { importModel } from '../../../src/raise/import.js'
import { completed, goldens, reference, worst } from '../../support/goldens.js'
import { backends } from './backends.js'

const found = goldens()

/** A session without sequences of its own: outputs are fed back. */
function runsOf(session: Session): Session {
  const { engine, inputs, outputs } = session
  return {
    ...{ engine, inputs, outputs },
    run: (feeds, options) => session.run(feeds, options),
    profile: () => session.profile(),
    dispose: () => session.dispose(),
  }
}

describe.skipIf(!found.length).each(backends)('goldens on $name', (backend) => {
  it.each(found)('$name agrees with the reference library', async (golden) => {
    const { model } = await importModel(golden.folder)
    const { inputs, outputs } = await reference(golden)
    const session = await openCompiled(model.graph, backend, { threads: 2 })
    const results = await session.run(completed(model.graph, inputs))
    const names = Object.keys(outputs).filter((name) => model.graph.outputs.some((output) => output.name === name))
    expect(names.length).toBeGreaterThan(0)
    for (const name of names) expect(worst(results[name], outputs[name], inputs['attention_mask']), name).toBeLessThanOrEqual(1e-4)
    await session.dispose()
  })

  it.each(found)('$name generates the reference tokens with the cache, behind padding too', async (golden) => {
    const { outputs } = await reference(golden)
    if (!('greedy_16' in outputs)) return
    const { model } = await importModel(golden.folder)
    const { graph } = model
    const expected = [...numbersOf(outputs['greedy_16'])]
    const session = await openCompiled(graph, backend, { threads: 2 })
    const isOwn = session.tokenSequence?.() !== undefined
    expect(isOwn).toBe(graph.outputs.some(({ name }) => name.startsWith('present.')))
    for (const generator of isOwn ? [session, runsOf(session)] : [session]) {
      const ids: number[] = []
      for await (const id of generateIds(generator, expected.slice(0, 12), { maxNewTokens: expected.length - 12 })) ids.push(id)
      expect(ids).toEqual(expected.slice(12))
    }

    const tail = expected.slice(0, 7)
    const logitsOf = async (feeds: Record<string, NDArray>) => (await session.run(completed(graph, feeds)))['logits']
    const alone = await logitsOf({ input_ids: ndarray('int64', [1, 7], tail) })
    const mask = ndarray('int64', [2, 10], [...new Array(10).fill(1), 0, 0, 0, ...tail.map(() => 1)])
    const rows = [...tail.slice(0, 3), ...tail, 9, 9, 9, ...tail]
    const padded = await logitsOf({ input_ids: ndarray('int64', [2, 10], rows), attention_mask: mask, position_ids: positionsOf(mask, 10) })
    const vocabulary = alone.shape[2]
    expect(worst(ndarray('float32', [1, 7, vocabulary], numbersOf(padded).slice(13 * vocabulary)), alone)).toBeLessThanOrEqual(1e-5)
    await session.dispose()
  })
})
