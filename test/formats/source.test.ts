import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TinsmithError } from '../../src/base/errors.js'
import { resolveSource } from '../../src/formats/source.js'

let work: string
beforeEach(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-test-'))
})
afterEach(() => fs.rmSync(work, { recursive: true, force: true }))

const at = (...parts: string[]) => path.join(work, ...parts)

function touch(...files: string[]): void {
  for (const file of files) {
    fs.mkdirSync(path.dirname(at(file)), { recursive: true })
    fs.writeFileSync(at(file), '')
  }
}

async function refusal(text: string): Promise<string> {
  const error = await resolveSource(text).then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  expect(error.exitCode).toBe(2)
  return error.sentence
}

async function found(text: string) {
  const { kind, graphs, folder } = await resolveSource(text)
  return { kind, graphs, folder: path.relative(work, folder.name) }
}

describe('resolveSource', () => {
  it('tells checkpoints, folders of graphs and single graphs apart', async () => {
    touch(
      'a/config.json',
      'a/model.safetensors',
      'a/onnx/model.onnx',
      'b/config.json',
      'b/onnx/model.onnx',
      'b/onnx/model_q4.onnx',
      'c/x.onnx',
      'c/x.onnx_data',
    )
    expect(await found(at('a'))).toEqual({ kind: 'checkpoint', graphs: [], folder: 'a' })
    expect(await found(at('b'))).toEqual({ kind: 'onnx', graphs: ['onnx/model.onnx', 'onnx/model_q4.onnx'], folder: 'b' })
    expect(await found(at('b', 'onnx'))).toEqual({ kind: 'onnx', graphs: ['model.onnx', 'model_q4.onnx'], folder: 'b/onnx' })
    expect(await found(at('b', 'onnx', 'model_q4.onnx'))).toEqual({ kind: 'onnx', graphs: ['onnx/model_q4.onnx'], folder: 'b' })
    expect(await found(at('c', 'x.onnx'))).toEqual({ kind: 'onnx', graphs: ['x.onnx'], folder: 'c' })
    expect(await found(`${at('c')}/`)).toEqual({ kind: 'onnx', graphs: ['x.onnx'], folder: 'c' })
  })

  it('says plainly what it cannot take', async () => {
    touch('gguf/model.gguf', 'nothing/readme.txt', 'weights/model.safetensors', 'empty/x')
    fs.writeFileSync(at('blob'), 'GGUF....')
    fs.rmSync(at('empty', 'x'))
    for (const text of [at('gguf'), at('gguf', 'model.gguf'), at('blob')])
      expect(await refusal(text)).toContain('does not read GGUF files yet')
    expect(await refusal(at('nothing'))).toContain('holds no model')
    expect(await refusal(at('empty'))).toContain('is empty')
    expect(await refusal(at('weights', 'model.safetensors'))).toContain(`Give its folder, ${at('weights')}`)
    expect(await refusal(at('nothing', 'readme.txt'))).toContain('this file alone is no model')
  })

  it('guesses what was meant by a path that does not exist', async () => {
    touch('all-MiniLM-L6-v2/model.safetensors')
    expect(await refusal(at('all-MiniLM-L6-v3'))).toBe(
      `there is no file or folder "${at('all-MiniLM-L6-v3')}". Did you mean "${at('all-MiniLM-L6-v2')}"?`,
    )
    expect(await refusal(at('deep', 'er', 'none'))).toContain('there is no file or folder')
    expect(await refusal('./none')).toContain('there is no file or folder')
    expect(await refusal('')).toContain('there is no file or folder')
  })
})
