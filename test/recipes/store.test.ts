import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { Cache } from '../../src/base/cache.js'
import { SilentProgress } from '../../src/base/progress.js'
import { openGraph } from '../../src/engine/open.js'
import { printGraph } from '../../src/ir/index.js'
import type { Model } from '../../src/ir/model.js'
import { importModel } from '../../src/raise/import.js'
import { runRecipe } from '../../src/recipes/run.js'
import { parseRecipe } from '../../src/recipes/schema.js'
import { CachedSteps } from '../../src/recipes/store.js'
import { embeddedPath } from '../support/embedded.js'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-store-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

const classifier = embeddedPath('wordnet-classifier')
const recipe = (embeddings = true) => parseRecipe(`passes: [fuse-qkv, {dynamic-int8: {embeddings: ${embeddings}}}]`, 'test')
const origin = { source: 'a', calibration: null, seed: 0, code: 'b' }

describe('kept steps', () => {
  let at = 0
  let cache: Cache
  beforeEach(() => {
    cache = new Cache('steps', { path: path.join(folder, String(at++)) })
  })

  const storeOf = (changes: Partial<typeof origin> = {}) => new CachedSteps({ ...origin, ...changes }, { cache, leastSeconds: 0 })
  const contextOf = (store: CachedSteps | null) => ({
    open: openGraph,
    calibration: null,
    seed: 0,
    progress: new SilentProgress(),
    signal: undefined,
    store,
  })
  const read = async (): Promise<Model> => (await importModel(classifier)).model

  it('are taken over with names, notes, order, tensors and the figures of all steps', async () => {
    const [first, second] = [await read(), await read()]
    const reports = await runRecipe(first, recipe(), contextOf(storeOf()))
    const passes = recipe().steps.map(({ pass }) => pass.name)
    expect(reports.map((report) => report.pass)).toEqual(passes)
    const again = await runRecipe(second, recipe(), contextOf(storeOf()))
    expect(again).toEqual(reports)
    expect(printGraph(second.graph).replace(/ = (<stored>|\{.*\})$/gm, '')).toBe(
      printGraph(first.graph).replace(/ = (<stored>|\{.*\})$/gm, ''),
    )
    for (const [name, constant] of first.graph.constants)
      expect(Buffer.compare(await second.graph.constants.get(name)!.tensor!.bytes(), await constant.tensor!.bytes()), name).toBe(0)
    expect([...second.graph.nodes()].map((node) => [node.name, ...node.notes])).toEqual(
      [...first.graph.nodes()].map((node) => [node.name, ...node.notes]),
    )
  })

  it('go on after the last one that is kept', async () => {
    const [first, second] = [await read(), await read()]
    const store = storeOf()
    await runRecipe(first, recipe(true), contextOf(store))
    const taken = await store.load(recipe(false), 0)
    expect(taken?.reports.map((report) => report.pass)).toEqual(['fuse-qkv'])
    expect(await store.load(recipe(false), 1)).toBeNull()
    const reports = await runRecipe(second, recipe(false), contextOf(store))
    expect(reports).toHaveLength(2)
  })

  it.each([{ source: 'c' }, { seed: 1 }, { code: 'd' }, { calibration: 'e' as unknown as null }])(
    'are not those of another origin: %j',
    async (change) => {
      await runRecipe(await read(), recipe(), contextOf(storeOf()))
      expect(await storeOf(change).load(recipe(), 1)).toBeNull()
      expect(await storeOf().load(recipe(), 1)).not.toBeNull()
    },
  )

  it('are none where steps are quick', async () => {
    await runRecipe(await read(), recipe(), contextOf(new CachedSteps(origin, { cache, leastSeconds: 1000 })))
    expect(await cache.size()).toBe(0)
  })

  it('are forgotten where they are damaged', async () => {
    await runRecipe(await read(), recipe(), contextOf(storeOf()))
    for (const entry of fs.readdirSync(cache.path)) fs.writeFileSync(path.join(cache.path, entry, 'model.onnx'), 'no model')
    expect(await storeOf().load(recipe(), 1)).toBeNull()
  })

  it('are done without where the cache cannot be written', async () => {
    const file = path.join(folder, 'a file')
    fs.writeFileSync(file, '')
    const warnings: string[] = []
    const store = new CachedSteps(origin, {
      cache: new Cache('steps', { path: path.join(file, 'steps') }),
      leastSeconds: 0,
      warn: (text) => warnings.push(text),
    })
    expect(await runRecipe(await read(), recipe(), contextOf(store))).toHaveLength(2)
    expect(warnings[0]).toContain('cannot be kept')
  })
})
