import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { float, int, ints, string } from '../../src/ir/attribute.js'
import { type Attributes, type Dim, Graph } from '../../src/ir/index.js'
import { type DType, type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { inferShapes } from '../../src/ops/infer.js'
import { upgradeGraph } from '../../src/ops/upgrade.js'
import { Arrays, difference, evaluate, numbers } from './call.js'

const arrays = new Arrays('neural')
const run = (operator: string, inputs: (NDArray | null)[], attributes: Attributes = {}, outputs = 1) =>
  evaluate({ operator, inputs, attributes, outputs })
const finite = fc.double({ min: -30, max: 30, noNaN: true })
const row = fc.array(finite, { minLength: 1, maxLength: 9 })

describe('activations', () => {
  test('Softmax sums to one, ignores a shift, and LogSoftmax is its logarithm', () => {
    fc.assert(
      fc.property(row, finite, (values, shift) => {
        const x = ndarray('float64', [1, values.length], values)
        const [y] = run('Softmax', [x])
        const sum = [...numbersOf(y)].reduce((a, b) => a + b, 0)
        expect(sum).toBeCloseTo(1, 12)
        const moved = ndarray(
          'float64',
          [1, values.length],
          values.map((value) => value + shift),
        )
        expect(difference(run('Softmax', [moved])[0], y)).toBeLessThan(1e-12)
        numbersOf(run('LogSoftmax', [x])[0]).forEach((value, i) => {
          expect(Math.exp(value)).toBeCloseTo(numbersOf(y)[i], 12)
        })
      }),
    )
  })

  test('GELU is x minus its mirror image, and its tanh form is near', () => {
    fc.assert(
      fc.property(finite, (x) => {
        const at = (value: number, approximate = 'none') =>
          numbersOf(run('Gelu', [ndarray('float64', [1], [value])], { approximate: string(approximate) })[0])[0]
        expect(at(x) - at(-x)).toBeCloseTo(x, 9)
        expect(Math.abs(at(x) - at(x, 'tanh'))).toBeLessThan(1e-3)
      }),
    )
    expect(numbersOf(run('Gelu', [ndarray('float64', [1], [1])])[0])[0]).toBeCloseTo(0.8413447460685429, 14)
  })

  test('Swish, SiLU and SwiGLU agree; Mish and Softplus do not overflow', () => {
    const [a, b] = [arrays.normal(3, 4), arrays.normal(3, 4)]
    const product = numbersOf(run('Swish', [a])[0]).map((value, i) => Math.fround(value * numbersOf(b)[i]))
    expect(difference(run('SwiGLU', [a, b])[0], ndarray('float32', [3, 4], product))).toBeLessThan(1e-6)
    const large = ndarray('float32', [2], [800, -800])
    expect([...numbersOf(run('Softplus', [large])[0])]).toEqual([800, 0])
    expect([...numbersOf(run('Mish', [large])[0])].map(Math.abs)).toEqual([800, 0])
  })

  test('a softmax of opset 11 sees a matrix split at its axis', async () => {
    const graph = new Graph('old')
    graph.opsets.set('', 11)
    const x = graph.addInput('x', 'float32', [2, 3, 4])
    graph.outputs.push(graph.add('Softmax', [x], { attributes: { axis: int(1) }, outputs: ['y'] }).output)
    upgradeGraph(graph)
    inferShapes(graph)
    expect([...graph.nodes()].map((node) => node.type)).toEqual(['Shape', 'Flatten', 'Softmax', 'Reshape'])
    expect(graph.outputs[0].name).toBe('y')
    expect(graph.outputs[0].shape).toEqual([2, 3, 4])
  })
})

describe('matrix products', () => {
  test('MatMul of broadcast batches against a sum by definition', () => {
    const [a, b] = [arrays.normal(2, 1, 3, 4), arrays.normal(5, 4, 2)]
    const [y] = run('MatMul', [a, b])
    expect(y.shape).toEqual([2, 5, 3, 2])
    const [x, w] = [numbersOf(a), numbersOf(b)]
    for (let i = 0; i < 2; i++)
      for (let j = 0; j < 5; j++)
        for (let r = 0; r < 3; r++)
          for (let c = 0; c < 2; c++) {
            let sum = 0
            for (let k = 0; k < 4; k++) sum += x[(i * 3 + r) * 4 + k] * w[(j * 4 + k) * 2 + c]
            expect(numbersOf(y)[((i * 5 + j) * 3 + r) * 2 + c]).toBeCloseTo(sum, 5)
          }
  })

  test('Einsum is MatMul, Transpose, trace and attention scores', () => {
    const [a, b] = [arrays.normal(2, 3, 4), arrays.normal(2, 4, 5)]
    expect(difference(run('Einsum', [a, b], { equation: string('bij,bjk->bik') })[0], run('MatMul', [a, b])[0])).toBe(0)
    const square = arrays.normal(3, 3)
    const trace = numbersOf(run('Einsum', [square], { equation: string('ii->') })[0])[0]
    expect(trace).toBeCloseTo((square.data[0] as number) + (square.data[4] as number) + (square.data[8] as number), 6)
    expect(run('Einsum', [a, b], { equation: string('...ij,...jk') })[0].shape).toEqual([2, 3, 5])
  })

  test('Gemm scales, transposes and adds', () => {
    const [a, b, c] = [ndarray('float32', [2, 1], [1, 2]), ndarray('float32', [2, 2], [1, 2, 3, 4]), ndarray('float32', [2], [10, 20])]
    const [y] = run('Gemm', [a, b, c], { transA: int(1), transB: int(1), alpha: float(2), beta: float(0.5) })
    expect([...y.data]).toEqual([15, 32])
  })
})

describe('normalizations', () => {
  const x = arrays.normal(4, 32)
  const ones = ndarray('float32', [32], new Array(32).fill(1))

  test('LayerNormalization has zero mean and unit variance, and gives its statistics', () => {
    const [y, mean, inverse] = run('LayerNormalization', [x, ones], { epsilon: float(0) }, 3)
    for (let r = 0; r < 4; r++) {
      const values = [...numbersOf(y)].slice(r * 32, (r + 1) * 32)
      expect(values.reduce((a, b) => a + b, 0) / 32).toBeCloseTo(0, 6)
      expect(values.reduce((a, b) => a + b * b, 0) / 32).toBeCloseTo(1, 6)
      expect(((x.data[r * 32] as number) - numbersOf(mean)[r]) * numbersOf(inverse)[r]).toBeCloseTo(values[0], 5)
    }
  })

  test('RMSNormalization is LayerNormalization where the mean is zero; one group or all channels are the same norms', () => {
    const mirrored = ndarray('float32', [1, 32], [
      ...x.data.slice(0, 16),
      ...(x.data.slice(0, 16) as Float32Array).map((value) => -value),
    ] as number[])
    expect(difference(run('RMSNormalization', [mirrored, ones])[0], run('LayerNormalization', [mirrored, ones])[0])).toBeLessThan(1e-6)
    const image = arrays.normal(2, 4, 3, 3)
    const [scale, bias] = [arrays.normal(4), arrays.normal(4)]
    const grouped = run('GroupNormalization', [image, scale, bias], { num_groups: int(4) })[0]
    expect(difference(grouped, run('InstanceNormalization', [image, scale, bias])[0])).toBe(0)
  })

  test('float16 is rounded where the standard casts back', () => {
    const half = { ...x, dtype: 'float16' as DType }
    const [y] = run('LayerNormalization', [half, { ...ones, dtype: 'float16' }])
    expect(difference(y, run('LayerNormalization', [x, ones])[0])).toBeLessThan(1e-3)
  })
})

describe('attention', () => {
  const heads = (count: number, kv = count): Attributes => ({ q_num_heads: int(count), kv_num_heads: int(kv) })

  test('scores that single out one key copy its value', () => {
    const query = ndarray('float32', [1, 1, 3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1])
    const value = arrays.normal(1, 1, 3, 5)
    const [y] = run('Attention', [query, query, value], { scale: float(1000) })
    expect(difference(y, value)).toBeLessThan(1e-6)
  })

  test('grouped heads are repeated heads, packed inputs are separate ones', () => {
    const [query, key, value] = [arrays.normal(2, 4, 3, 8), arrays.normal(2, 2, 5, 8), arrays.normal(2, 2, 5, 6)]
    const repeat = ({ shape, data }: NDArray): NDArray => {
      const size = shape[2] * shape[3]
      const values = Array.from({ length: 4 }, (_, i) => i).flatMap((i) => [
        ...(data as Float32Array).subarray(i * size, (i + 1) * size),
        ...(data as Float32Array).subarray(i * size, (i + 1) * size),
      ])
      return ndarray('float32', [2, 4, shape[2], shape[3]], values)
    }
    const [grouped] = run('Attention', [query, key, value])
    expect(difference(grouped, run('Attention', [query, repeat(key), repeat(value)])[0])).toBe(0)
    const packed = (array: NDArray) => {
      const [b, h, t, d] = array.shape
      const at = (i: number) => {
        const [e, head, token] = [i % d, Math.floor(i / d) % h, Math.floor(i / d / h) % t]
        return array.data[((Math.floor(i / d / h / t) * h + head) * t + token) * d + e] as number
      }
      return ndarray(
        'float32',
        [b, t, h * d],
        Array.from({ length: array.data.length }, (_, i) => at(i)),
      )
    }
    const [merged] = run('Attention', [packed(query), packed(key), packed(value)], heads(4, 2))
    expect(difference(merged, packed(grouped))).toBe(0)
  })

  test('decoding with a cache gives the last rows of the whole', () => {
    const [query, key, value] = [arrays.normal(1, 2, 6, 8), arrays.normal(1, 2, 6, 8), arrays.normal(1, 2, 6, 8)]
    const rows = (array: NDArray, from: number, to: number): NDArray => {
      const values = [0, 1].flatMap((h) => [...(array.data as Float32Array).subarray((h * 6 + from) * 8, (h * 6 + to) * 8)])
      return ndarray('float32', [1, 2, to - from, 8], values)
    }
    const causal = { is_causal: int(1) }
    const [whole] = run('Attention', [query, key, value], causal)
    const inputs = [rows(query, 4, 6), rows(key, 4, 6), rows(value, 4, 6), null, rows(key, 0, 4), rows(value, 0, 4)]
    const [y, presentKey, presentValue] = run('Attention', inputs, causal, 3)
    expect(difference(y, rows(whole, 4, 6))).toBe(0)
    expect(difference(presentKey, key)).toBe(0)
    expect(difference(presentValue, value)).toBe(0)
  })

  test('a window is a mask, and hidden queries give zeros', () => {
    const [query, key, value] = [arrays.normal(1, 1, 4, 8), arrays.normal(1, 1, 4, 8), arrays.normal(1, 1, 4, 8)]
    const band = numbers('bool', [4, 4], [1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1])
    const windowed = run('Attention', [query, key, value], { is_causal: int(1), left_window_size: int(1) })[0]
    expect(difference(windowed, run('Attention', [query, key, value, band])[0])).toBe(0)
    const none = numbers('bool', [4, 4], new Array(16).fill(0))
    expect([...run('Attention', [query, key, value, none])[0].data]).toEqual(new Array(32).fill(0))
  })

  test('rotary positions keep lengths and depend on distances only', () => {
    const [query, key] = [arrays.normal(1, 1, 1, 8), arrays.normal(1, 1, 1, 8)]
    const angles = Array.from({ length: 40 }, (_, i) => Math.floor(i / 4) / 10 ** (i % 4))
    const [cosines, sines] = [Math.cos, Math.sin].map((f) => ndarray('float32', [10, 4], angles.map(f)))
    const at = (x: NDArray, position: number) =>
      numbersOf(run('RotaryEmbedding', [x, cosines, sines, numbers('int64', [1, 1], [position])])[0])
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0)
    expect(dot(at(query, 7), at(query, 7))).toBeCloseTo(dot(numbersOf(query), numbersOf(query)), 5)
    expect(dot(at(query, 7), at(key, 4))).toBeCloseTo(dot(at(query, 3), at(key, 0)), 5)
  })

  test('linear attention without decay is attention without softmax', () => {
    const [query, key, value] = [arrays.normal(1, 5, 4), arrays.normal(1, 5, 4), arrays.normal(1, 5, 3)]
    const attributes = { q_num_heads: int(1), kv_num_heads: int(1), update_rule: string('linear'), scale: float(1) }
    const [y] = run('LinearAttention', [query, key, value], attributes, 2)
    const [q, k, v] = [query, key, value].map(numbersOf)
    for (let t = 0; t < 5; t++)
      for (let m = 0; m < 3; m++) {
        let sum = 0
        for (let s = 0; s <= t; s++) for (let d = 0; d < 4; d++) sum += q[t * 4 + d] * k[s * 4 + d] * v[s * 3 + m]
        expect(numbersOf(y)[t * 3 + m]).toBeCloseTo(sum, 4)
      }
  })

  test('a causal convolution in two parts is the whole one', () => {
    const [x, weight] = [arrays.normal(1, 2, 6), arrays.normal(2, 1, 3)]
    const [whole, state] = run('CausalConvWithState', [x, weight], {}, 2)
    const part = (from: number, to: number) =>
      ndarray(
        'float32',
        [1, 2, to - from],
        [0, 1].flatMap((c) => [...(x.data as Float32Array).subarray(c * 6 + from, c * 6 + to)]),
      )
    const [first, carried] = run('CausalConvWithState', [part(0, 2), weight], {}, 2)
    const [second, last] = run('CausalConvWithState', [part(2, 6), weight, null, carried], {}, 2)
    expect([...first.data.slice(0, 2), ...second.data.slice(0, 4)]).toEqual([...whole.data.slice(0, 6)])
    expect(difference(last, state)).toBe(0)
  })
})

describe('convolution and pooling', () => {
  test('ConvTranspose is the adjoint of Conv', () => {
    const attributes = { strides: ints([2, 1]), pads: ints([1, 0, 1, 1]), dilations: ints([1, 2]) }
    const [x, w] = [arrays.normal(1, 2, 7, 6), arrays.normal(3, 2, 3, 2)]
    const [y] = run('Conv', [x, w], attributes)
    const z = arrays.normal(...y.shape)
    const [back] = run('ConvTranspose', [z, w], attributes)
    const dot = (a: NDArray, b: NDArray) => [...numbersOf(a)].reduce((sum, value, i) => sum + value * numbersOf(b)[i], 0)
    expect(back.shape).toEqual(x.shape)
    expect(dot(y, z)).toBeCloseTo(dot(x, back), 3)
  })

  test('averages over everything and averages of a constant', () => {
    const x = arrays.normal(1, 2, 4, 4)
    const whole = run('AveragePool', [x], { kernel_shape: ints([4, 4]) })[0]
    expect(difference(whole, run('GlobalAveragePool', [x])[0])).toBeLessThan(1e-6)
    const ones = ndarray('float32', [1, 1, 5], [1, 1, 1, 1, 1])
    const same = { kernel_shape: ints([3]), auto_pad: string('SAME_UPPER') }
    expect([...run('AveragePool', [ones], same)[0].data]).toEqual([1, 1, 1, 1, 1])
  })
})

describe('quantization', () => {
  test('Dequantize(Quantize) stays within half a step, for every integer dtype, per tensor, axis and block', () => {
    const x = arrays.normal(4, 6)
    const cases: [number[], Attributes][] = [
      [[], {}],
      [[4], { axis: int(0) }],
      [[6], { axis: int(1) }],
      [[4, 3], { axis: int(1), block_size: int(2) }],
      [[2, 6], { axis: int(0), block_size: int(3) }],
    ]
    for (const dtype of ['int8', 'uint8', 'int16', 'uint16', 'int4', 'uint4', 'int2', 'uint2'] as const)
      for (const [shape, attributes] of cases) {
        const bits = Number(/\d+/.exec(dtype)![0])
        const size = shape.reduce((a, b) => a * b, 1)
        const step = 16 / 2 ** bits
        const scale = ndarray('float32', shape, new Array(size).fill(step))
        const zeroPoint = ndarray(dtype, shape, new Array(size).fill(dtype.startsWith('u') ? 2 ** (bits - 1) : 0))
        const [codes] = run('QuantizeLinear', [x, scale, zeroPoint], attributes)
        const [back] = run('DequantizeLinear', [codes, scale, zeroPoint], attributes)
        numbersOf(back).forEach((value, i) => {
          expect(Math.abs(value - numbersOf(x)[i])).toBeLessThanOrEqual(step / 2 + 1e-6)
        })
      }
  })

  test('ties go to the even code; float8 saturates or does not', () => {
    const halves = ndarray('float32', [4], [0.5, 1.5, 2.5, -0.5])
    expect([...run('QuantizeLinear', [halves, ndarray('float32', [], [1])])[0].data]).toEqual([0, 2, 2, 0])
    const [large, one, zero] = [ndarray('float32', [1], [1000]), ndarray('float32', [], [1]), ndarray('float8e4m3fn', [], [0])]
    expect([...run('QuantizeLinear', [large, one, zero])[0].data]).toEqual([448])
    expect([...run('QuantizeLinear', [large, one, zero], { saturate: int(0) })[0].data]).toEqual([Number.NaN])
  })

  test('integer products are exact with zero points per row and column', () => {
    const [a, b] = [numbers('uint8', [2, 2], [1, 2, 3, 4]), numbers('int8', [2, 2], [5, 6, 7, 8])]
    const [y] = run('MatMulInteger', [a, b, numbers('uint8', [2], [1, 2]), numbers('int8', [2], [0, 1])])
    expect([...y.data]).toEqual([7, 7, 19, 19])
  })
})

describe('symbolic shapes', () => {
  const infer = (operator: string, shapes: (Dim[] | null)[], attributes: Attributes = {}, outputs = 1, domain = '') => {
    const graph = new Graph('symbolic')
    const inputs = shapes.map((shape, i) => shape && graph.addInput(`x${i}`, 'float32', shape))
    const node = graph.add(operator, inputs, { attributes, outputs, domain })
    inferShapes(graph)
    return node.outputs.map((output) => output.shape)
  }

  test('MatMul, attention with a cache, fused attention, convolution', () => {
    expect(
      infer('MatMul', [
        ['batch', 'tokens', 64],
        [64, 32],
      ]),
    ).toEqual([['batch', 'tokens', 32]])
    const cache: Dim[] = ['batch', 2, 'past', 16]
    const packed = [['batch', 'tokens', 64], ['batch', 'tokens', 32], ['batch', 'tokens', 32], null, cache, cache] as (Dim[] | null)[]
    const total: Dim[] = ['batch', 2, 'past + tokens', 16]
    expect(infer('Attention', packed, { q_num_heads: int(4), kv_num_heads: int(2) }, 4)).toEqual([
      ['batch', 'tokens', 64],
      total,
      total,
      ['batch', 4, 'tokens', 'past + tokens'],
    ])
    const multi = infer(
      'MultiHeadAttention',
      [
        ['b', 's', 64],
        ['b', 't', 64],
        ['b', 't', 32],
      ],
      { num_heads: int(4) },
      3,
      'com.microsoft',
    )
    expect(multi).toEqual([
      ['b', 's', 32],
      ['b', 4, 't', 16],
      ['b', 4, 't', 8],
    ])
    const grouped = [['b', 's', 64], ['b', 's', 32], ['b', 's', 32], ['b', 2, 'p', 16], ['b', 2, 'p', 16], ['b'], []] as Dim[][]
    expect(infer('GroupQueryAttention', grouped, { num_heads: int(4), kv_num_heads: int(2) }, 3, 'com.microsoft')[1]).toEqual([
      'b',
      2,
      'p + s',
      16,
    ])
    expect(
      infer(
        'Conv',
        [
          ['b', 3, 224, 'w'],
          [8, 3, 16, 16],
        ],
        { strides: ints([16, 16]) },
      ),
    ).toEqual([['b', 8, 14, '(-16 + w)//16 + 1']].map((shape) => [...shape.slice(0, 3), expect.anything()]))
  })

  test('shapes that cannot be right are errors', () => {
    expect(() =>
      infer('MatMul', [
        [2, 3],
        [4, 5],
      ]),
    ).toThrow(/no matrix product/)
    expect(() =>
      infer('Attention', [
        [1, 2, 8],
        [1, 2, 8],
        [1, 2, 8],
      ]),
    ).toThrow(/number of heads/)
  })
})
