import { describe, expect, test } from 'vitest'
import { float, int, ints } from '../../src/ir/attribute.js'
import type { Attributes } from '../../src/ir/index.js'
import { type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { Arrays, type Call, difference, evaluate, expectAgreement, numbers, runtime } from './call.js'

const domain = 'com.microsoft'
const arrays = new Arrays('microsoft')

async function agrees(
  operator: string,
  inputs: (NDArray | null)[],
  attributes: Attributes = {},
  outputs = 1,
  tolerance = 1e-5,
): Promise<void> {
  await expectAgreement({ operator, domain, inputs, attributes, outputs }, tolerance)
}

describe('activations', () => {
  test('Gelu, QuickGelu, BiasGelu, FastGelu', async () => {
    const [x, bias] = [arrays.normal(2, 5, 16), arrays.normal(16)]
    await agrees('Gelu', [x])
    await agrees('QuickGelu', [x], { alpha: float(1.3) })
    await agrees('BiasGelu', [x, bias])
    await agrees('FastGelu', [x])
    await agrees('FastGelu', [x, bias])
  })
})

describe('products', () => {
  test('FusedMatMul transposes matrices and batches', async () => {
    await agrees('FusedMatMul', [arrays.normal(2, 4, 3), arrays.normal(2, 4, 5)], { transA: int(1), alpha: float(0.5) })
    await agrees('FusedMatMul', [arrays.normal(2, 4, 3), arrays.normal(2, 5, 3)], { transB: int(1) })
    await agrees('FusedMatMul', [arrays.normal(4, 2, 3), arrays.normal(2, 3, 5)], { transBatchA: int(1) })
    await agrees('FusedMatMul', [arrays.normal(4, 2, 3), arrays.normal(2, 4, 5)], { transBatchA: int(1), transA: int(1) })
  })
})

describe('normalizations', () => {
  const [x, skip, gamma, beta, bias] = [
    arrays.normal(2, 3, 8),
    arrays.normal(2, 3, 8),
    arrays.normal(8),
    arrays.normal(8),
    arrays.normal(8),
  ]

  test('SkipLayerNormalization with bias and the sum as an output', async () => {
    const call: Call = {
      operator: 'SkipLayerNormalization',
      domain,
      inputs: [x, skip, gamma, beta, bias],
      attributes: { epsilon: float(1e-5) },
    }
    await expectAgreement(call)
    await expectAgreement({ ...call, inputs: [x, skip, gamma] })
    await expectAgreement({ ...call, inputs: [x, arrays.normal(3, 8), gamma, beta] })
  })

  test('SkipSimplifiedLayerNormalization', async () => {
    await agrees('SkipSimplifiedLayerNormalization', [x, skip, gamma, bias], { epsilon: float(1e-5) })
  })

  test('SimplifiedLayerNormalization', async () => {
    await expectAgreement({
      operator: 'SimplifiedLayerNormalization',
      inputs: [x, gamma],
      attributes: { axis: int(-1), epsilon: float(1e-6) },
    })
  })

  test('EmbedLayerNormalization with segments, mask and positions', async () => {
    const ids = arrays.codes('int32', 0, 10, 2, 4)
    const kinds = arrays.codes('int32', 0, 1, 2, 4)
    const mask = numbers('int32', [2, 4], [1, 1, 1, 0, 1, 1, 1, 1])
    const positions = numbers('int32', [2, 4], [3, 2, 1, 0, 0, 1, 2, 3])
    const tables = [arrays.normal(11, 8), arrays.normal(5, 8), arrays.normal(2, 8), gamma, beta]
    await agrees('EmbedLayerNormalization', [ids, kinds, ...tables, mask], { epsilon: float(1e-5) }, 2)
    await agrees(
      'EmbedLayerNormalization',
      [ids, null, tables[0], tables[1], null, gamma, beta, null, positions],
      { epsilon: float(1e-5) },
      2,
    )
  })

  test('RotaryEmbedding with an offset and with positions', async () => {
    const [cosines, sines] = [arrays.normal(10, 4), arrays.normal(10, 4)]
    const positions = numbers('int64', [2, 3], [4, 5, 6, 0, 1, 2])
    await agrees('RotaryEmbedding', [arrays.normal(2, 3, 16), numbers('int64', [1], [5]), cosines, sines])
    await agrees('RotaryEmbedding', [arrays.normal(2, 2, 3, 8), positions, cosines, sines], { interleaved: int(1) })
    await agrees('RotaryEmbedding', [arrays.normal(2, 3, 32), positions, cosines, sines], {
      num_heads: int(2),
      rotary_embedding_dim: int(8),
    })
  })
})

describe('Attention', () => {
  const [x, weight, bias] = [arrays.normal(2, 4, 12), arrays.normal(12, 48), arrays.normal(48)]
  const heads = { num_heads: int(2) }

  test('plain, causal, with other sizes for values', async () => {
    await agrees('Attention', [x, weight, bias], heads)
    await agrees('Attention', [x, weight, bias], { ...heads, unidirectional: int(1), scale: float(0.3) })
    await agrees('Attention', [x, arrays.normal(12, 40), arrays.normal(40)], { ...heads, qkv_hidden_sizes: ints([16, 16, 8]) })
  })

  test('masks: lengths, ends and starts, two and three dimensions', async () => {
    await agrees('Attention', [x, weight, bias, numbers('int32', [2], [3, 4])], heads)
    await agrees('Attention', [x, weight, bias, numbers('int32', [4], [3, 4, 1, 0])], heads)
    await agrees('Attention', [x, weight, bias, numbers('int32', [2, 4], [1, 1, 0, 0, 0, 1, 1, 1])], heads)
    const mask3 = arrays.codes('int32', 0, 1, 2, 4, 4)
    await agrees('Attention', [x, weight, bias, mask3], { ...heads, mask_filter_value: float(-100) })
    await agrees('Attention', [x, weight, bias, numbers('int32', [2, 4], [1, 1, 1, 0, 1, 1, 1, 1])], { ...heads, unidirectional: int(1) })
  })

  test('past and present, attention bias', async () => {
    const past = arrays.normal(2, 2, 2, 3, 8)
    await agrees('Attention', [x, weight, bias, null, past], { ...heads, unidirectional: int(1) }, 2)
    await agrees('Attention', [x, weight, bias, numbers('int32', [2, 7], [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]), past], heads, 2)
    await agrees('Attention', [x, weight, bias, null, null, arrays.normal(1, 2, 4, 4)], heads)
  })

  test('QAttention: per column scales, zero points, past', async () => {
    const codes = arrays.codes('uint8', 0, 255, 2, 4, 12)
    const weights = arrays.codes('int8', -64, 63, 12, 48)
    const [scale, zero] = [numbers('float32', [], [0.02]), numbers('uint8', [], [117])]
    const columns = ndarray(
      'float32',
      [48],
      Array.from({ length: 48 }, (_, i) => 0.002 + 0.0001 * i),
    )
    const mask = numbers('int32', [2], [3, 4])
    await agrees('QAttention', [codes, weights, bias, scale, numbers('float32', [], [0.005]), mask, zero, numbers('int8', [], [3])], heads)
    await agrees('QAttention', [codes, weights, bias, scale, columns, null, zero, ndarray('int8', [48], new Int8Array(48))], {
      ...heads,
      unidirectional: int(1),
    })
    const past = arrays.normal(2, 2, 2, 3, 8)
    await agrees(
      'QAttention',
      [codes, weights, bias, scale, columns, null, zero, ndarray('int8', [48], new Int8Array(48)), past],
      { ...heads, unidirectional: int(1) },
      2,
    )
  })
})

describe('MultiHeadAttention', () => {
  const [query, key, value] = [arrays.normal(2, 3, 16), arrays.normal(2, 5, 16), arrays.normal(2, 5, 8)]
  const heads = { num_heads: int(2) }

  test('separate, with bias, masks and attention bias', async () => {
    await agrees('MultiHeadAttention', [query, key, value], heads)
    await agrees('MultiHeadAttention', [query, key, value, arrays.normal(40)], heads)
    await agrees('MultiHeadAttention', [query, key, value, null, numbers('int32', [2, 5], [1, 1, 1, 0, 0, 1, 1, 1, 1, 1])], heads)
    await agrees('MultiHeadAttention', [query, key, value, null, numbers('int32', [2], [2, 5])], heads)
    await agrees('MultiHeadAttention', [query, key, value, null, null, arrays.normal(2, 1, 3, 5)], heads)
    await agrees('MultiHeadAttention', [query, arrays.normal(2, 3, 16), arrays.normal(2, 3, 16)], { ...heads, unidirectional: int(1) })
  })

  test('scores as an output', async () => {
    await agrees('MultiHeadAttention', [query, key, value, null, null, arrays.normal(2, 1, 3, 5)], heads, 4)
  })

  test('keys and values as heads', async () => {
    await agrees('MultiHeadAttention', [query, arrays.normal(2, 2, 5, 8), arrays.normal(2, 2, 5, 8)], heads)
  })

  test('packed projections are the separate ones', () => {
    const packed = arrays.normal(2, 3, 2, 3, 8)
    const part = (index: number): NDArray => {
      const data = Array.from({ length: 96 }, (_, i) => packed.data[(Math.floor(i / 8) * 3 + index) * 8 + (i % 8)] as number)
      return ndarray('float32', [2, 3, 16], data)
    }
    const pair = ndarray(
      'float32',
      [2, 3, 2, 2, 8],
      Array.from({ length: 192 }, (_, i) => packed.data[(Math.floor(i / 16) * 3 + 1 + (Math.floor(i / 8) % 2)) * 8 + (i % 8)] as number),
    )
    const run = (...inputs: NDArray[]) => evaluate({ operator: 'MultiHeadAttention', domain, inputs, attributes: heads })[0]
    const separate = run(part(0), part(1), part(2))
    expect(difference(run(packed), separate)).toBe(0)
    expect(difference(run(part(0), pair), separate)).toBe(0)
  })

  test('past and present', async () => {
    const [next, past] = [
      [arrays.normal(2, 3, 16), arrays.normal(2, 3, 16)],
      [arrays.normal(2, 2, 4, 8), arrays.normal(2, 2, 4, 8)],
    ]
    await agrees('MultiHeadAttention', [query, ...next, null, null, null, ...past], { ...heads, unidirectional: int(1) }, 3)
    await agrees('MultiHeadAttention', [query, ...next, arrays.normal(48), null, null, ...past], { ...heads, scale: float(0.2) }, 3)
  })
})

describe('GroupQueryAttention', () => {
  const heads = { num_heads: int(4), kv_num_heads: int(2) }
  const tables = () => [arrays.normal(12, 8), arrays.normal(12, 8)]
  const prompt = (batch: number, length: number) => [
    arrays.normal(batch, length, 64),
    arrays.normal(batch, length, 32),
    arrays.normal(batch, length, 32),
  ]
  const lengths = (...last: number[]) => numbers('int32', [last.length], last)
  const total = (length: number) => numbers('int32', [], [length])
  const cache = (batch: number, length: number) => [arrays.normal(batch, 2, length, 16), arrays.normal(batch, 2, length, 16)]

  test('prompts: plain, rotary, soft cap, packed', async () => {
    await agrees('GroupQueryAttention', [...prompt(2, 5), null, null, lengths(4, 4), total(5)], heads, 3)
    await agrees(
      'GroupQueryAttention',
      [...prompt(2, 5), null, null, lengths(4, 4), total(5), ...tables()],
      { ...heads, do_rotary: int(1) },
      3,
    )
    await agrees(
      'GroupQueryAttention',
      [...prompt(2, 5), null, null, lengths(4, 4), total(5), ...tables()],
      { ...heads, do_rotary: int(1), rotary_interleaved: int(1) },
      3,
    )
    await agrees(
      'GroupQueryAttention',
      [...prompt(1, 5), null, null, lengths(4), total(5)],
      { ...heads, softcap: float(2), scale: float(0.5) },
      3,
    )
    await agrees(
      'GroupQueryAttention',
      [arrays.normal(2, 5, 128), null, null, null, null, lengths(4, 4), total(5), ...tables()],
      { ...heads, do_rotary: int(1) },
      3,
    )
  })

  test('decoding with samples of different lengths', async () => {
    const inputs = [...prompt(2, 1), ...cache(2, 6), lengths(6, 3), total(7), ...tables()]
    await agrees('GroupQueryAttention', inputs, { ...heads, do_rotary: int(1) }, 3)
  })

  test('a second prompt after a first', async () => {
    const inputs = [...prompt(1, 3), ...cache(1, 4), lengths(6), total(7), ...tables()]
    await agrees('GroupQueryAttention', inputs, { ...heads, do_rotary: int(1) }, 3)
  })

  test('windows', async () => {
    for (const window of [1, 2, 4]) {
      await agrees(
        'GroupQueryAttention',
        [...prompt(2, 6), null, null, lengths(5, 5), total(6)],
        { ...heads, local_window_size: int(window) },
        3,
      )
      await agrees(
        'GroupQueryAttention',
        [...prompt(1, 1), ...cache(1, 6), lengths(6), total(7)],
        { ...heads, local_window_size: int(window) },
        3,
      )
    }
  })

  test('positions, attention bias, sinks', async () => {
    const positions = numbers('int64', [2, 1], [6, 3])
    await agrees(
      'GroupQueryAttention',
      [...prompt(2, 1), ...cache(2, 6), lengths(6, 3), total(7), ...tables(), positions],
      { ...heads, do_rotary: int(1) },
      3,
    )
    const bias = arrays.normal(1, 4, 5, 5)
    await agrees(
      'GroupQueryAttention',
      [...prompt(2, 5), null, null, lengths(4, 4), total(5), null, null, null, bias],
      { ...heads, softcap: float(3) },
      3,
    )
    await agrees(
      'GroupQueryAttention',
      [...prompt(2, 5), null, null, lengths(4, 4), total(5), null, null, null, null, arrays.normal(4)],
      heads,
      3,
    )
    await agrees('GroupQueryAttention', [...prompt(2, 5), null, null, lengths(4, 4), total(5)], { ...heads, smooth_softmax: int(1) }, 3)
  })

  test('scores before and after the softmax', async () => {
    for (const stage of [1, 2])
      await agrees(
        'GroupQueryAttention',
        [...prompt(2, 5), null, null, lengths(4, 4), total(5)],
        { ...heads, softcap: float(2), qk_output: int(stage) },
        4,
      )
  })

  test('is MultiHeadAttention on repeated heads', () => {
    const [query, key, value] = prompt(2, 5)
    const repeat = (array: NDArray): NDArray => {
      const data = new Float32Array(2 * 5 * 64)
      for (let row = 0; row < 10; row++)
        for (let h = 0; h < 4; h++)
          data.set((array.data as Float32Array).subarray(row * 32 + (h >> 1) * 16).subarray(0, 16), row * 64 + h * 16)
      return { dtype: 'float32', shape: [2, 5, 64], data }
    }
    const [grouped] = evaluate({
      operator: 'GroupQueryAttention',
      domain,
      inputs: [query, key, value, null, null, lengths(4, 4), total(5)],
      attributes: heads,
    })
    const [repeated] = evaluate({
      operator: 'MultiHeadAttention',
      domain,
      inputs: [query, repeat(key), repeat(value)],
      attributes: { num_heads: int(4), unidirectional: int(1) },
    })
    expect(difference(grouped, repeated)).toBeLessThan(1e-6)
  })
})

describe('quantized operators', () => {
  const [a, b] = [arrays.codes('uint8', 0, 255, 2, 3, 16), arrays.codes('int8', -64, 63, 16, 8)]
  const scalar = (value: number) => numbers('float32', [], [value])

  test('MatMulIntegerToFloat', async () => {
    await agrees('MatMulIntegerToFloat', [
      a,
      b,
      scalar(0.02),
      scalar(0.01),
      numbers('uint8', [], [121]),
      numbers('int8', [], [-3]),
      arrays.normal(8),
    ])
    await agrees('MatMulIntegerToFloat', [a, b, scalar(0.02), arrays.scales(8), numbers('uint8', [], [121])])
    await agrees('MatMulIntegerToFloat', [a, b, scalar(0.02), arrays.scales(8), null, arrays.codes('int8', -5, 5, 8), arrays.normal(8)])
  })

  test('DynamicQuantizeMatMul', async () => {
    await agrees('DynamicQuantizeMatMul', [arrays.normal(2, 3, 16), b, scalar(0.01)])
    await agrees('DynamicQuantizeMatMul', [arrays.normal(2, 3, 16), b, arrays.scales(8), arrays.codes('int8', -5, 5, 8), arrays.normal(8)])
  })

  test('QGemm with and without an output scale', async () => {
    const [x, w, bias] = [arrays.codes('uint8', 0, 255, 3, 16), arrays.codes('int8', -64, 63, 8, 16), arrays.codes('int32', -900, 900, 8)]
    const zero = numbers('int8', [], [0])
    await agrees('QGemm', [x, scalar(0.02), numbers('uint8', [], [7]), w, scalar(0.01), zero, bias], { transB: int(1) })
    await agrees(
      'QGemm',
      [
        x,
        scalar(0.02),
        numbers('uint8', [], [7]),
        w,
        arrays.scales(8),
        ndarray('int8', [8], new Int8Array(8)),
        bias,
        scalar(0.3),
        numbers('uint8', [], [100]),
      ],
      { transB: int(1) },
    )
  })

  test('MatMulNBits: bits, zero points, a ragged last block, bias', async () => {
    for (const bits of [2, 4, 8]) {
      const [rows, columns, blockSize] = [6, 40, 16]
      const attributes = { K: int(columns), N: int(rows), bits: int(bits), block_size: int(blockSize) }
      const codes = arrays.codes('uint8', 0, 255, rows, 3, (blockSize * bits) / 8)
      const inputs = [arrays.normal(2, 3, columns), codes, arrays.scales(rows, 3)]
      await agrees('MatMulNBits', inputs, attributes)
      await agrees(
        'MatMulNBits',
        [...inputs, arrays.codes('uint8', 0, 255, rows, Math.ceil((3 * bits) / 8)), null, arrays.normal(rows)],
        attributes,
      )
      if (bits < 8) await agrees('MatMulNBits', [...inputs, arrays.normal(rows, 3)], attributes)
    }
  })

  test('MatMulBnb4: FP4 and NF4', async () => {
    for (const kind of [0, 1]) {
      const attributes = { K: int(32), N: int(8), block_size: int(16), quant_type: int(kind) }
      await agrees('MatMulBnb4', [arrays.normal(2, 32), arrays.codes('uint8', 0, 255, 128), arrays.scales(16)], attributes)
    }
  })

  test('GatherBlockQuantized: packed bytes and tables that share the weight of MatMulNBits', async () => {
    const indices = numbers('int64', [2, 3], [0, 5, 2, 6, 1, 1])
    for (const bits of [4, 8]) {
      const attributes = { bits: int(bits), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) }
      const codes = arrays.codes('uint8', 0, 255, 7, (32 * bits) / 8)
      await agrees('GatherBlockQuantized', [codes, indices, arrays.scales(7, 2)], attributes)
      await agrees(
        'GatherBlockQuantized',
        [codes, indices, arrays.scales(7, 2), arrays.codes('uint8', 0, 255, 7, Math.ceil((2 * bits) / 8))],
        attributes,
      )
    }
    const shared = { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(2) }
    await agrees('GatherBlockQuantized', [arrays.codes('uint8', 0, 255, 7, 2, 8), indices, arrays.scales(7, 2, 1)], shared)
  })

  test('from codes to codes, one step off at most', async () => {
    const [x, y] = [arrays.codes('uint8', 0, 255, 2, 3, 4), arrays.codes('uint8', 0, 255, 3, 4)]
    const byte = (value: number) => numbers('uint8', [], [value])
    const near = async (operator: string, inputs: NDArray[], attributes: Attributes = {}) => {
      const call = { operator, domain, inputs, attributes }
      const [[reference], [computed]] = [evaluate(call), await runtime(call)]
      expect(reference.shape).toEqual(computed.shape)
      reference.data.forEach((code, i) => {
        expect(Math.abs(Number(code) - Number(computed.data[i]))).toBeLessThanOrEqual(1)
      })
    }
    const to = [scalar(0.05), byte(100)]
    await near('QLinearAdd', [x, scalar(0.02), byte(120), y, scalar(0.03), byte(130), ...to])
    await near('QLinearMul', [x, scalar(0.02), byte(120), y, scalar(0.03), byte(130), ...to])
    await near('QLinearSigmoid', [x, scalar(0.02), byte(120), scalar(1 / 256), byte(0)])
    await near('QLinearLeakyRelu', [x, scalar(0.02), byte(120), ...to], { alpha: float(0.1) })
    await near('QLinearSoftmax', [x, scalar(0.02), byte(120), scalar(1 / 256), byte(0)], { axis: int(-1), opset: int(13) })
    await near('QLinearConcat', [...to, x, scalar(0.02), byte(120), x, scalar(0.04), byte(7)], { axis: int(1) })
    await near('QLinearGlobalAveragePool', [arrays.codes('uint8', 0, 255, 2, 3, 4, 4), scalar(0.02), byte(120), ...to])
  })
})
