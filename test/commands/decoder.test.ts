import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { SilentProgress } from '../../src/base/progress.js'
import { compare, compress, convert, evaluate, inspect, load, run } from '../../src/index.js'
import { embeddedPath } from '../support/embedded.js'

const model = embeddedPath('wordnet-language-model')
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-commands-'))
const out = path.join(work, 'int4')
const text = path.join(work, 'text.txt')
const task = `language-model=${text}`

beforeAll(() => {
  vi.stubEnv('TINSMITH_CACHE', path.join(work, 'cache'))
  fs.writeFileSync(text, fs.readFileSync(path.join(model, 'samples.txt'), 'utf8').slice(0, 2000))
})
afterAll(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true })
})

describe('the commands and a small Llama', () => {
  it('compress measures before and after in one run, and what is written is what was measured', async () => {
    const result = await compress(model, out, { recipe: 'int4', evaluate: task, report: path.join(work, 'report') })
    const { before, after } = result
    expect(result).toMatchObject({ recipe: 'int4', task: 'language-model', model: { type: 'llama', parameters: 853_120 } })
    expect(after.bytes).toBe(fs.statSync(path.join(out, 'onnx', 'model_q4.onnx')).size)
    expect(after.bytes).toBeLessThan(0.3 * before.bytes)
    expect(after.metrics['perplexity']).toBeGreaterThan(1)
    for (const { rate } of [before, after]) expect(rate).toMatchObject({ unit: 'tokens/s', value: expect.any(Number) })
    const measured = await evaluate(out, task)
    expect(measured).toMatchObject({ dtype: 'q4', bytes: after.bytes, samples: result.samples })
    expect(measured.metrics['perplexity']).toBeCloseTo(after.metrics['perplexity'], 4)
    expect(measured.warnings.join()).toContain('--against')
    expect((await evaluate(model, task)).metrics['perplexity']).toBeCloseTo(before.metrics['perplexity'], 4)
    expect(fs.readdirSync(path.join(work, 'report'))).toEqual(['report.html', 'report.json'])
  })

  it('the same run writes the same bytes, and says so without times', async () => {
    const again = path.join(work, 'again')
    const { before } = await compress(model, again, { recipe: 'int4', evaluate: task })
    for (const file of fs
      .readdirSync(out, { recursive: true, encoding: 'utf8' })
      .filter((name) => fs.statSync(path.join(out, name)).isFile()))
      expect(fs.readFileSync(path.join(again, file)).equals(fs.readFileSync(path.join(out, file))), file).toBe(true)
    const origin = JSON.parse(fs.readFileSync(path.join(out, 'tinsmith.json'), 'utf8'))
    expect(origin.source.files.map((file: { path: string }) => file.path)).toContain('model.safetensors')
    expect(origin).toMatchObject({
      seed: 0,
      recipe: { name: 'int4' },
      figures: { before: { bytes: before.bytes } },
      versions: { node: process.versions.node },
    })
    expect(JSON.stringify(origin)).not.toContain(work)
    expect(JSON.stringify(origin.figures)).not.toMatch(/seconds|rate/)
  })

  it('evaluate measures the original beside', async () => {
    const { against } = await evaluate(out, task, { against: model })
    expect(against!.metrics['perplexity']).toBeGreaterThan(1)
    expect(Object.keys(against!.agreement)).toEqual(['kl', 'top1'])
    expect(against!.ratio).toBeCloseTo(against!.ownRate.value / against!.rate.value, 10)
  })

  it('compare sets models side by side', async () => {
    const { rows, unit } = await compare([model, out], { evaluate: task })
    expect(rows.map((row) => row.dtype)).toEqual(['fp32', 'q4'])
    expect([unit, rows[0].ratio]).toEqual(['tokens/s', 1])
    for (const row of rows) expect(Object.keys(row).sort()).toEqual(['bytes', 'dtype', 'engine', 'metrics', 'model', 'rate', 'ratio'])
  })

  it('compare measures each model on each engine', async () => {
    const { rows } = await compare([model, out], { evaluate: task, engines: ['ort', 'compiled'] })
    expect(rows.map(({ dtype, engine }) => [dtype, engine.split(' ')[0]])).toEqual([
      ['fp32', 'ONNX'],
      ['fp32', 'compiled'],
      ['q4', 'ONNX'],
      ['q4', 'compiled'],
    ])
    const perplexities = rows.map(({ metrics }) => metrics['perplexity'])
    for (const i of [0, 2]) expect(perplexities[i + 1] / perplexities[i]).toBeCloseTo(1, 2)
  })

  it('inspect names blocks, roles and what weights are stored as', async () => {
    const { graphs } = await inspect(out)
    const [graph] = Object.values(graphs)
    expect(graph.blocks[0].mixer).toEqual({ kind: 'attention', heads: 4, kvHeads: 2, headSize: 32 })
    expect(graph.blocks[0].linears['q']).toEqual({ name: 'model.layers.0.self_attn.q_proj', in: 128, out: 128, dtype: 'uint4' })
  })

  it('run goes on writing', async () => {
    const { kind, results } = await run(model, ['a small bird'], { maxNewTokens: 12 })
    expect(kind).toBe('generate')
    expect(results[0].generated!.length).toBeGreaterThan(10)
    const pipeline = await load(out)
    expect(await pipeline.generate('a small bird', { maxNewTokens: 12 })).not.toBe('')
    await pipeline.dispose()
  })

  it('compress warns where calibration data is not used, and uses it where it does good', async () => {
    const progress = new SilentProgress()
    const { warnings } = await compress(model, path.join(work, 'half'), { recipe: 'fp16', calibrate: text, progress })
    expect(warnings).toEqual(progress.warnings)
    expect(warnings.join()).toMatch(/needs no calibration data/)
    const used = await compress(model, path.join(work, 'warned'), { recipe: 'int4', calibrate: text, keepFp32: true })
    expect(used.warnings.join()).not.toMatch(/needs no calibration data/)
    expect(fs.readdirSync(path.join(work, 'warned', 'onnx'))).toEqual(['model.onnx', 'model_q4.onnx'])
  })

  it('evaluate chooses the file by its dtype', async () => {
    const both = path.join(work, 'warned')
    expect((await evaluate(both, task)).dtype).toBe('fp32')
    expect((await evaluate(both, task, { dtype: 'q4' })).dtype).toBe('q4')
    await expect(evaluate(both, task, { dtype: 'fp16' })).rejects.toMatchObject({ code: 'bad-input', hint: 'It has fp32, q4.' })
    await expect(evaluate(model, task, { dtype: 'q4' })).rejects.toMatchObject({ code: 'bad-input' })
    expect((await evaluate(path.join(both, 'onnx', 'model_q4.onnx'), task)).dtype).toBe('q4')
  })

  it('convert takes the floats of a folder with several dtypes', async () => {
    const { warnings, files } = await convert(path.join(work, 'warned'), path.join(work, 'converted'))
    expect(warnings.join()).toContain('model_q4.onnx is left out')
    expect(files.map((file) => file.path)).toContain('onnx/model.onnx')
  })

  it('leave nothing behind when they are stopped, and do not write over their source', async () => {
    const stopped = path.join(work, 'stopped')
    const signal = AbortSignal.abort()
    await expect(compress(model, stopped, { recipe: 'int4', signal })).rejects.toThrow()
    expect(fs.existsSync(stopped)).toBe(false)
    await expect(convert(out, out, { force: true })).rejects.toMatchObject({ code: 'usage' })
    await expect(convert(model, out)).rejects.toMatchObject({ code: 'usage', where: out })
  })

  it('read calibration and task files before they work, and say what is wrong with them', async () => {
    const columns = path.join(work, 'columns.csv')
    fs.writeFileSync(columns, 'a,b\n1,2\n3,4\n')
    const target = path.join(work, 'never')
    await expect(compress(model, target, { calibrate: columns, columns: 'text=c' })).rejects.toMatchObject({
      exitCode: 2,
      sentence: expect.stringContaining('"c"'),
    })
    await expect(compress(model, target, { calibrate: path.join(work, 'absent.txt') })).rejects.toMatchObject({ code: 'bad-input' })
    await expect(compress(model, target, { evaluate: `sts=${text}` })).rejects.toMatchObject({ code: 'bad-input' })
    expect(fs.existsSync(target)).toBe(false)
  })
})
