import { attribute } from '../../../src/ir/index.js'
import { type Cases, call, integersArray as integers, random } from '../differences.js'

const { float, int, ints, string } = attribute
const axes = (...values: number[]) => integers([values.length], values)
const matMul = (a: readonly number[], b: readonly number[], symbols?: Record<string, (number | string)[]>) =>
  call('MatMul', { a: random(a, 1), b: random(b, 2) }, { symbols })
const einsum = (equation: string, ...shapes: number[][]) =>
  call('Einsum', Object.fromEntries(shapes.map((shape, i) => [`x${i}`, random(shape, i + 1)])), {
    attributes: { equation: string(equation) },
  })
const conv = (
  x: readonly number[],
  w: readonly number[],
  attributes = {},
  symbols?: Record<string, (number | string)[]>,
  operator = 'Conv',
) => {
  const filters = operator === 'Conv' ? w[0] : w[1] * Number((attributes as { group?: { value: number } }).group?.value ?? 1)
  return call(operator, { x: random(x, 1), w: random(w, 2), b: random([filters], 3) }, { attributes, symbols })
}
const pool = (operator: string, x: readonly number[], attributes: object, symbols?: Record<string, (number | string)[]>) =>
  call(operator, { x: random(x, 1, { gap: 0.1 }) }, { attributes: { ...attributes }, symbols })
const image = { symbols: { x: ['batch', 4, 'height', 'width'] } }
const channels = (x = random([2, 4, 2, 3], 1)) => ({ x, scale: random([4], 2), bias: random([4], 3) })
const statistics = { mean: random([4], 4), variance: random([4], 5, { scale: 0.3, shift: 1 }) }
const logits = random([3, 4], 1)
const labels = integers([3], [0, 3, 1])
const symbolicLogits = { symbols: { x: ['batch', 4], labels: ['batch'] } }

export const layerCases: Cases = {
  'MatMul 2 x 2': matMul([3, 4], [4, 2]),
  'MatMul 3 x 2': matMul([2, 3, 4], [4, 2], { a: ['batch', 'tokens', 4] }),
  'MatMul 4 x 3': matMul([2, 2, 3, 4], [2, 4, 2]),
  'MatMul 1 x 3': matMul([4], [2, 4, 2]),
  'MatMul 3 x 1': matMul([2, 3, 4], [4]),
  'MatMul 1 x 1': matMul([4], [4]),
  Gemm: call(
    'Gemm',
    { a: random([3, 4], 1), b: random([4, 2], 2), c: random([2], 3) },
    { attributes: { alpha: float(0.5), beta: float(2) } },
  ),
  'Gemm transposed': call('Gemm', { a: random([4, 3], 1), b: random([2, 4], 2) }, { attributes: { transA: int(1), transB: int(1) } }),
  'Gemm left transposed': call(
    'Gemm',
    { a: random([4, 3], 1), b: random([4, 2], 2), c: random([3, 1], 3) },
    { attributes: { transA: int(1) } },
  ),
  Einsum: einsum('bij,bjk->bik', [2, 3, 4], [2, 4, 2]),
  'Einsum without output': einsum('ij,jk', [3, 4], [4, 2]),
  'Einsum with a sum': einsum('ij,k->k', [3, 4], [2]),
  'Einsum of three': einsum('ab,bc,cd->da', [2, 3], [3, 4], [4, 2]),
  'Einsum ellipsis': einsum('...ij,...jk->...ik', [2, 3, 4], [4, 2]),
  'Einsum ellipsis broadcast': einsum('...ij,...j->...i', [1, 2, 3, 4], [3, 1, 4]),
  'Einsum ellipsis summed': einsum('...i->i', [2, 3, 4]),
  'Einsum diagonal': einsum('ii->i', [3, 3]),
  'Einsum trace': einsum('ii', [3, 3]),

  LayerNormalization: call(
    'LayerNormalization',
    { x: random([2, 3, 5], 1), scale: random([5], 2), bias: random([5], 3) },
    { attributes: { stash_type: int(11) }, symbols: { x: ['batch', 'tokens', 5] } },
  ),
  'LayerNormalization with statistics': call(
    'LayerNormalization',
    { x: random([2, 3, 5], 1), scale: random([3, 5], 2) },
    { attributes: { stash_type: int(11), axis: int(1) }, outputs: 3 },
  ),
  'LayerNormalization statistics alone': call(
    'LayerNormalization',
    { x: random([2, 5], 1), scale: random([5], 2) },
    { attributes: { stash_type: int(11) }, outputs: 3, seen: [1, 2], constant: ['scale'] },
  ),
  RMSNormalization: call(
    'RMSNormalization',
    { x: random([2, 3, 5], 1), scale: random([5], 2) },
    { symbols: { x: ['batch', 'tokens', 5] } },
  ),
  GroupNormalization: call('GroupNormalization', channels(), { attributes: { num_groups: int(2) } }),
  'GroupNormalization of symbols': call('GroupNormalization', channels(), { attributes: { num_groups: int(2) }, ...image }),
  InstanceNormalization: call('InstanceNormalization', channels(), image),
  BatchNormalization: call('BatchNormalization', { ...channels(), ...statistics }, image),
  'BatchNormalization in training': call(
    'BatchNormalization',
    { ...channels(), ...statistics },
    { attributes: { training_mode: int(1) }, outputs: 3, ...image },
  ),
  'BatchNormalization of vectors': call(
    'BatchNormalization',
    { ...channels(random([3, 4], 1)), ...statistics },
    { attributes: { training_mode: int(1) }, outputs: 3 },
  ),
  LpNormalization: call('LpNormalization', { x: random([2, 4], 1, { gap: 0.2 }) }),
  'LpNormalization 1': call('LpNormalization', { x: random([2, 4], 1, { gap: 0.2 }) }, { attributes: { p: int(1), axis: int(0) } }),
  MeanVarianceNormalization: call('MeanVarianceNormalization', { x: random([2, 4, 2, 3], 1) }, image),
  LRN: call(
    'LRN',
    { x: random([2, 4, 2, 1], 1) },
    { attributes: { size: int(3), alpha: float(0.5), bias: float(1.5) }, symbols: { x: ['batch', 4, 'height', 'width'] } },
  ),
  'LRN even': call('LRN', { x: random([1, 4, 1, 2], 1) }, { attributes: { size: int(2), alpha: float(0.5) } }),

  'Conv patches': conv([2, 3, 4, 6], [5, 3, 2, 3], { strides: ints([2, 3]) }, { x: ['batch', 3, 4, 6] }),
  Conv: conv([2, 3, 5, 4], [4, 3, 3, 2], { pads: ints([1, 0, 2, 1]) }, { x: ['batch', 3, 'height', 'width'] }),
  'Conv strides and dilations': conv([2, 2, 7, 6], [2, 2, 2, 2], {
    strides: ints([2, 3]),
    dilations: ints([2, 1]),
    pads: ints([1, 1, 0, 0]),
  }),
  'Conv strides of symbols': conv([2, 2, 7, 6], [2, 2, 2, 2], { strides: ints([2, 3]) }, { x: ['batch', 2, 'height', 'width'] }),
  'Conv groups': conv([2, 4, 5], [6, 2, 3], { group: int(2), pads: ints([1, 1]) }, { x: ['batch', 4, 'length'] }),
  'Conv depthwise': conv([2, 3, 5], [3, 1, 2], { group: int(3), strides: ints([2]) }),
  'Conv same': conv([1, 2, 5, 5], [2, 2, 3, 2], { auto_pad: string('SAME_UPPER'), strides: ints([2, 2]) }),
  'Conv three axes': conv([1, 1, 3, 3, 2], [2, 1, 2, 2, 2], { pads: ints([0, 1, 0, 0, 0, 1]) }),
  ConvTranspose: conv(
    [2, 3, 3, 2],
    [3, 2, 2, 3],
    { strides: ints([2, 1]), pads: ints([1, 0, 0, 1]), output_padding: ints([1, 0]) },
    undefined,
    'ConvTranspose',
  ),
  'ConvTranspose groups': conv([2, 4, 3], [4, 3, 2], { group: int(2), dilations: ints([2]) }, { x: ['batch', 4, 3] }, 'ConvTranspose'),
  'ConvTranspose output shape': conv(
    [1, 2, 3, 3],
    [2, 1, 3, 3],
    { strides: ints([2, 2]), output_shape: ints([6, 6]) },
    undefined,
    'ConvTranspose',
  ),

  MaxPool: pool(
    'MaxPool',
    [2, 2, 5, 4],
    { kernel_shape: ints([3, 2]), strides: ints([2, 1]), pads: ints([1, 0, 0, 1]) },
    { x: ['batch', 2, 5, 4] },
  ),
  'MaxPool column major': call(
    'MaxPool',
    { x: random([1, 2, 4, 3], 1) },
    { attributes: { kernel_shape: ints([2, 2]), storage_order: int(1) }, outputs: 2, seen: [0] },
  ),
  AveragePool: pool(
    'AveragePool',
    [2, 2, 5, 4],
    { kernel_shape: ints([3, 2]), strides: ints([2, 1]), pads: ints([1, 0, 0, 1]) },
    { x: ['batch', 2, 'height', 'width'] },
  ),
  'AveragePool with padding': pool('AveragePool', [1, 2, 5, 4], {
    kernel_shape: ints([3, 2]),
    pads: ints([1, 0, 1, 1]),
    count_include_pad: int(1),
  }),
  'AveragePool ceil': pool('AveragePool', [1, 1, 6, 4], {
    kernel_shape: ints([3, 3]),
    strides: ints([2, 2]),
    pads: ints([0, 1, 0, 0]),
    ceil_mode: int(1),
  }),
  'AveragePool ceil with padding': pool('AveragePool', [1, 1, 6, 4], {
    kernel_shape: ints([3, 3]),
    strides: ints([2, 2]),
    pads: ints([0, 1, 1, 0]),
    ceil_mode: int(1),
    count_include_pad: int(1),
  }),
  'AveragePool same': pool('AveragePool', [1, 2, 5], { kernel_shape: ints([2]), strides: ints([2]), auto_pad: string('SAME_LOWER') }),
  LpPool: pool('LpPool', [2, 2, 4, 4], { kernel_shape: ints([2, 2]), pads: ints([1, 0, 0, 0]) }),
  'LpPool 3': pool('LpPool', [1, 2, 5], { kernel_shape: ints([2]), p: int(3) }),
  GlobalAveragePool: pool('GlobalAveragePool', [2, 4, 3, 2], {}, image.symbols),
  GlobalMaxPool: pool('GlobalMaxPool', [2, 4, 3, 2], {}, image.symbols),
  GlobalLpPool: pool('GlobalLpPool', [2, 4, 3, 2], { p: int(3) }, image.symbols),

  Resize: call(
    'Resize',
    { x: random([1, 2, 3, 4], 1), none_roi: null, none_scales: null, fixed: axes(1, 2, 5, 3) },
    { attributes: { mode: string('linear') } },
  ),
  'Resize nearest': call(
    'Resize',
    { x: random([2, 2, 3, 2], 1), none_roi: null, fixed: { dtype: 'float32', shape: [4], data: Float32Array.of(1, 1, 2, 2.5) } },
    { symbols: { x: ['batch', 'channels', 3, 2] } },
  ),
  'Resize cubic': call(
    'Resize',
    { x: random([1, 1, 4, 4], 1), none_roi: null, none_scales: null, fixed: axes(3, 7) },
    {
      attributes: {
        mode: string('cubic'),
        axes: ints([2, 3]),
        coordinate_transformation_mode: string('align_corners'),
        exclude_outside: int(1),
      },
    },
  ),
  'Resize antialiased': call(
    'Resize',
    { x: random([1, 1, 6], 1), none_roi: null, none_scales: null, fixed: axes(1, 1, 3) },
    { attributes: { mode: string('linear'), antialias: int(1) } },
  ),
  AffineGrid: call('AffineGrid', { theta: random([2, 2, 3], 1), fixed: axes(2, 1, 2, 3) }),
  'AffineGrid of three axes': call(
    'AffineGrid',
    { theta: random([1, 3, 4], 1), fixed: axes(1, 1, 2, 3, 2) },
    { attributes: { align_corners: int(1) } },
  ),

  NegativeLogLikelihoodLoss: call('NegativeLogLikelihoodLoss', { x: logits, labels }, symbolicLogits),
  'NegativeLogLikelihoodLoss weighted': call(
    'NegativeLogLikelihoodLoss',
    { x: logits, labels, weights: random([4], 2, { shift: 2 }) },
    symbolicLogits,
  ),
  'NegativeLogLikelihoodLoss ignoring': call(
    'NegativeLogLikelihoodLoss',
    { x: random([2, 3, 2], 1), labels: integers([2, 2], [0, -100, 2, 1]), weights: random([3], 2, { shift: 2 }) },
    { attributes: { ignore_index: int(-100) } },
  ),
  'NegativeLogLikelihoodLoss sum': call(
    'NegativeLogLikelihoodLoss',
    { x: logits, labels },
    { attributes: { reduction: string('sum'), ignore_index: int(3) } },
  ),
  'NegativeLogLikelihoodLoss each': call('NegativeLogLikelihoodLoss', { x: logits, labels }, { attributes: { reduction: string('none') } }),
  SoftmaxCrossEntropyLoss: call('SoftmaxCrossEntropyLoss', { x: logits, labels }, symbolicLogits),
  'SoftmaxCrossEntropyLoss with probabilities': call('SoftmaxCrossEntropyLoss', { x: logits, labels }, { outputs: 2 }),
  'SoftmaxCrossEntropyLoss ignoring': call(
    'SoftmaxCrossEntropyLoss',
    { x: random([2, 3, 2], 1), labels: integers([2, 2], [0, -100, 2, 1], 'int32') },
    { attributes: { ignore_index: int(-100) }, symbols: { x: ['batch', 3, 'tokens'], labels: ['batch', 'tokens'] } },
  ),
  'SoftmaxCrossEntropyLoss weighted sum': call(
    'SoftmaxCrossEntropyLoss',
    { x: logits, labels, weights: random([4], 2, { shift: 2 }) },
    { attributes: { reduction: string('sum') } },
  ),

  CausalConvWithState: call(
    'CausalConvWithState',
    { x: random([2, 3, 4], 1), w: random([3, 1, 3], 2), b: random([3], 3), past: random([2, 3, 2], 4) },
    { attributes: { activation: string('silu') }, outputs: 2 },
  ),
  'CausalConvWithState from nothing': call(
    'CausalConvWithState',
    { x: random([2, 3, 4], 1), w: random([3, 1, 2], 2) },
    { outputs: 2, seen: [0], symbols: { x: ['batch', 3, 'tokens'] } },
  ),
  ...Object.fromEntries(
    [
      ['linear', null],
      ['gated', 2],
      ['gated', 3],
      ['delta', null],
      ['gated_delta', 1],
      ['gated_delta', 3],
    ].map(([rule, width]) => [
      `LinearAttention ${rule} ${width ?? ''}`,
      call(
        'LinearAttention',
        {
          q: random([1, 5, 4 * 3], 1),
          k: random([1, 5, 2 * 3], 2),
          v: random([1, 5, 2 * 2], 3),
          past: rule === 'delta' ? null : random([1, 2, 3, 2], 4),
          gate: width ? random([1, 5, 2 * Number(width === 2 ? 1 : width)], 5, { shift: -1 }) : null,
          rate: String(rule).includes('delta') ? random([1, 5, width === 3 ? 1 : 2], 6) : null,
        },
        {
          attributes: { q_num_heads: int(4), kv_num_heads: int(2), update_rule: string(String(rule)) },
          outputs: 2,
          first: rule === 'gated_delta',
        },
      ),
    ]),
  ),
  ...Object.fromEntries(
    ['linear', 'nearest', 'cubic'].flatMap((mode) =>
      ['zeros', 'border', 'reflection'].flatMap((padding) =>
        [0, 1].map((corners) => [
          `GridSample ${mode} ${padding} ${corners}`,
          call(
            'GridSample',
            { x: random([1, 2, 3, 4], 1), grid: random([1, 3, 2, 2], 2 + corners, { scale: 1.6 }) },
            {
              attributes: { mode: string(mode), padding_mode: string(padding), align_corners: int(corners) },
              constant: mode === 'nearest' ? ['grid'] : [],
              step: 1e-6,
              first: mode === 'cubic',
            },
          ),
        ]),
      ),
    ),
  ),
  'GridSample of three axes': call(
    'GridSample',
    { x: random([2, 1, 2, 3, 2], 1), grid: random([2, 1, 2, 2, 3], 4, { scale: 1.1 }) },
    { symbols: { x: ['batch', 1, 'depth', 3, 2], grid: ['batch', 1, 2, 2, 3] } },
  ),
}
