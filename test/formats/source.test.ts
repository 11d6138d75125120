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

  it('takes a GGUF file, its parts, or the folder of one', async () => {
    touch('d/model.gguf', 'd/LICENSE', 'd/mmproj-model.gguf', 'e/m-00001-of-00002.gguf', 'e/m-00002-of-00002.gguf')
    touch('f/config.json', 'f/model.safetensors', 'f/model.gguf', 'g/config.json', 'g/model.gguf')
    fs.writeFileSync(at('blob'), 'GGUF....')
    const parts = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']
    expect(await found(at('d'))).toEqual({ kind: 'gguf', graphs: ['model.gguf'], folder: 'd' })
    expect(await found(at('d', 'model.gguf'))).toEqual({ kind: 'gguf', graphs: ['model.gguf'], folder: 'd' })
    expect(await found(at('e'))).toEqual({ kind: 'gguf', graphs: parts, folder: 'e' })
    expect(await found(at('e', parts[1]))).toEqual({ kind: 'gguf', graphs: parts, folder: 'e' })
    expect(await found(at('f'))).toEqual({ kind: 'checkpoint', graphs: [], folder: 'f' })
    expect(await found(at('g'))).toEqual({ kind: 'gguf', graphs: ['model.gguf'], folder: 'g' })
    expect(await found(at('blob'))).toEqual({ kind: 'gguf', graphs: ['blob'], folder: '' })
    expect(await (await resolveSource(at('d', 'model.gguf'))).folder.list()).toEqual(['model.gguf'])
  })

  it('says plainly what it cannot take', async () => {
    touch('several/a.gguf', 'several/b.gguf', 'nothing/readme.txt', 'weights/model.safetensors', 'empty/x')
    fs.rmSync(at('empty', 'x'))
    expect(await refusal(at('several'))).toContain(
      `there are 2 GGUF models in this folder. Give one of them, such as ${at('several')}/a.gguf.`,
    )
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
