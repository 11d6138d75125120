import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { importModel, load, printGraph, train } from '../../src/index.js'
import { asTable, reviews, writeTinyEncoder } from '../support/tiny-classifier.js'
import { bundle, runProgram } from '../train/child.js'

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-train-'))
const at = (...parts: string[]) => path.join(work, ...parts)
const test = reviews(20, 2)
const set = ['epochs=10', 'batchSize=8', 'learningRate=0.01']
const options = { recipe: 'classifier', data: at('train.csv'), evaluate: `classification=${at('dev.csv')}`, set }

beforeAll(async () => {
  vi.stubEnv('TINSMITH_CACHE', at('cache'))
  await writeTinyEncoder(at('tiny'))
  fs.writeFileSync(at('train.csv'), asTable(reviews(64)))
  fs.writeFileSync(at('dev.csv'), asTable(test))
})
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true })
})

/** Contents of all files of a folder, by path. */
function filesOf(folder: string): Record<string, string> {
  const names = fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
  return Object.fromEntries(names.sort().map((name) => [name, fs.readFileSync(path.join(folder, name)).toString('base64')]))
}

describe('train', () => {
  it('learns, says what it reached beside the majority class, and writes what it measured', async () => {
    const result = await train(at('tiny'), at('out'), { ...options, report: at('report') })
    expect(result).toMatchObject({
      recipe: 'classifier',
      task: 'classification',
      samples: 64,
      main: { metric: 'accuracy', better: 'higher' },
    })
    expect(result.steps.map(({ step }) => step)).toEqual(Array.from({ length: 80 }, (_, i) => i + 1))
    expect(result.evaluations.map(({ step }) => step)).toEqual(Array.from({ length: 10 }, (_, i) => 8 * (i + 1)))
    expect(result.baseline!['accuracy']).toBe(50)
    expect(result.after.metrics['accuracy']).toBeGreaterThan(result.baseline!['accuracy'])
    const highest = Math.max(...result.evaluations.map(({ metrics }) => metrics['accuracy']))
    expect(result.evaluations.find(({ step }) => step === result.best)!.metrics['accuracy']).toBe(highest)
    expect(result.groups.reduce((sum, group) => sum + group.parameters, 0)).toBe(result.model.parameters)
    expect(result.warnings.join()).toContain('classifier.weight')

    const pipeline = await load(at('out'))
    const answers = await pipeline.classify(test.map(({ text }) => text))
    await pipeline.dispose()
    const right = answers.filter(([{ label }], i) => label === test[i].label).length
    expect((100 * right) / test.length).toBeCloseTo(result.after.metrics['accuracy'], 6)

    expect(result.files.map((file) => file.path)).toContain('training.jsonl')
    for (const file of result.files) expect(fs.statSync(at('out', file.path)).size, file.path).toBe(file.bytes)
    const lines = fs
      .readFileSync(at('out', 'training.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map(({ step, loss }) => [step, loss])).toEqual(result.steps.map(({ step, loss }) => [step, loss]))
    expect(lines.filter((line) => line.metrics).map(({ step, metrics }) => ({ step, metrics }))).toEqual(result.evaluations)
    expect(fs.existsSync(at('out.training'))).toBe(false)
    const origin = JSON.parse(fs.readFileSync(at('out', 'tinsmith.json'), 'utf8'))
    expect(origin.figures).toMatchObject({ task: 'classification', baseline: result.baseline, after: { metrics: result.after.metrics } })
    expect(JSON.stringify(origin)).not.toContain(work)
  })

  it('reports the course in one file that needs nothing from outside', () => {
    const page = fs.readFileSync(at('report', 'report.html'), 'utf8')
    expect(page).not.toMatch(/https?:|src=|<link|<script/)
    for (const title of ['Loss', 'Learning rate', 'Norm of the gradients', 'Time of a step', 'accuracy']) expect(page).toContain(title)
    expect(page).toMatch(/written: step \d+/)
    expect(page).toContain('without a model 50.00')
    expect(page).not.toContain(work)
    const document = JSON.parse(fs.readFileSync(at('report', 'report.json'), 'utf8'))
    expect(document).toMatchObject({
      samples: 64,
      task: 'classification',
      baseline: { accuracy: 50 },
      origin: { recipe: { name: 'classifier' } },
    })
    expect(document.steps.length).toBe(80)
  })

  it('writes the same bytes for the same seed', async () => {
    await train(at('tiny'), at('again'), options)
    expect(filesOf(at('again'))).toEqual(filesOf(at('out')))
  })

  it('trains the additions of an adapter and the new head alone, and leaves no trace of it in the graph', async () => {
    const result = await train(at('tiny'), at('lora'), { ...options, recipe: 'lora', evaluate: undefined })
    expect(result.groups.flatMap((group) => group.examples).some((name) => /word_embeddings/.test(name))).toBe(false)
    const [merged, whole] = await Promise.all(['lora', 'out'].map(async (name) => (await importModel(at(name))).model.graph))
    expect(printGraph(merged)).toBe(printGraph(whole))
  })

  it('stops early when nothing gets better', async () => {
    const result = await train(at('tiny'), at('early'), {
      ...options,
      set: ['epochs=40', 'learningRate=1e-9', 'batchSize=8', 'patience=2'],
    })
    expect(result.evaluations.map(({ step }) => step)).toEqual([8, 16, 24])
    expect(result.best).toBe(8)
  })

  it('refuses data that cannot teach, before it writes anything', async () => {
    const data = at('bad.csv')
    const refuses = async (content: string, message: RegExp) => {
      fs.writeFileSync(data, content)
      await expect(train(at('tiny'), at('bad'), { ...options, data, evaluate: undefined })).rejects.toThrowError(
        expect.objectContaining({ code: 'bad-input', message: expect.stringMatching(message) }),
      )
      expect(fs.existsSync(at('bad'))).toBe(false)
    }
    await refuses(asTable(reviews(9).filter(({ label }) => label === 'praise')), /all 5 labels are praise.*two classes/)
    await refuses('text,label\n', /holds no samples/)
    await refuses('a warm film\nthe dull film\n', /label/)
  })
})

describe('a run that is killed', () => {
  it('goes on where it was, keeps its history and writes the bytes of one that was not', async () => {
    const folder = at('run', 'bundle', 'here')
    fs.mkdirSync(folder, { recursive: true })
    // The bundle looks for the package's version where it would lie above dist/.
    fs.copyFileSync('package.json', at('run', 'package.json'))
    fs.writeFileSync(
      at('mine.yaml'),
      'name: mine\nobjective: classification\nsteps: 24\nbatchSize: 8\nlearningRate: 0.01\ndropout: 0.1\naverage: 0.9\nsaveEvery: 3\nevaluateEvery: 4\n',
    )
    const program = `
      import { writeSync } from 'node:fs'
      import { train } from './src/commands/train.js'
      const [source, recipe, data, dev, out, last] = process.argv.slice(2)
      let done = 0
      const advance = (by = 1) => {
        done += by
        writeSync(1, \`step \${done}\\n\`)
        if (done === Number(last)) process.kill(process.pid, 'SIGKILL')
      }
      const stage = (name) => ({ advance: name === 'train' ? advance : () => {}, end() {} })
      await train(source, out, { recipe, data, evaluate: 'classification=' + dev, progress: { stage, warn() {}, info() {} } })
      console.log('end')
    `
    const file = bundle(program, folder)
    const words = (...more: string[]) => [at('tiny'), at('mine.yaml'), at('train.csv'), at('dev.csv'), ...more]
    expect((await runProgram(file, words(at('whole')))).end).toBe(0)
    const begun: number[] = []
    for (const stop of [5, 14, 30]) {
      const run = await runProgram(file, words(at('parts'), String(stop)))
      begun.push(Number(run.lines[0].split(' ')[1]))
      if (stop < 24) expect([run.end, fs.existsSync(at('parts'))]).toEqual(['SIGKILL', false])
      else expect([run.end, run.lines.at(-1)]).toEqual([0, 'end'])
    }
    expect(begun[0]).toBe(0)
    expect(begun[1]).toBeGreaterThan(0)
    expect(begun[2]).toBeGreaterThan(begun[1])
    expect(filesOf(at('parts'))).toEqual(filesOf(at('whole')))
    expect(fs.existsSync(at('parts.training'))).toBe(false)
  }, 300_000)
})
