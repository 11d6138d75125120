import { describe, expect, it } from 'vitest'
import { MemoryFolder, writeFile } from '../../src/base/bytes.js'
import { writeSafetensors } from '../../src/formats/index.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { ndarray } from '../../src/numbers/dtype.js'
import { defaultPooling, type PoolingMode, pool, readPooling } from '../../src/pipelines/index.js'

const hidden = ndarray('float32', [2, 3, 2], [1, -2, 3, 4, 90, 90, 5, 6, -7, 8, 9, -10])
const mask = ndarray('int64', [2, 3], [1, 1, 0, 1, 1, 1])
const pooled = (...modes: PoolingMode[]) => pool(hidden, mask, { modes, dense: [], normalize: false }).map((vector) => [...vector])

function close(vectors: number[][], expected: number[][]): void {
  expect(vectors.map((vector) => vector.length)).toEqual(expected.map((vector) => vector.length))
  for (const [i, x] of vectors.flat().entries()) expect(x).toBeCloseTo(expected.flat()[i], 5)
}

describe('pool', () => {
  it('follows the definitions and leaves padding out', () => {
    close(pooled('cls'), [
      [1, -2],
      [5, 6],
    ])
    close(pooled('last-token'), [
      [3, 4],
      [9, -10],
    ])
    close(pooled('max'), [
      [3, 4],
      [9, 8],
    ])
    close(pooled('mean'), [
      [2, 1],
      [7 / 3, 4 / 3],
    ])
    close(pooled('mean-sqrt-length'), [
      [4 / Math.SQRT2, 2 / Math.SQRT2],
      [7 / Math.sqrt(3), 4 / Math.sqrt(3)],
    ])
    close(pooled('weighted-mean'), [
      [7 / 3, 2],
      [(5 - 14 + 27) / 6, (6 + 16 - 30) / 6],
    ])
    close(pooled('cls', 'max'), [
      [1, -2, 3, 4],
      [5, 6, 9, 8],
    ])
  })

  it('normalizes to length 1', () => {
    for (const vector of pool(hidden, mask, defaultPooling)) expect(Math.hypot(...vector)).toBeCloseTo(1, 6)
  })
})

describe('readPooling', () => {
  const modules = (...types: string[]) =>
    JSON.stringify(types.map((type, i) => ({ idx: i, path: i ? `${i}_${type}` : '', type: `sentence_transformers.models.${type}` })))

  it('is mean and normalize without modules.json', async () => {
    expect(await readPooling(new MemoryFolder())).toBe(defaultPooling)
  })

  it('reads pooling, dense layers and normalize in order', async () => {
    const folder = new MemoryFolder()
    await writeFile(folder, 'modules.json', modules('Transformer', 'Pooling', 'Dense', 'Normalize'))
    await writeFile(folder, '1_Pooling/config.json', '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    await writeFile(folder, '2_Dense/config.json', '{"activation_function": "torch.nn.modules.activation.Tanh"}')
    const tensors = new Map([
      ['linear.weight', new ArrayTensor('float32', [1, 2], Float32Array.of(0.5, 0.25))],
      ['linear.bias', new ArrayTensor('float32', [1], Float32Array.of(-1))],
    ])
    await writeSafetensors(await folder.create('2_Dense/model.safetensors'), tensors)
    const pooling = await readPooling(folder)
    expect(pooling).toMatchObject({ modes: ['cls'], normalize: true })
    close(
      pool(hidden, mask, { ...pooling, normalize: false }).map((v) => [...v]),
      [[Math.tanh(-1)], [Math.tanh(3)]],
    )
  })

  it('refuses what it does not know', async () => {
    const folder = new MemoryFolder()
    await writeFile(folder, 'modules.json', modules('Transformer', 'LSTM'))
    await expect(readPooling(folder)).rejects.toMatchObject({ code: 'unsupported', message: 'the module LSTM is not known' })
    await writeFile(folder, 'modules.json', modules('Transformer', 'Pooling'))
    await writeFile(folder, '1_Pooling/config.json', '{}')
    await expect(readPooling(folder)).rejects.toMatchObject({ code: 'bad-input' })
  })
})
