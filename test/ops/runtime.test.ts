import { describe, test } from 'vitest'
import { float, int, ints, string } from '../../src/ir/attribute.js'
import type { Attributes } from '../../src/ir/index.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { Arrays, expectAgreement, numbers } from './call.js'

const arrays = new Arrays('runtime')

async function agrees(operator: string, inputs: (NDArray | null)[], attributes: Attributes = {}, outputs = 1, opset = 21): Promise<void> {
  await expectAgreement({ operator, inputs, attributes, outputs, opset }, 2e-5)
}

describe('against ONNX Runtime', () => {
  test('convolutions: groups, dilations, padding', async () => {
    const x = arrays.normal(2, 4, 9, 8)
    await agrees('Conv', [x, arrays.normal(6, 2, 3, 2), arrays.normal(6)], {
      group: int(2),
      strides: ints([2, 1]),
      dilations: ints([2, 3]),
      pads: ints([1, 0, 2, 3]),
    })
    for (const autoPad of ['SAME_UPPER', 'SAME_LOWER', 'VALID'])
      await agrees('Conv', [x, arrays.normal(3, 4, 4, 3)], { auto_pad: string(autoPad), strides: ints([2, 3]) })
    await agrees('Conv', [arrays.normal(1, 4, 11), arrays.normal(4, 1, 3)], { group: int(4), pads: ints([2, 0]) })
  })

  test('transposed convolutions: groups, output padding, output shape', async () => {
    const x = arrays.normal(2, 4, 5, 4)
    await agrees('ConvTranspose', [x, arrays.normal(4, 3, 3, 2), arrays.normal(6)], {
      group: int(2),
      strides: ints([2, 3]),
      pads: ints([1, 0, 0, 1]),
      output_padding: ints([1, 0]),
    })
    await agrees('ConvTranspose', [x, arrays.normal(4, 2, 3, 3)], { strides: ints([2, 2]), output_shape: ints([10, 8]) })
    await agrees('ConvTranspose', [x, arrays.normal(4, 2, 3, 3)], { strides: ints([2, 2]), auto_pad: string('SAME_UPPER') })
    await agrees('ConvTranspose', [x, arrays.normal(4, 2, 2, 3)], { dilations: ints([3, 2]) })
  })

  test('pooling: ceilings, dilations, padding that counts', async () => {
    const x = arrays.normal(2, 3, 10, 7)
    const window = { kernel_shape: ints([3, 2]), strides: ints([2, 3]) }
    for (const ceil of [0, 1]) {
      await agrees('MaxPool', [x], { ...window, ceil_mode: int(ceil), dilations: ints([2, 1]), pads: ints([1, 0, 1, 1]) }, 2)
      for (const counted of [0, 1])
        await agrees('AveragePool', [x], { ...window, ceil_mode: int(ceil), pads: ints([1, 0, 1, 1]), count_include_pad: int(counted) })
    }
    await agrees('AveragePool', [x], { ...window, auto_pad: string('SAME_LOWER') })
    await agrees('LpPool', [x], { ...window, p: int(3) })
    await agrees('GlobalMaxPool', [x])
  })

  test('Resize: modes, coordinates, scales', async () => {
    const x = arrays.normal(1, 2, 6, 5)
    for (const mode of ['nearest', 'linear', 'cubic'])
      for (const transformation of ['half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'])
        for (const scales of [
          [1, 1, 2, 1.6],
          [1, 1, 0.5, 0.8],
        ]) {
          const attributes = { mode: string(mode), coordinate_transformation_mode: string(transformation) }
          await agrees('Resize', [x, null, ndarray('float32', [4], scales)], attributes)
        }
    await agrees('Resize', [x, null, null, numbers('int64', [4], [1, 2, 9, 4])], {
      mode: string('cubic'),
      cubic_coeff_a: float(-0.5),
      exclude_outside: int(1),
    })
    await agrees('Resize', [x, null, ndarray('float32', [2], [0.4, 0.5])], {
      mode: string('linear'),
      antialias: int(1),
      axes: ints([2, 3]),
    })
  })

  test('Attention: masks, caches, soft cap', async () => {
    const heads = { q_num_heads: int(4), kv_num_heads: int(2) }
    const packed = [arrays.normal(2, 3, 32), arrays.normal(2, 5, 16), arrays.normal(2, 5, 16)]
    const run = (inputs: (NDArray | null)[], attributes: Attributes, outputs = 1) => agrees('Attention', inputs, attributes, outputs, 23)
    await run(packed, heads)
    await run([...packed, arrays.normal(3, 5)], { ...heads, softcap: float(2), scale: float(0.7) })
    await run([...packed, arrays.codes('bool', 1, 1, 2, 1, 3, 5)], heads)
    const cached = [
      arrays.normal(2, 4, 3, 8),
      arrays.normal(2, 2, 3, 8),
      arrays.normal(2, 2, 3, 6),
      null,
      arrays.normal(2, 2, 4, 8),
      arrays.normal(2, 2, 4, 6),
    ]
    await run(cached, {}, 3)
    await run([arrays.normal(1, 2, 4, 8), arrays.normal(1, 2, 4, 8), arrays.normal(1, 2, 4, 8)], { is_causal: int(1) })
  })

  test('quantization along axes and blocks', async () => {
    const x = arrays.normal(4, 6, 5)
    await agrees('QuantizeLinear', [x, arrays.scales(6), arrays.codes('int8', -9, 9, 6)], { axis: int(1) })
    await agrees('QuantizeLinear', [x, arrays.scales(4, 2, 5), arrays.codes('uint8', 90, 160, 4, 2, 5)], {
      axis: int(1),
      block_size: int(3),
    })
    await agrees('DequantizeLinear', [arrays.codes('int8', -128, 127, 4, 6, 5), arrays.scales(4, 6, 3)], {
      axis: int(2),
      block_size: int(2),
    })
    await agrees('DynamicQuantizeLinear', [x], {}, 3)
    const codes = arrays.codes('uint8', 0, 255, 2, 3, 8)
    const [a, b, y] = [0.02, 0.01, 0.4].map((scale) => numbers('float32', [], [scale]))
    await agrees('QLinearMatMul', [
      codes,
      a,
      numbers('uint8', [], [3]),
      arrays.codes('int8', -64, 63, 8, 4),
      b,
      numbers('int8', [], [1]),
      y,
      numbers('uint8', [], [128]),
    ])
    await agrees('MatMulInteger', [codes, arrays.codes('int8', -64, 63, 8, 4), numbers('uint8', [], [3])])
  })

  test('normalizations and losses', async () => {
    const x = arrays.normal(2, 4, 3, 5)
    await agrees('LayerNormalization', [x, arrays.normal(3, 5), arrays.normal(3, 5)], { axis: int(2) }, 3)
    await agrees('RMSNormalization', [x, arrays.normal(5)], { epsilon: float(1e-6) }, 1, 23)
    await agrees('GroupNormalization', [x, arrays.normal(4), arrays.normal(4)], { num_groups: int(2) })
    await agrees('LRN', [x], { size: int(3), alpha: float(0.2) })
    await agrees('LpNormalization', [x], { p: int(1), axis: int(1) })
  })
})
