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

const work = temporaryFolder()
afterAll(() => fs.rmSync(work, { recursive: true }))
const script = fileURLToPath(new URL('../../dist/node/load.js', import.meta.url))

/** An encoder's ONNX file with weights of a seed: files of all seeds have the same size. */
async function write(file: string, seed: number): Promise<void> {
  const config = { ...smallLlama(64), model_type: 'bert', architectures: ['BertModel'], type_vocab_size: 2 }
  const graph = freshGraphs(architectureOf(config), config, new Random(seed)).get('model')!
  fs.writeFileSync(file, await encodeOnnx(lower(graph, 'ort-node')))
}

/** What a process of its own says of the file: the hash of an output, and what it was warned of. */
function outputOf(file: string, cache: string): string {
  const program = `
    import { createHash } from 'node:crypto'
    import { load } from ${JSON.stringify(pathToFileURL(script).href)}
    const warnings = []
    const stage = () => ({ advance() {}, end() {} })
    const pipeline = await load(${JSON.stringify(file)}, { engine: 'compiled', progress: { stage, info() {}, warn: (text) => warnings.push(text) } })
    const ids = { dtype: 'int64', shape: [1, 5], data: BigInt64Array.of(7n, 1n, 40n, 3n, 9n) }
    const same = (value) => ({ ...ids, data: ids.data.map(() => value) })
    const results = await pipeline.session.run({ input_ids: ids, attention_mask: same(1n), token_type_ids: same(0n) })
    const { data } = Object.values(results)[0]
    console.log(createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex'), warnings)
    await pipeline.dispose()`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, TINSMITH_CACHE: cache },
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return stdout
}

describe.runIf(isBuilt && kernelChoice().backend === 'x64')('sessions of files', () => {
  it('are kept for the next process, as long as the file is the same', async () => {
    const [cache, folder] = ['cache', 'model'].map((name) => path.join(work, name))
    fs.mkdirSync(folder)
    const file = path.join(folder, 'model.onnx')
    const kept = () => fs.readdirSync(path.join(cache, 'code')).flatMap((below) => fs.readdirSync(path.join(cache, 'code', below)))
    const programs = () => kept().filter((name) => name.startsWith('program-')).length
    await write(file, 1)
    const first = outputOf(file, cache)
    expect(first).toMatch(/config\.json/)
    expect(programs()).toBe(1)
    expect(outputOf(file, cache)).toBe(first)
    expect(programs()).toBe(1)
    await write(file, 2)
    const second = outputOf(file, cache)
    expect(second).not.toBe(first)
    expect(programs()).toBe(2)
    expect(outputOf(file, cache)).toBe(second)
    fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ model_type: 'bert' }))
    expect(outputOf(file, cache)).not.toMatch(/config\.json/)
  })
})
