import { attribute } from '../../../src/ir/index.js'
import { type Cases, call, integersArray as integers, random } from '../differences.js'

const { int, ints, string } = attribute
const x = random([2, 3, 4], 1)
const batched = { symbols: { x: ['batch', 'tokens', 4] } }
const axes = (...values: number[]) => integers([values.length], values)
const image = random([2, 8, 2, 3], 1)

export const shapeCases: Cases = {
  Identity: call('Identity', { x }),
  Reshape: call('Reshape', { x, fixed: axes(0, -1) }, batched),
  Flatten: call('Flatten', { x }, batched),
  Squeeze: call('Squeeze', { x: random([2, 1, 3], 1), fixed: axes(1) }),
  Unsqueeze: call('Unsqueeze', { x, fixed: axes(0, 2) }, batched),
  Transpose: call('Transpose', { x }, batched),
  'Transpose perm': call('Transpose', { x }, { attributes: { perm: ints([1, 2, 0]) }, ...batched }),
  Expand: call('Expand', { x: random([3, 1], 1), fixed: axes(2, 1, 4) }),
  Concat: call(
    'Concat',
    { x, y: random([2, 2, 4], 2) },
    { attributes: { axis: int(1) }, symbols: { x: ['batch', 'tokens', 4], y: ['batch', 'more', 4] } },
  ),
  Split: call('Split', { x, fixed: axes(1, 2) }, { attributes: { axis: int(1) }, outputs: 2 }),
  'Split with a part unused': call('Split', { x, fixed: axes(1, 2) }, { attributes: { axis: int(1) }, outputs: 2, seen: [1] }),
  Slice: call('Slice', { x, fixed_start: axes(-3, 1), fixed_end: axes(2, 100), fixed_axes: axes(1, 2) }, batched),
  'Slice without axes': call('Slice', { x, fixed_start: axes(1), fixed_end: axes(2) }),
  'Slice in steps': call(
    'Slice',
    { x, fixed_start: axes(-1, 0), fixed_end: axes(-100, 4), fixed_axes: axes(1, 2), fixed_steps: axes(-1, 2) },
    batched,
  ),
  'Slice from a computed start': call('Slice', { x, start: axes(1), end: axes(3), fixed_axes: axes(1) }),
  Tile: call('Tile', { x, fixed: axes(2, 1, 3) }, batched),
  'Tile computed': call('Tile', { x, repeats: axes(1, 3, 1) }),
  Pad: call('Pad', { x, fixed: axes(1, 0, 2, 0, -1, 1), fill: random([], 4) }, { symbols: { x: ['batch', 3, 4] } }),
  'Pad axes': call('Pad', { x, fixed: axes(1, 2), none: null, fixed_axes: axes(-1) }, batched),
  'Pad edge': call('Pad', { x, fixed: axes(0, 2, 1, 0, 1, 0) }, { attributes: { mode: string('edge') }, ...batched }),
  'Pad reflect': call('Pad', { x, fixed: axes(0, 2, 1, 0, 1, 0) }, { attributes: { mode: string('reflect') } }),
  'Pad wrap': call('Pad', { x, fixed: axes(0, 2, 1, 0, 1, 0) }, { attributes: { mode: string('wrap') } }),
  DepthToSpace: call('DepthToSpace', { x: image }, { attributes: { blocksize: int(2) }, symbols: { x: ['batch', 8, 'height', 'width'] } }),
  'DepthToSpace CRD': call(
    'DepthToSpace',
    { x: image },
    { attributes: { blocksize: int(2), mode: string('CRD') }, symbols: { x: ['batch', 8, 'height', 'width'] } },
  ),
  SpaceToDepth: call('SpaceToDepth', { x: random([2, 2, 4, 6], 1) }, { attributes: { blocksize: int(2) } }),
  ReverseSequence: call('ReverseSequence', { x, lengths: integers([3], [2, 1, 2]) }, batched),
  CenterCropPad: call('CenterCropPad', { x, fixed: axes(4, 1, 3) }),
  'CenterCropPad axes': call('CenterCropPad', { x, shape: axes(6) }, { attributes: { axes: ints([-1]) }, ...batched }),

  Gather: call('Gather', { x: random([5, 3], 1), i: integers([2, 3], [0, 4, 4, 1, 0, 4]) }, { symbols: { i: ['batch', 'tokens'] } }),
  'Gather axis 1': call('Gather', { x: random([2, 5, 3], 1), i: integers([2, 2], [0, 4, -1, 1]) }, { attributes: { axis: int(1) } }),
  'Gather one': call('Gather', { x, i: integers([], [1]) }, { attributes: { axis: int(-2) }, ...batched }),
  GatherElements: call(
    'GatherElements',
    { x, i: integers([2, 2, 4], [0, 1, 2, 2, 1, 1, 0, -1, 0, 0, 0, 0, 2, 1, 2, 1]) },
    { attributes: { axis: int(1) } },
  ),
  GatherND: call('GatherND', { x, i: integers([3, 2], [0, 1, 1, 2, 0, 1]) }),
  'GatherND in batches': call('GatherND', { x, i: integers([2, 2, 1], [0, 2, 1, 1]) }, { attributes: { batch_dims: int(1) } }),
  ScatterElements: call(
    'ScatterElements',
    { x, i: integers([2, 1, 4], [0, 1, 2, 2, 1, 1, 0, -1]), u: random([2, 1, 4], 2) },
    { attributes: { axis: int(1) } },
  ),
  ...Object.fromEntries(
    ['add', 'mul', 'min', 'max'].flatMap((reduction) => [
      [
        `ScatterElements ${reduction}`,
        call(
          'ScatterElements',
          { x, i: integers([2, 2, 4], [0, 1, 2, 2, 1, 1, 0, -1, 0, 0, 0, 0, 2, 1, 2, 1]), u: random([2, 2, 4], 2, { gap: 0.1 }) },
          { attributes: { axis: int(1), reduction: string(reduction) } },
        ),
      ],
      [
        `ScatterND ${reduction}`,
        call(
          'ScatterND',
          { x, i: integers([3, 2], [0, 1, 1, 2, 0, 1]), u: random([3, 4], 2, { gap: 0.1 }) },
          { attributes: { reduction: string(reduction) } },
        ),
      ],
    ]),
  ),
  ScatterND: call('ScatterND', { x, i: integers([2, 2], [0, 1, 1, 2]), u: random([2, 4], 2) }),
  TensorScatter: call('TensorScatter', { x: random([2, 2, 5, 3], 1), u: random([2, 2, 2, 3], 2), starts: integers([2], [1, 3]) }),
  'TensorScatter circular': call(
    'TensorScatter',
    { x: random([2, 2, 5, 3], 1), u: random([2, 2, 2, 3], 2), starts: integers([2], [4, 1]) },
    { attributes: { mode: string('circular') } },
  ),
  'TensorScatter from the start': call(
    'TensorScatter',
    { x: random([2, 5, 3], 1), u: random([2, 2, 3], 2) },
    { attributes: { axis: int(1) } },
  ),
  OneHot: call('OneHot', { i: integers([2, 2], [0, 3, -1, 7]), fixed: axes(4), values: random([2], 2) }, { attributes: { axis: int(1) } }),
  Compress: call('Compress', { x, c: integers([2], [0, 1], 'bool') }, { attributes: { axis: int(1) } }),
  'Compress flat': call('Compress', { x, c: integers([5], [1, 0, 0, 1, 1], 'bool') }),
  CumSum: call('CumSum', { x, fixed: integers([], [1]) }, batched),
  'CumSum exclusive': call('CumSum', { x, fixed: integers([], [-1]) }, { attributes: { exclusive: int(1), reverse: int(1) } }),
  CumProd: call('CumProd', { x: random([2, 3], 1, { gap: 0.4 }), fixed: integers([], [1]) }),
  'CumProd exclusive': call(
    'CumProd',
    { x: random([2, 3], 1, { gap: 0.4 }), fixed: integers([], [1]) },
    { attributes: { exclusive: int(1), reverse: int(1) } },
  ),
  TopK: call('TopK', { x, fixed: axes(2) }, { attributes: { axis: int(1) }, outputs: 2, seen: [0] }),
  Trilu: call('Trilu', { x, fixed: integers([], [1]) }, batched),
  'Trilu lower': call('Trilu', { x }, { attributes: { upper: int(0) } }),
  Unique: call('Unique', { x: random([5], 3) }),
  'Unique rows': call('Unique', { x: random([4, 2], 3) }, { attributes: { axis: int(0) } }),
  Det: call('Det', { x: random([2, 3, 3], 1) }),
  'Det of one': call('Det', { x: random([2, 1, 1], 1) }),
  Range: call(
    'Range',
    {
      start: random([], 1, { scale: 0, shift: 0.3 }),
      limit: random([], 1, { scale: 0, shift: 3 }),
      delta: random([], 1, { scale: 0, shift: 0.7 }),
    },
    { constant: ['limit'] },
  ),
  ...Object.fromEntries(
    ['Sum', 'Mean', 'Prod', 'L1', 'L2', 'SumSquare', 'LogSum', 'LogSumExp', 'Max', 'Min'].flatMap((name) => [
      [
        `Reduce${name}`,
        call(
          `Reduce${name}`,
          { x: random([2, 3, 4], 1, { scale: 0.5, shift: 1.2 }), fixed: axes(0, -1) },
          { symbols: { x: ['batch', 3, 4] } },
        ),
      ],
      [
        `Reduce${name} without axes`,
        call(`Reduce${name}`, { x: random([2, 3], 1, { scale: 0.5, shift: 1.2 }), fixed: axes(1) }, { attributes: { keepdims: int(0) } }),
      ],
    ]),
  ),
}
