import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { compress } from '../../src/index.js'
import { embeddedPath } from '../support/embedded.js'

const model = embeddedPath('wordnet-language-model')
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-self-'))
afterAll(() => fs.rmSync(work, { recursive: true }))

describe('a decoder without calibration data', () => {
  it('writes its own calibration text, the same for the same seed', async () => {
    const [a, b] = [path.join(work, 'a'), path.join(work, 'b')]
    const [{ warnings }] = [
      await compress(model, a, { recipe: 'int8', fresh: true }),
      await compress(model, b, { recipe: 'int8', fresh: true }),
    ]
    expect(warnings).toEqual([])
    expect(
      fs.readFileSync(path.join(a, 'onnx/model_quantized.onnx')).equals(fs.readFileSync(path.join(b, 'onnx/model_quantized.onnx'))),
    ).toBe(true)
    const { calibration } = JSON.parse(fs.readFileSync(path.join(a, 'tinsmith.json'), 'utf8'))
    expect(calibration).toMatchObject({ origin: 'text written by the model itself', samples: 16 })
  })
})
