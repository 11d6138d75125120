import { describe, expect, it } from 'vitest'
import { openGraph } from '../../src/engine/open.js'
import { verify } from '../../src/ir/verify.js'
import { type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { generateIds, positionsOf } from '../../src/pipelines/index.js'
import { importModel } from '../../src/raise/import.js'
import { completed, type Golden, goldens, reference, worst } from '../support/goldens.js'

const found = goldens()
const rowOf = (array: NDArray, row: number): NDArray => {
  const width = array.shape.slice(1).reduce((a, b) => a * b, 1)
  return ndarray(array.dtype, [1, ...array.shape.slice(1)], numbersOf(array).slice(row * width, (row + 1) * width))
}

/** The tokens of a row without its padding. */
async function prompt(golden: Golden): Promise<number[]> {
  const { outputs } = await reference(golden)
  return [...numbersOf(outputs['greedy_16'])]
}

describe.skipIf(!found.length)('golden checkpoints', () => {
  describe.each(found)('$name', (golden) => {
    it('agrees with the reference library by the reference evaluation and on the engine', async () => {
      const { model } = await importModel(golden.folder)
      const { inputs, outputs } = await reference(golden)
      verify(model.graph)
      const feeds = completed(model.graph, inputs)
      const session = await openGraph(model.graph)
      const computed = { evaluation: await evaluateGraph(model.graph, feeds), engine: await session.run(feeds) }
      await session.dispose()
      const names = Object.keys(outputs).filter((name) => model.graph.outputs.some((output) => output.name === name))
      expect(names.length).toBeGreaterThan(0)
      for (const [by, results] of Object.entries(computed))
        for (const name of names)
          expect(worst(results[name], outputs[name], inputs['attention_mask']), `${name} by ${by}`).toBeLessThanOrEqual(1e-4)
    })

    it('does not care what stands in padding, nor who shares the batch', async () => {
      const { model } = await importModel(golden.folder)
      const { inputs } = await reference(golden)
      const mask = inputs['attention_mask']
      if (!mask || !inputs['input_ids']) return
      const session = await openGraph(model.graph)
      const other = inputs['input_ids']
      const ids = ndarray(
        'int64',
        other.shape,
        numbersOf(other).map((id, i) => (Number(mask.data[i]) ? id : 5)),
      )
      const feeds = completed(model.graph, inputs)
      const [plain, changed] = [await session.run(feeds), await session.run({ ...feeds, input_ids: ids })]
      for (let row = 0; row < mask.shape[0]; row++) {
        const alone = await session.run(
          completed(model.graph, Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, rowOf(array, row)]))),
        )
        for (const { name } of session.outputs) {
          if (name.startsWith('present')) continue
          expect(worst(rowOf(changed[name], row), rowOf(plain[name], row), rowOf(mask, row)), name).toBeLessThanOrEqual(1e-6)
          expect(worst(alone[name], rowOf(plain[name], row), rowOf(mask, row)), `${name} alone`).toBeLessThanOrEqual(1e-5)
        }
      }
      await session.dispose()
    })
  })
})

const generative: Golden[] = []
for (const golden of found) if ('greedy_16' in (await reference(golden)).outputs) generative.push(golden)

describe.skipIf(!generative.length).each(generative)('$name generates', (golden) => {
  it('the reference tokens greedily with the cache', async () => {
    const { model } = await importModel(golden.folder)
    const expected = await prompt(golden)
    const session = await openGraph(model.graph)
    const ids: number[] = []
    for await (const id of generateIds(session, expected.slice(0, 12), { maxNewTokens: expected.length - 12 })) ids.push(id)
    await session.dispose()
    expect(ids).toEqual(expected.slice(12))
  })

  it('the same logits step by step as at once, by the reference evaluation', async () => {
    const { model } = await importModel(golden.folder)
    const { graph } = model
    const ids = (await prompt(golden)).slice(0, 6)
    const whole = await evaluateGraph(graph, completed(graph, { input_ids: ndarray('int64', [1, 6], ids) }))
    let past: Record<string, NDArray> = {}
    for (const [at, id] of ids.entries()) {
      const step = completed(graph, {
        input_ids: ndarray('int64', [1, 1], [id]),
        attention_mask: ndarray('int64', [1, at + 1], new Array(at + 1).fill(1)),
        position_ids: ndarray('int64', [1, 1], [at]),
        ...past,
      })
      const results = await evaluateGraph(graph, step)
      past = Object.fromEntries(
        Object.entries(results)
          .filter(([name]) => name.startsWith('present'))
          .map(([name, array]) => [name.replace('present', 'past_key_values'), array]),
      )
      const vocabulary = results['logits'].shape[2]
      const expected = numbersOf(whole['logits']).slice(at * vocabulary, (at + 1) * vocabulary)
      expect(worst(results['logits'], ndarray('float32', [1, 1, vocabulary], expected))).toBeLessThanOrEqual(1e-5)
    }
  })

  it.each(['evaluation', 'engine'])('the same logits behind left padding as alone, by the %s', async (by) => {
    const { model } = await importModel(golden.folder)
    const { graph } = model
    const ids = (await prompt(golden)).slice(0, 7)
    const session = await openGraph(graph)
    const run = async (given: Parameters<typeof completed>[1]) =>
      by === 'engine' ? session.run(completed(graph, given)) : evaluateGraph(graph, completed(graph, given))
    const alone = (await run({ input_ids: ndarray('int64', [1, 7], ids) }))['logits']
    const mask = ndarray('int64', [2, 10], [...new Array(10).fill(1), 0, 0, 0, ...ids.map(() => 1)])
    const rows = [...ids.slice(0, 3), ...ids, 9, 9, 9, ...ids]
    const padded = (await run({ input_ids: ndarray('int64', [2, 10], rows), attention_mask: mask, position_ids: positionsOf(mask, 10) }))[
      'logits'
    ]
    await session.dispose()
    const vocabulary = alone.shape[2]
    const tail = ndarray('float32', [1, 7, vocabulary], numbersOf(padded).slice(13 * vocabulary))
    expect(worst(tail, alone)).toBeLessThanOrEqual(1e-5)
  })
})
