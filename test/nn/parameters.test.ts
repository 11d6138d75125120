import { describe, expect, it } from 'vitest'
import { ArrayTensor, LazyTensor, type Tensor } from '../../src/ir/tensor.js'
import { activation } from '../../src/nn/activations.js'
import { Net } from '../../src/nn/net.js'
import { Parameters } from '../../src/nn/parameters.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'

const floats = (shape: readonly number[], ...values: number[]) => ArrayTensor.of(ndarray('float32', shape, values))
const parameters = (tensors: Record<string, Tensor>) => new Parameters(new Map(Object.entries(tensors)))

describe('Parameters', () => {
  it('names all tensors that are missing in one error', () => {
    const found = parameters({ here: floats([1], 1) })
    for (const name of ['a', 'b', 'here']) found.get(name, [1])
    expect(() => found.check()).toThrow('the checkpoint lacks the tensors a, b')
    for (const name of ['c', 'd', 'e', 'f']) found.get(name, [1])
    expect(() => found.check()).toThrow('a, b, c, d and 2 more')
    const one = parameters({})
    one.get('layer.weight', [2, 2])
    expect(() => one.check()).toThrow('the checkpoint lacks the tensor layer.weight')
    expect(() => parameters({}).check()).not.toThrow()
  })

  it('a missing tensor has its shape until the check, but no numbers', async () => {
    const tensor = parameters({}).get('gone', [3, 4])
    expect([tensor.dtype, tensor.shape]).toEqual(['float32', [3, 4]])
    await expect(tensor.read()).rejects.toThrow(/gone/)
  })

  it('names a misshapen tensor with both shapes', () => {
    const found = parameters({ wide: floats([2, 3], 1, 2, 3, 4, 5, 6) })
    expect(() => found.get('wide', [3, 2])).toThrow('the tensor wide has shape [2, 3] and config.json asks for [3, 2]')
    expect(() => found.matrix('wide', 2, 3)).toThrow(/\[2, 3\].*\[3, 2\]/)
    expect(() => parameters({ scalar: floats([], 1) }).get('scalar', [1])).toThrow(/scalar/)
  })

  it('finds norms under their older names, but prefers the new', async () => {
    const found = parameters({ 'a.gamma': floats([1], 1), 'a.beta': floats([1], 2), 'b.weight': floats([1], 3), 'b.gamma': floats([1], 4) })
    const read = async (name: string) => [...(await found.get(name, [1]).read())]
    expect([await read('a.weight'), await read('a.bias'), await read('b.weight')]).toEqual([[1], [2], [3]])
    expect([found.has('a.weight'), found.has('c.weight'), found.has('weight')]).toEqual([true, false, false])
    expect(found.unused).toEqual(['b.gamma'])
  })

  it('turns [out, in] into [in, out]', async () => {
    const tensor = parameters({ w: floats([2, 3], 1, 2, 3, 4, 5, 6) }).matrix('w', 3, 2)
    expect(tensor.shape).toEqual([3, 2])
    expect([...(await tensor.read())]).toEqual([1, 4, 2, 5, 3, 6])
  })

  it.each(['float16', 'bfloat16', 'float64'] as const)('%s becomes float32', async (dtype) => {
    const tensor = parameters({ w: ArrayTensor.of(ndarray(dtype, [2], [1.5, -0.25])) }).get('w', [2])
    expect(tensor.dtype).toBe('float32')
    expect(await tensor.read()).toEqual(Float32Array.of(1.5, -0.25))
  })

  it.each(['int8', 'int64', 'float8e4m3fn'] as const)('%s is no weight, and named', (dtype) => {
    expect(() => parameters({ w: ArrayTensor.of(ndarray(dtype, [1], [1])) }).get('w', [1])).toThrow(`the tensor w is ${dtype}`)
  })

  it('reads nothing before it is asked', async () => {
    let reads = 0
    const lazy = new LazyTensor('bfloat16', [2, 2], async () => {
      reads++
      return Float32Array.of(1, 2, 3, 4)
    })
    const matrix = parameters({ w: lazy }).matrix('w', 2, 2)
    expect(reads).toBe(0)
    expect([...(await matrix.read())]).toEqual([1, 3, 2, 4])
    expect(reads).toBe(1)
  })
})

describe('Net', () => {
  it('infers what it adds, and names it after its module', () => {
    const net = new Net(undefined, parameters({ 'a.b.weight': floats([5, 3], ...new Array(15).fill(1)) }))
    const x = net.input('x', 'float32', ['batch', 'n', 3])
    const inner = net.at('a').at('b')
    const y = inner.op('MatMul', [x, inner.matrix('weight', 3, 5)])
    expect([y.name, y.dtype, y.shape, y.producer?.name]).toEqual(['a.b.matmul', 'float32', ['batch', 'n', 5], 'a.b'])
    expect(inner.matrix('weight', 3, 5)).toBe(inner.matrix('weight', 3, 5))
    expect(inner.op('Relu', [y]).name).not.toBe(inner.op('Relu', [y]).name)
  })

  it('shares small constants by what they hold', () => {
    const net = new Net()
    expect(net.ints([0, -1])).toBe(net.ints([0, -1]))
    expect(new Set([net.ints(1), net.ints([1]), net.ints(-1), net.ints([1, 0]), net.ints([10]), net.ints([-1])]).size).toBe(6)
    expect(new Set([net.float(0.1), net.float(-0.1), net.float(1), net.float(1e-12), net.float(1e12)]).size).toBe(5)
    expect(() => net.floats('short', [2, 2], [1])).toThrow(/short/)
  })

  it('different constants never share, however their names are spelled', async () => {
    const net = new Net()
    for (const [a, b] of [
      [1e-7, 1e7],
      [1.5, 15],
      [-2, 2],
    ]) {
      const [x, y] = [net.float(a), net.float(b)]
      expect([Number((await x.tensor!.read())[0]), Number((await y.tensor!.read())[0])]).toEqual([Math.fround(a), Math.fround(b)])
    }
  })
})

describe('activations', () => {
  const erf = (x: number) => {
    let [sum, term] = [x, x]
    for (let n = 1; n < 80; n++) {
      term *= -(x * x) / n
      sum += term / (2 * n + 1)
    }
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
  const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  const formulas: Record<string, (x: number) => number> = {
    gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
    gelu_new: tanhGelu,
    gelu_pytorch_tanh: tanhGelu,
    gelu_fast: tanhGelu,
    quick_gelu: (x) => x * sigmoid(1.702 * x),
    relu: (x) => Math.max(x, 0),
    silu: (x) => x * sigmoid(x),
    swish: (x) => x * sigmoid(x),
    tanh: Math.tanh,
    sigmoid,
    mish: (x) => x * Math.tanh(Math.log1p(Math.exp(x))),
  }
  const points = [-3, -1.25, -0.1, 0, 0.3, 1, 2.5]

  it.each(Object.keys(formulas))('%s', async (name) => {
    const net = new Net()
    net.output('y', activation(net, name, net.input('x', 'float32', ['n'])))
    const { y } = await evaluateGraph(net.graph, { x: ndarray('float32', [points.length], points) })
    points.forEach((x, i) => void expect(numbersOf(y)[i]).toBeCloseTo(formulas[name](x), 5))
  })

  it('an unknown one is named with the nearest', () => {
    const net = new Net()
    const x = net.input('x', 'float32', ['n'])
    expect(() => activation(net, 'gelu_neww', x)).toThrowError(
      expect.objectContaining({ code: 'unsupported', hint: 'Did you mean "gelu_new"?' }),
    )
    expect(() => activation(net, 'toString', x)).toThrow(/toString/)
  })
})
