import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { int, ints, string } from '../../src/ir/attribute.js'
import { type Attributes, type Dim, divideDims, Graph, multiplyDims, type Value } from '../../src/ir/index.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { inferNode, inferShapes } from '../../src/ops/infer.js'
import { arrayOf } from '../../src/ops/support.js'
import { numbers } from './call.js'
import { reference } from './reference.js'

const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 })
const counted = shapes.map((shape) => counting(shape))

/** An array of 0, 1, 2 ... */
function counting(shape: readonly number[]): NDArray {
  return ndarray(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => i),
  )
}

function vector(...values: number[]): NDArray {
  return ndarray('int64', [values.length], values)
}

describe('identities', () => {
  test('Transpose is undone by the inverse permutation', () => {
    const cases = counted.chain((array) =>
      fc.tuple(fc.constant(array), fc.shuffledSubarray([...array.shape.keys()], { minLength: array.shape.length })),
    )
    fc.assert(
      fc.property(cases, ([array, permutation]) => {
        const inverse = permutation.map((_, i) => permutation.indexOf(i))
        const [there] = reference('Transpose', [array], { perm: ints(permutation) })
        expect(reference('Transpose', [there], { perm: ints(inverse) })[0]).toEqual(array)
      }),
    )
  })

  test('Concat joins what Split and Slice part', () => {
    const cases = fc.tuple(counted, fc.nat(), fc.integer({ min: 1, max: 4 }))
    fc.assert(
      fc.property(cases, ([array, pick, cut]) => {
        const axis = pick % array.shape.length
        const length = array.shape[axis]
        const at = Math.min(cut, length)
        const slices = [
          reference('Slice', [array, vector(0), vector(at), vector(axis)])[0],
          reference('Slice', [array, vector(at), vector(2 ** 40), vector(axis)])[0],
        ]
        expect(reference('Concat', slices, { axis: int(axis) })[0]).toEqual(array)
        const parts = reference('Split', [array, vector(at, length - at)], { axis: int(axis) }, 2)
        expect(parts).toEqual(slices)
      }),
    )
  })

  test('a slice backwards and backwards again is the array', () => {
    fc.assert(
      fc.property(counted, (array) => {
        const reverse = (x: NDArray) => reference('Slice', [x, vector(-1), vector(-(2 ** 40)), vector(0), vector(-1)])[0]
        expect(reverse(reverse(array))).toEqual(array)
      }),
    )
  })

  test('cropping by negative pads undoes padding in every mode', () => {
    const modes = fc.constantFrom('constant', 'edge', 'reflect', 'wrap')
    fc.assert(
      fc.property(counted, modes, fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 8, maxLength: 8 }), (array, mode, amounts) => {
        const pads = amounts.slice(0, 2 * array.shape.length)
        const [wide] = reference('Pad', [array, vector(...pads)], { mode: string(mode) })
        expect(reference('Pad', [wide, vector(...pads.map((pad) => -pad))])[0]).toEqual(array)
      }),
    )
  })

  test('SpaceToDepth undoes DepthToSpace', () => {
    for (const mode of ['DCR', 'CRD']) {
      const array = counting([2, 12, 2, 3])
      const [image] = reference('DepthToSpace', [array], { blocksize: int(2), mode: string(mode) })
      expect(image.shape).toEqual([2, 3, 4, 6])
      expect(reference('SpaceToDepth', [image], { blocksize: int(2), mode: string(mode) })[0]).toEqual(array)
    }
  })

  test('Tile repeats, Expand repeats axes of length one', () => {
    fc.assert(
      fc.property(counted, fc.integer({ min: 1, max: 3 }), (array, times) => {
        const [tiled] = reference('Tile', [array, vector(times, ...array.shape.slice(1).map(() => 1))])
        expect(tiled).toEqual(reference('Concat', new Array(times).fill(array), { axis: int(0) })[0])
        const [one] = reference('Unsqueeze', [array, vector(0)])
        const [expanded] = reference('Expand', [one, vector(times, ...array.shape.map(() => 1))])
        expect(numbersOf(expanded)).toEqual(numbersOf(tiled))
        expect(reference('Squeeze', [one, vector(0)])[0]).toEqual(array)
      }),
    )
  })

  test('ReverseSequence is its own inverse', () => {
    const array = counting([4, 3, 2])
    const reverse = (x: NDArray) => reference('ReverseSequence', [x, vector(4, 2, 1)])[0]
    expect(reverse(array)).not.toEqual(array)
    expect(reverse(reverse(array))).toEqual(array)
  })
})

describe('values', () => {
  test('Pad, by NumPy', () => {
    const array = counting([3])
    const pad = (mode: string) => Array.from(numbersOf(reference('Pad', [array, vector(4, 3)], { mode: string(mode) })[0]))
    expect(pad('constant')).toEqual([0, 0, 0, 0, 0, 1, 2, 0, 0, 0])
    expect(pad('edge')).toEqual([0, 0, 0, 0, 0, 1, 2, 2, 2, 2])
    expect(pad('reflect')).toEqual([0, 1, 2, 1, 0, 1, 2, 1, 0, 1])
    expect(pad('wrap')).toEqual([2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
  })

  test('an uneven split leaves the rest to the last part', () => {
    const parts = reference('Split', [counting([7])], { num_outputs: int(3) }, 3)
    expect(parts.map((part) => part.shape)).toEqual([[3], [3], [1]])
  })

  test('Concat of strings', () => {
    const [joined] = reference(
      'Concat',
      [
        { dtype: 'string', shape: [1], data: ['a'] },
        { dtype: 'string', shape: [2], data: ['b', 'c'] },
      ],
      { axis: int(0) },
    )
    expect(joined.data).toEqual(['a', 'b', 'c'])
  })

  test('sizes that cannot agree are refused', () => {
    expect(() => reference('Reshape', [counting([6]), vector(4, -1)])).toThrow(/cannot become/)
    expect(() => reference('Squeeze', [counting([2, 3]), vector(1)])).toThrow(/cannot be squeezed/)
    expect(() => reference('Transpose', [counting([2, 3])], { perm: ints([0]) })).toThrow(/perm has 1/)
    expect(() => reference('Concat', [counting([2, 3]), counting([2, 2])], { axis: int(0) })).toThrow(/3 and 2 long/)
  })
})

/** A graph with one symbolic input and helpers to build shape computations. */
function shapeGraph(dims: readonly Dim[]) {
  const graph = new Graph('shapes')
  const x = graph.addInput('x', 'float32', dims)
  const constant = (...values: number[]) => graph.addConstant('constant', ArrayTensor.of(arrayOf('int64', [values.length], values)))
  const scalar = (value: number) => graph.addConstant('scalar', ArrayTensor.of(arrayOf('int64', [], [value])))
  const add = (operator: string, inputs: (Value | null)[], attributes: Attributes = {}) =>
    graph.add(operator, inputs, { attributes }).output
  const shapeOf = (value: Value) => {
    inferShapes(graph)
    return value.shape
  }
  return { x, constant, scalar, add, shapeOf, graph }
}

describe('symbolic shapes', () => {
  test('heads are split off by Reshape with 0 and -1', () => {
    const { x, constant, add, shapeOf } = shapeGraph(['batch', 'sequence', 768])
    expect(shapeOf(add('Reshape', [x, constant(0, 0, 12, -1)]))).toEqual(['batch', 'sequence', 12, 64])
    expect(shapeOf(add('Reshape', [x, constant(-1, 768)]))).toEqual(['batch*sequence', 768])
  })

  test('the classic chain Shape, Gather, Unsqueeze, Concat, Reshape', () => {
    const { x, constant, scalar, add, shapeOf } = shapeGraph(['batch', 'past + sequence', 32])
    const dim = (axis: number) => add('Unsqueeze', [add('Gather', [add('Shape', [x]), scalar(axis)]), constant(0)])
    const half = add('Div', [dim(2), constant(4)])
    const target = add('Concat', [dim(0), dim(1), constant(4), half], { axis: int(0) })
    expect(shapeOf(add('Reshape', [x, target]))).toEqual(['batch', 'past + sequence', 4, 8])
    const open = add('Concat', [dim(0), dim(1), constant(-1), half], { axis: int(0) })
    expect(shapeOf(add('Reshape', [x, open]))).toEqual(['batch', 'past + sequence', 4, 8])
  })

  test('Expand through ConstantOfShape, Equal and Where', () => {
    const { x, constant, add, shapeOf } = shapeGraph(['batch', 1, 8])
    const wanted = add('Concat', [add('Shape', [x], { start: int(0), end: int(1) }), constant(-1, 8)], { axis: int(0) })
    const ones = add('ConstantOfShape', [constant(3)], { value: { kind: 'tensor', value: ArrayTensor.of(arrayOf('int64', [1], [1])) } })
    const target = add('Where', [add('Equal', [wanted, constant(-1)]), ones, wanted])
    expect(shapeOf(add('Expand', [x, target]))).toEqual(['batch', 1, 8])
  })

  test('ranges and slices that end at a symbol', () => {
    const { x, constant, scalar, add, shapeOf, graph } = shapeGraph(['batch', 'sequence'])
    const length = add('Gather', [add('Shape', [x]), scalar(1)])
    expect(shapeOf(add('Range', [scalar(0), length, scalar(1)]))).toEqual(['sequence'])
    const table = graph.addInput('table', 'float32', [1, 512])
    const end = add('Unsqueeze', [length, constant(0)])
    expect(shapeOf(add('Slice', [table, constant(0), end, constant(1)]))).toEqual([1, 'sequence'])
    expect(shapeOf(add('Slice', [x, constant(0), constant(-1), constant(1)]))).toEqual(['batch', 'sequence + -1'])
    expect(shapeOf(add('Slice', [x, constant(0), constant(1), constant(1)]))).toEqual(['batch', 1])
    expect(shapeOf(add('Slice', [x, add('Neg', [end]), constant(2 ** 40), constant(1)]))).toEqual(['batch', 'sequence'])
  })

  test('sizes, products and casts carry contents', () => {
    const { x, constant, add, shapeOf } = shapeGraph(['n', 4])
    const size = add('ReduceProd', [add('Shape', [x]), null], { keepdims: int(1) })
    expect(shapeOf(add('Reshape', [x, size]))).toEqual(['4*n'])
    const float = add('Cast', [add('Unsqueeze', [add('Size', [x]), constant(0)])], { to: int(1) })
    const back = add('Cast', [add('Floor', [float])], { to: int(7) })
    expect(shapeOf(add('Reshape', [x, back]))).toEqual(['4*n'])
  })

  test('what only running can tell gets a symbol of its own', () => {
    const { x, add, shapeOf } = shapeGraph(['n', 4])
    const found = add('NonZero', [x])
    expect(shapeOf(found)).toEqual([2, 'nonzero_1'])
  })

  test('quotients with a rest stay whole in products', () => {
    const half = divideDims('2*n + 1', 2)
    expect(divideDims(multiplyDims(half, 'a'), 'a')).toBe(half)
    expect(divideDims(multiplyDims(half, 'a'), half)).toBe('a')
  })

  test('an error names the node', () => {
    const { x, constant, graph } = shapeGraph([2, 3])
    const node = graph.add('Reshape', [x, constant(5)], { name: 'flat' })
    expect(() => inferNode(node)).toThrow(expect.objectContaining({ where: 'Reshape flat' }))
  })
})

test('bool and string arrays move like any other', () => {
  expect(numbersOf(reference('Transpose', [numbers('bool', [2, 2], [1, 1, 0, 0])])[0])).toEqual(Uint8Array.of(1, 0, 1, 0))
  expect(reference('Gather', [{ dtype: 'string', shape: [2], data: ['a', 'b'] }, vector(-1, 0)])[0].data).toEqual(['b', 'a'])
})
