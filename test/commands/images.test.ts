import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { compress, evaluate, load, run } from '../../src/index.js'
import { canDecode, grey, writePicture } from '../support/pictures.js'
import { sharedPath } from '../support/shared.js'

const golden = sharedPath('golden', 'vit')
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-images-'))
const [model, images, out] = ['model', 'images', 'out'].map((name) => path.join(work, name))
const settings = { do_resize: true, size: { height: 32, width: 32 }, resample: 3, image_mean: [0.4, 0.5, 0.6], image_std: [0.2, 0.3, 0.4] }

describe.skipIf(!golden || !canDecode)('the commands and a small ViT', () => {
  beforeAll(async () => {
    vi.stubEnv('TINSMITH_CACHE', path.join(work, 'cache'))
    fs.mkdirSync(model)
    for (const file of ['config.json', 'model.safetensors']) fs.copyFileSync(path.join(golden!, file), path.join(model, file))
    fs.writeFileSync(path.join(model, 'preprocessor_config.json'), JSON.stringify(settings))
    for (let i = 0; i < 8; i++) await writePicture(path.join(images, String(i % 4), `${i}.png`), grey(30 * i, 24))
    fs.writeFileSync(path.join(work, 'images.csv'), 'path,label\nimages/0/0.png,0\nimages/1/1.png,LABEL_1\n')
  })
  afterAll(() => {
    vi.unstubAllEnvs()
    fs.rmSync(work, { recursive: true })
  })

  it('calibrate on images, measure on them, and write what clients need', async () => {
    const task = `image-classification=${images}`
    const { before, after, samples, warnings } = await compress(model, out, { recipe: 'int8', calibrate: images, evaluate: task })
    expect([samples, before.metrics['accuracy'] % 12.5, after.bytes < 0.7 * before.bytes]).toEqual([8, 0, true])
    expect(after.rate).toMatchObject({ unit: 'images/s', value: expect.any(Number) })
    expect(warnings.join()).not.toContain('tokenizer')
    expect(JSON.parse(fs.readFileSync(path.join(out, 'preprocessor_config.json'), 'utf8'))).toEqual(settings)
    const { metrics, baseline, against } = await evaluate(out, task, { against: model })
    expect([metrics['accuracy'], baseline['accuracy']]).toEqual([after.metrics['accuracy'], 25])
    expect(against!.agreement['top1']).toBeGreaterThanOrEqual(75)
  })

  it('read tables of images, and refuse a folder where texts are wanted', async () => {
    expect((await evaluate(model, `image-classification=${path.join(work, 'images.csv')}`)).samples).toBe(2)
    await expect(evaluate(model, `classification=${images}`)).rejects.toThrow(/needs a file/)
  })

  it('classify files', async () => {
    const file = path.join(images, '3', '7.png')
    const { kind, results } = await run(model, [file])
    expect([kind, results[0].text, results[0].labels!.length]).toEqual(['classify-images', file, 4])
    const pipeline = await load(model)
    expect(await pipeline.classifyImages([file])).toEqual([results[0].labels])
    await pipeline.dispose()
  })
})
