import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { kernelChoice } from '#kernels'
import { Random } from '../../src/base/random.js'
import { lower } from '../../src/lower/index.js'
import { architectureOf, freshGraphs } from '../../src/models/index.js'
import { encodeOnnx } from '../../src/onnx/index.js'
import { isBuilt, temporaryFolder } from '../cli/tinsmith.js'
import { smallLlama } from '../engine/compiled/small-models.js'
import { embeddedPath } from '../support/embedded.js'

const work = temporaryFolder()
afterAll(() => fs.rmSync(work, { recursive: true }))
const script = fileURLToPath(new URL('../../dist/node/load.js', import.meta.url))

/** An encoder's ONNX file with weights of a seed: files of all seeds have the same size. */
async function write(file: string, seed: number): Promise<void> {
  const config = { ...smallLlama(64), model_type: 'bert', architectures: ['BertModel'], type_vocab_size: 2 }
  const graph = freshGraphs(architectureOf(config), config, new Random(seed)).get('model')!
  fs.writeFileSync(file, await encodeOnnx(lower(graph, 'ort-node')))
}

const feeds = `
  const ids = { dtype: 'int64', shape: [1, 5], data: BigInt64Array.of(7n, 1n, 40n, 3n, 9n) }
  const same = (value) => ({ ...ids, data: ids.data.map(() => value) })
  const feeds = { input_ids: ids, attention_mask: same(1n), token_type_ids: same(0n) }`
const runIds = `${feeds}\nfor (const { data } of Object.values(await pipeline.session.run(feeds))) said.push([...data])`

/** What a process of its own prints of a model that it loads: what it was warned of, and what more it says. */
function saidOf(model: string, cache: string, more: string): string {
  const program = `
    import { load } from ${JSON.stringify(pathToFileURL(script).href)}
    const said = []
    const stage = () => ({ advance() {}, end() {} })
    const progress = { stage, info() {}, warn: (text) => said.push(text) }
    const pipeline = await load(${JSON.stringify(model)}, { engine: 'compiled', progress })
    ${more}
    process.stdout.write(JSON.stringify(said), () => process.exit(0))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, TINSMITH_CACHE: cache },
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return stdout
}

/** How many programs there are in a cache. */
function programs(cache: string): number {
  const code = path.join(cache, 'code')
  const files = fs.readdirSync(code).flatMap((below) => fs.readdirSync(path.join(code, below)))
  return files.filter((name) => name.startsWith('program-')).length
}

describe.runIf(isBuilt && kernelChoice().backend === 'x64')('sessions that are kept for the next process', () => {
  it('are those of ONNX files that are still the same', async () => {
    const [cache, folder] = ['onnx-cache', 'onnx'].map((name) => path.join(work, name))
    fs.mkdirSync(folder)
    const file = path.join(folder, 'model.onnx')
    const said = () => saidOf(file, cache, runIds)
    await write(file, 1)
    const first = said()
    expect(first).toMatch(/config\.json/)
    expect(programs(cache)).toBe(1)
    expect(said()).toBe(first)
    expect(programs(cache)).toBe(1)
    await write(file, 2)
    const second = said()
    expect(second).not.toBe(first)
    expect(programs(cache)).toBe(2)
    expect(said()).toBe(second)
    fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ model_type: 'bert' }))
    expect(said()).not.toMatch(/config\.json/)
  })

  it('have the tokenizer and the labels of checkpoints', () => {
    const [cache, folder] = ['checkpoint-cache', 'checkpoint'].map((name) => path.join(work, name))
    fs.cpSync(embeddedPath('wordnet-classifier'), folder, { recursive: true })
    const said = () => saidOf(folder, cache, `said.push(await pipeline.classify(['a small bird that sings at night']))`)
    const first = said()
    expect(first).toMatch(/"label"/)
    expect(programs(cache)).toBe(1)
    expect(said()).toBe(first)
    expect(programs(cache)).toBe(1)
    const config = path.join(folder, 'config.json')
    fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replaceAll('"noun.', '"of noun.'))
    const renamed = said()
    expect(renamed).not.toBe(first)
    expect(said()).toBe(renamed)
  })
})
