import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { embeddedPath } from '../support/embedded.js'
import { document, isBuilt, run, temporaryFolder, tinsmith } from './tinsmith.js'

const work = temporaryFolder()
const cache = path.join(work, 'cache')
beforeAll(() => void vi.stubEnv('TINSMITH_CACHE', cache))
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true })
})

const classifier = embeddedPath('wordnet-classifier')
/** The classifier without its tokenizer. */
const bert = path.join(work, 'bert')
fs.mkdirSync(bert)
for (const file of ['config.json', 'model.safetensors']) fs.copyFileSync(path.join(classifier, file), path.join(bert, file))

function write(name: string, content: string): string {
  const file = path.join(work, name)
  fs.writeFileSync(file, content)
  return file
}

/** Words that must fail with an exit code, one sentence on stderr and nothing on stdout. */
async function fails(words: readonly string[], status: number, sentence: RegExp) {
  const failed = await run(...words)
  expect(failed.stderr).toMatch(sentence)
  expect(failed.status).toBe(status)
  expect(failed.stdout).toBe('')
  expect(failed.stderr).not.toMatch(/\n\s+at /)
  expect(failed.stderr.trim().split('\n').length).toBeLessThanOrEqual(6)
}

describe('the command line', () => {
  it('explains itself', async () => {
    const { status, stdout, stderr } = await run('--help')
    expect([status, stderr]).toEqual([0, ''])
    for (const command of ['convert', 'compress', 'evaluate', 'compare', 'inspect', 'run', 'list', 'conformance', 'cache', 'demo']) {
      expect(stdout).toContain(`\n  ${command} `)
    }
    expect((await run()).stdout).toBe(stdout)
    expect((await run('compress', '--help')).stdout).toContain('--calibrate <file>')
  })

  it('says its version', async () => {
    const { version } = JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    expect((await run('--version')).stdout).toBe(`${version}\n`)
  })

  it.each([
    [['comprss'], /Did you mean compress\?/],
    [['convert', 'a', 'b', '--froce'], /Did you mean --force\?/],
    [['convert', 'a', 'b', '--dtype', 'fp166'], /--dtype cannot be "fp166"\. Did you mean "fp16"\?/],
    [['convert', 'a'], /missing required argument 'out'/],
    [['convert', 'a', 'b', 'c'], /too many arguments/],
    [['list', 'passs'], /Did you mean "passes"\?/],
    [['cache', 'cleer'], /Did you mean "clear"\?/],
    [['evaluate', 'a', 'sst=b'], /Did you mean "sts"\?/],
    [['evaluate', 'a', 'sts'], /sts=FILE/],
    [['evaluate', 'a', 'sts=b', '--tokens', 'many'], /--tokens must be a whole number/],
    [['compare', 'a'], /--evaluate/],
    [['compress', 'a', 'b', '--recipe', 'int9'], /Did you mean "int8"\?/],
    [['compress', 'a', 'b', '--set', 'x'], /pass\.option=value/],
    [['convert', 'nothing-here', 'b'], /there is no file or folder "nothing-here"/],
  ])('%j is refused with a sentence that helps', async (words, sentence) => {
    await fails(words, 2, sentence)
  })

  it('puts failures into one document where one is asked for', async () => {
    const { status, stdout, stderr } = await run('comprss', '--json')
    expect(status).toBe(2)
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'usage', message: "unknown command 'comprss'", where: null, hint: 'Did you mean compress?' },
    })
    expect(stderr).toBe("tinsmith: unknown command 'comprss'. Did you mean compress?\n")
  })

  it('adds the stack to errors when it is asked to', async () => {
    expect((await run('inspect', 'nothing-here', '--verbose')).stderr).toMatch(/\n\s+at /)
  })

  it('lists what there is', async () => {
    for (const kind of ['passes', 'recipes', 'models', 'tasks', 'targets', 'operators']) {
      const found = await document('list', kind)
      expect(found.length, kind).toBeGreaterThan(0)
      for (const each of found) expect(Object.keys(each).sort()).toEqual(['name', 'options', 'source', 'summary'])
    }
    expect((await run('list', 'recipes')).stdout).toMatch(/^int8 /m)
  })

  it('says where the cache lies and empties it', async () => {
    expect((await run('cache', 'where')).stdout).toBe(`${cache}\n`)
    const file = path.join(cache, 'steps', 'entry', 'file')
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, 'twelve bytes')
    expect((await document('cache', 'size')).bytes).toEqual({ hub: 0, steps: 12, code: 0 })
    await document('cache', 'clear')
    expect(fs.existsSync(path.dirname(file))).toBe(false)
  })
})

describe('the command line and a small BERT', () => {
  it('converts it', async () => {
    const out = path.join(work, 'converted')
    const { status, stdout, stderr } = await run('convert', bert, out)
    expect(stderr).toBe('warning: there is no tokenizer.json, so nothing that needs text will work\n')
    expect(status).toBe(0)
    expect(stdout).toContain('onnx/model.onnx')
    await fails(['convert', bert, out], 2, /the folder is not empty.*--force/)
    expect((await document('convert', bert, out, '--force')).files.map((file: { path: string }) => file.path)).toEqual([
      'README.md',
      'config.json',
      'onnx/model.onnx',
      'tinsmith.json',
    ])
  })

  it('refuses recipes that do not fit, and leaves nothing', async () => {
    const out = path.join(work, 'refused')
    const llamas = write('llamas.yaml', 'name: for llamas\narchitectures: [llama]\npasses: [dynamic-int8]\n')
    const misspelt = write('misspelt.yaml', 'passess:\n  - dynamic-int8\n')
    const wrong = write('wrong.yaml', 'passes:\n  - dynamic-int8: {embeddings: 3}\n')
    const still = write('static.yaml', 'passes:\n  - static-int8\n')
    await fails(['compress', bert, out, '--recipe', llamas], 2, /for llamas is for llama and the model is bert/)
    await fails(['compress', bert, out, '--recipe', misspelt], 2, /unknown key "passess".*"passes"/)
    await fails(['compress', bert, out, '--recipe', wrong], 2, /line 2.*embeddings/)
    await fails(['compress', bert, out, '--recipe', still], 2, /--calibrate FILE/)
    await fails(['compress', bert, out, '--recipe', 'int8', '--calibrate', write('some.txt', 'a text\n')], 2, /no tokenizer\.json/)
    await fails(['compress', bert, out, '--recipe', 'int8', '--set', 'static-int8.biasCorrection=false'], 2, /belong to int8, which needs/)
    expect(fs.existsSync(out)).toBe(false)
  })

  it('falls back to a recipe without data and says so', async () => {
    const out = path.join(work, 'fallback')
    const result = await document('compress', bert, out)
    expect(result.recipe).toBe('int8-dynamic')
    expect(result.warnings.join()).toMatch(/int8-dynamic is used instead of int8/)
    expect(result.after.bytes).toBeLessThan(result.before.bytes)
    expect(result.after.bytes).toBe(fs.statSync(path.join(out, 'onnx', 'model_quantized.onnx')).size)
  })

  it('fails with exit code 1 where it may not write', async () => {
    if (process.platform === 'linux') await fails(['convert', bert, '/sys/tinsmith-out'], 1, /\/sys\/tinsmith-out: this cannot be written/)
  })

  it('says what a model is made of', async () => {
    const { graphs } = await document('inspect', bert)
    const [block] = graphs.model.blocks
    expect(Object.keys(block.linears)).toEqual(['q', 'k', 'v', 'o', 'up', 'down'])
    expect(block.linears.up).toMatchObject({ name: 'bert.encoder.layer.0.intermediate.dense', in: 128, dtype: 'float32' })
    expect((await run('inspect', bert, '--graph')).stdout).toContain('LayerNormalization(')
  })

  it('needs a tokenizer only for text', async () => {
    await fails(['run', bert, 'a text'], 2, /no tokenizer\.json/)
  })
})

describe.skipIf(!isBuilt)('the program as it is shipped', () => {
  it('says what went wrong and how', () => {
    expect(tinsmith(['comprss'])).toEqual({
      status: 2,
      stdout: '',
      stderr: "tinsmith: unknown command 'comprss'. Did you mean compress?\n",
    })
  })

  it('gives one document', () => {
    expect(JSON.parse(tinsmith(['list', 'tasks', '--json']).stdout).map((task: { name: string }) => task.name)).toContain('sts')
  })

  it('compresses', () => {
    const out = path.join(work, 'shipped')
    const { status, stdout } = tinsmith(['compress', bert, out, '--recipe', 'int8-dynamic', '--json'], { TINSMITH_CACHE: cache })
    expect(status).toBe(0)
    expect(JSON.parse(stdout).files.length).toBe(
      fs.readdirSync(out, { recursive: true, withFileTypes: true }).filter((file) => file.isFile()).length,
    )
  })
})
