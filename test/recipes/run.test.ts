import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { Random } from '../../src/base/random.js'
import type { Model } from '../../src/ir/model.js'
import { printGraph } from '../../src/ir/print.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { definePass, type Pass } from '../../src/passes/index.js'
import { relativeDifference } from '../../src/recipes/proofs.js'
import { runRecipe, type StepReport, type StepStore } from '../../src/recipes/run.js'
import { parseRecipe, type Recipe } from '../../src/recipes/schema.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { distanceOf, randomCalibration, runContext } from '../support/graphs.js'

const recipeOf = (...steps: Pass[]): Recipe => ({
  ...parseRecipe('passes: [fold-constants]', 'test'),
  steps: steps.map((pass) => ({ pass, options: {}, optional: false })),
})

function fake(name: string, run: (model: Model) => Promise<number>, exact = true): Pass {
  return definePass({
    name,
    summary: '',
    source: '',
    options: z.strictObject({}),
    needs: {},
    exact,
    run: async (model) => ({ changed: await run(model) }),
  }) as Pass
}

/** Adds a little to one number of a weight. */
const nudge = (amount: number) => async (model: Model) => {
  const weight = [...model.graph.constants.values()].find(({ name }) => name.endsWith('.weight'))!
  const data = Float32Array.from((await weight.tensor!.read()) as Float32Array, (x, i) => x + (i % 2) * amount)
  model.graph.setTensor(weight, new ArrayTensor('float32', weight.tensor!.shape, data))
  return 1
}

class MemoryStore implements StepStore {
  readonly kept = new Map<number, { model: Model; reports: readonly StepReport[] }>()
  readonly asked: number[] = []

  async load(_: Recipe, index: number) {
    this.asked.push(index)
    return this.kept.get(index) ?? null
  }

  async save(_: Recipe, index: number, model: Model, reports: readonly StepReport[]) {
    this.kept.set(index, { model: model.clone(), reports: [...reports] })
  }
}

describe('runRecipe', () => {
  it('reports what each pass did, and how far exact ones are off', async () => {
    const model = tinyBertModel(1)
    const reports = await runRecipe(
      model,
      parseRecipe('{passes: [remove-unused, fuse-qkv, gamma-migration, dynamic-int8], optional: [remove-unused]}', 'test'),
      runContext(),
    )
    expect(reports.map(({ pass }) => pass)).toEqual(['remove-unused', 'fuse-qkv', 'gamma-migration', 'dynamic-int8'])
    expect(reports[1]).toMatchObject({ changed: 2, refused: [] })
    expect(reports[1].difference).toBeLessThanOrEqual(2e-5)
    expect(reports[2].difference).toBeGreaterThan(0)
    expect(reports[3].difference).toBeUndefined()
  })

  it.each([tinyBertModel, tinyLlamaModel])('refuses an exact pass that lies', async (build) => {
    await expect(runRecipe(build(1), recipeOf(fake('liar', nudge(0.01))), runContext())).rejects.toMatchObject({
      code: 'difference',
      message: expect.stringContaining('liar'),
    })
    await runRecipe(build(1), recipeOf(fake('honest', nudge(0.01), false)), runContext())
    await runRecipe(build(1), recipeOf(fake('nothing', async () => 1)), runContext())
  })

  it('refuses an exact pass that makes NaNs, anywhere', async () => {
    const spoil = async (model: Model) => {
      const table = model.graph.constants.get('embeddings.position_embeddings.weight')!
      const data = Float32Array.from((await table.tensor!.read()) as Float32Array)
      data[0] = Number.NaN
      model.graph.setTensor(table, new ArrayTensor('float32', table.tensor!.shape, data))
      return 1
    }
    await expect(runRecipe(tinyBertModel(1), recipeOf(fake('spoiler', spoil)), runContext())).rejects.toMatchObject({ code: 'difference' })
    expect(relativeDifference([1, 2, 3], [1, Number.NaN, 3])).toBe(Number.POSITIVE_INFINITY)
    expect(relativeDifference([1, 2, 3], [Number.NaN, 2, 2])).toBe(Number.POSITIVE_INFINITY)
    expect(relativeDifference([1, -4, 3], [1, -4, 2])).toBe(0.25)
    expect(relativeDifference([0, 0], [0, 0.5])).toBe(0.5)
  })

  it('refuses a graph that a pass broke', async () => {
    const breaking = fake('breaker', async ({ graph }) => {
      graph.outputs.push(new (graph.outputs[0].constructor as new (name: string) => (typeof graph.outputs)[0])('nobody'))
      return 1
    })
    await expect(runRecipe(tinyBertModel(1), recipeOf(breaking), runContext())).rejects.toThrow(/nobody/)
  })

  it('fails where a pass finds nothing, with its reason', async () => {
    const twice = parseRecipe('passes: [fuse-qkv, fuse-qkv]', 'test')
    await expect(runRecipe(tinyBertModel(1), twice, runContext())).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringMatching(/fuse-qkv found nothing.*encoder\.layer\.0.*three linears/),
    })
    const optional = parseRecipe('{passes: [remove-unused, fuse-qkv, fuse-qkv], optional: [remove-unused, fuse-qkv]}', 'test')
    const reports = await runRecipe(tinyBertModel(1), optional, runContext())
    expect(reports.map(({ changed }) => changed)).toEqual([0, 2, 0])
    expect(reports[2].refused.length).toBeGreaterThan(0)
  })

  it('says what to pass where calibration is missing', async () => {
    await expect(runRecipe(tinyBertModel(1), parseRecipe('passes: [static-int8]', 'test'), runContext())).rejects.toMatchObject({
      code: 'usage',
      hint: expect.stringContaining('--calibrate'),
    })
  })

  it('stops when it is told to', async () => {
    const aborted = AbortSignal.abort()
    await expect(
      runRecipe(tinyBertModel(1), parseRecipe('passes: [fold-constants]', 'test'), { ...runContext(), signal: aborted }),
    ).rejects.toThrow()
  })

  it('the same seed gives the same model', async () => {
    const run = async (seed: number) => {
      const model = tinyBertModel(1)
      const calibration = await randomCalibration(model.graph, 40)
      await runRecipe(model, parseRecipe('passes: [static-int8: {rows: 32}]', 'test'), runContext(calibration, seed))
      return printGraph(model.graph)
    }
    expect(await run(1)).toBe(await run(1))
  })
})

describe('resume', () => {
  const recipe = parseRecipe('passes: [fuse-qkv, gamma-migration, dynamic-int8]', 'test')

  it('goes on after the last step that is kept', async () => {
    const whole = tinyBertModel(1)
    const store = new MemoryStore()
    const reports = await runRecipe(whole, recipe, { ...runContext(), store })
    expect([...store.kept.keys()]).toEqual([0, 1, 2])
    expect(store.asked).toEqual([2, 1, 0])
    for (const last of [2, 1, 0]) {
      const resumed = new MemoryStore()
      for (let i = 0; i <= last; i++) resumed.kept.set(i, { ...store.kept.get(i)!, model: store.kept.get(i)!.model.clone() })
      const model = tinyBertModel(1)
      const again = await runRecipe(model, recipe, { ...runContext(), store: resumed })
      expect(again.map(({ pass, changed }) => [pass, changed])).toEqual(reports.map(({ pass, changed }) => [pass, changed]))
      expect(printGraph(model.graph)).toBe(printGraph(whole.graph))
      expect(await distanceOf(model.graph, whole.graph)).toBe(0)
    }
  })

  it('a killed run keeps what was finished', async () => {
    const store = new MemoryStore()
    const dying = fake('dying', async () => Promise.reject(new Error('killed')))
    const steps = [...recipe.steps.slice(0, 2), { pass: dying, options: {}, optional: false }]
    await expect(runRecipe(tinyBertModel(1), { ...recipe, steps }, { ...runContext(), store })).rejects.toThrow('killed')
    expect([...store.kept.keys()]).toEqual([0, 1])
  })

  it('what is kept is not touched by what comes after', async () => {
    const store = new MemoryStore()
    await runRecipe(tinyBertModel(1), recipe, { ...runContext(), store })
    expect([...store.kept.get(0)!.model.graph.nodes()].some(({ type }) => type === 'DynamicQuantizeLinear')).toBe(false)
  })
})

describe('random numbers', () => {
  it('of passes depend on the seed and the name of the pass alone', async () => {
    const drawn: number[] = []
    const drawing = definePass({
      name: 'drawing',
      summary: '',
      source: '',
      options: z.strictObject({}),
      needs: {},
      exact: false,
      run: async (_model, _options, { random }) => ({ changed: drawn.push(random.uniform()) }),
    }) as Pass
    await runRecipe(tinyBertModel(1), recipeOf(drawing), runContext(null, 9))
    await runRecipe(
      tinyLlamaModel(1),
      recipeOf(
        fake('first', async () => 1, false),
        drawing,
      ),
      runContext(null, 9),
    )
    expect(drawn[0]).toBe(drawn[1])
    expect(drawn[0]).toBe(new Random(9, 'drawing').uniform())
  })
})
