import { describe, expect, it } from 'vitest'
import { type ByteSource, MemoryFolder, MemorySource, readAll, readJson, readText } from '../../src/base/bytes.js'
import { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import { ArrayTensor, Tensor } from '../../src/ir/tensor.js'
import type { Elements } from '../../src/numbers/dtype.js'
import { fileBytes, MeasuringFolder, readBack, writeGraphFiles, writeTransformersJs } from '../../src/targets/index.js'

const options = { dtype: 'q8', version: '1.2.3' } as const
const details = {
  source: { name: 'somebody/model', files: [] },
  recipe: { name: 'mine', summary: 'a test', text: 'passes: [fold-constants]\n', changes: ['fold-constants.x=1'] },
  calibration: null,
  seed: 7,
  versions: { tinsmith: '1.2.3' },
  figures: { task: 'sts', samples: 3, before: { bytes: 100, metrics: { spearman: 86 } }, after: { metrics: { spearman: 85 } } },
}

function modelOf(weight: Tensor, config: Record<string, unknown> = { model_type: 'bert' }): Model {
  const graph = new Graph('main')
  const x = graph.addInput('x', 'float32', ['batch_size', weight.shape[0]])
  const y = graph.add('MatMul', [x, graph.addConstant('weight', weight)], { name: 'layer', outputs: ['y'] }).output
  Object.assign(y, { dtype: 'float32', shape: ['batch_size', weight.shape[1]] })
  graph.outputs.push(y)
  const files = new Map<string, ByteSource>([
    ['config.json', new MemorySource(new TextEncoder().encode(JSON.stringify(config, null, 3)))],
    ['1_Pooling/config.json', new MemorySource(Uint8Array.of(1, 2, 3))],
  ])
  return new Model([['whatever', graph]], { config, files })
}

const small = () => modelOf(new ArrayTensor('float32', [2, 2], Float32Array.of(1, 2, 3, 4)))

/** A tensor of zeros that takes no memory until somebody reads it. */
class Zeros extends Tensor {
  async read(): Promise<Elements> {
    return new Float32Array(this.size)
  }
  override async bytes(): Promise<Uint8Array> {
    return new Uint8Array(this.byteLength)
  }
}

/** Keeps small files; of large ones only the size. */
class ForgetfulFolder extends MemoryFolder {
  override async create(path: string) {
    return path.startsWith('onnx/') ? { write: async () => {}, close: async () => {} } : super.create(path)
  }
}

describe('a folder for transformers.js', () => {
  it('holds the graph under the name of its dtype, the configuration, travelling files, a card and the origin', async () => {
    const folder = new MemoryFolder()
    const { files, bytes } = await writeTransformersJs(small(), folder, { dtype: 'q8', details })
    const paths = ['1_Pooling/config.json', 'README.md', 'config.json', 'onnx/model_quantized.onnx', 'tinsmith.json']
    expect(files.map((file) => file.path)).toEqual(paths)
    expect(await folder.list()).toEqual(paths)
    for (const file of files) expect(file.bytes).toBe(folder.files.get(file.path)!.length)
    expect(bytes).toBe(folder.files.get('onnx/model_quantized.onnx')!.length)
    expect(await readText(folder, 'config.json')).toBe(JSON.stringify({ model_type: 'bert' }, null, 3))
    expect([...folder.files.get('1_Pooling/config.json')!]).toEqual([1, 2, 3])
    const origin = await readJson(folder, 'tinsmith.json')
    expect(origin).toMatchObject({
      seed: 7,
      recipe: { name: 'mine' },
      figures: { before: { bytes: 100 }, after: { bytes, metrics: { spearman: 85 } } },
    })
    const card = await readText(folder, 'README.md')
    for (const words of ['base_model: somebody/model', 'passes: [fold-constants]', '| spearman | 86 | 85 |', "dtype: 'q8'"])
      expect(card).toContain(words)
  })

  it('is the same byte for byte when it is written again', async () => {
    const [first, second] = [new MemoryFolder(), new MemoryFolder()]
    for (const folder of [first, second]) await writeTransformersJs(small(), folder, { dtype: 'q8', details })
    expect(first.files).toEqual(second.files)
  })

  it('holds the floats too where they are wanted', async () => {
    const folder = new MemoryFolder()
    await writeTransformersJs(small(), folder, { dtype: 'q8', keepFp32: small(), details })
    expect(await folder.has('onnx/model.onnx')).toBe(true)
  })

  it('takes back what config.json says about files that are no more', async () => {
    const folder = new MemoryFolder()
    const model = modelOf(new ArrayTensor('float32', [1, 1], Float32Array.of(1)), {
      model_type: 'bert',
      'transformers.js_config': { use_external_data_format: 3, dtype: 'q8' },
    })
    await writeTransformersJs(model, folder, { dtype: 'q8', details })
    expect(await readJson(folder, 'config.json')).toEqual({ model_type: 'bert', 'transformers.js_config': { dtype: 'q8' } })
  })

  it('puts weights beyond 1.9 GB into files of external data and tells clients their number', async () => {
    const folder = new ForgetfulFolder()
    const model = modelOf(new Zeros('float32', [16, 2 ** 24]))
    const graph = model.graph
    const more = graph.add('MatMul', [graph.inputs[0], graph.addConstant('more', new Zeros('float32', [16, 2 ** 24]))]).output
    Object.assign(more, { dtype: 'float32', shape: ['batch_size', 2 ** 24] })
    graph.outputs.push(more)
    await expect(writeTransformersJs(model, folder, { dtype: 'q4', details })).rejects.toMatchObject({ code: 'bad-input' })
    expect(await readJson(folder, 'config.json')).toEqual({
      model_type: 'bert',
      'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 2 } },
    })
    const measured = new MeasuringFolder(new ForgetfulFolder())
    await writeGraphFiles(model, measured, { dtype: 'q4', version: '0' })
    expect([...measured.bytes.keys()].sort()).toEqual(['onnx/model_q4.onnx', 'onnx/model_q4.onnx_data', 'onnx/model_q4.onnx_data_1'])
    expect(measured.total).toBe(await fileBytes(model, { dtype: 'q4', version: '0' }))
  })

  it('knows the bytes of a file without writing it', async () => {
    const folder = new MemoryFolder()
    await writeGraphFiles(small(), folder, options)
    expect(await fileBytes(small(), options)).toBe(folder.files.get('onnx/model_quantized.onnx')!.length)
  })

  it('stops writing when a signal fires', async () => {
    const signal = AbortSignal.abort()
    await expect(writeTransformersJs(small(), new MemoryFolder(), { dtype: 'q8', details, signal })).rejects.toMatchObject({
      code: 'interrupted',
    })
  })
})

describe('reading back', () => {
  const written = async (change: (bytes: Uint8Array) => void) => {
    const [folder, model] = [new MemoryFolder(), small()]
    const files = await writeGraphFiles(model, folder, options)
    change(folder.files.get('onnx/model_quantized.onnx')!)
    return readBack(model, files, folder)
  }

  it('accepts what was meant', async () => {
    await expect(written(() => {})).resolves.toBeUndefined()
  })

  it('notices a changed element', async () => {
    const changed = written((bytes) => {
      const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(Buffer.from(Float32Array.of(1, 2, 3, 4).buffer))
      bytes[at + 2] ^= 1
    })
    await expect(changed).rejects.toMatchObject({ code: 'difference', message: expect.stringContaining('weight') })
  })

  it('notices another operator', async () => {
    const changed = written((bytes) => bytes.set(new TextEncoder().encode('MatSub'), Buffer.from(bytes).indexOf('MatMul')))
    await expect(changed).rejects.toMatchObject({ code: 'difference', where: 'onnx/model_quantized.onnx' })
  })

  it('notices what only the file holds', async () => {
    const [folder, model] = [new MemoryFolder(), small()]
    const files = await writeGraphFiles(model, folder, options)
    model.graph.setTensor(model.graph.constants.get('weight')!, new ArrayTensor('float32', [2, 2], Float32Array.of(1, 2, 3, 5)))
    await expect(readBack(model, files, folder)).rejects.toMatchObject({ code: 'difference', message: expect.stringContaining('y') })
    expect((await readAll(await folder.open(files[0].path))).length).toBeGreaterThan(0)
  })
})
