/** Gradients through quantization have closed forms; differences of step functions say nothing. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gradient } from '../../src/grad/index.js'
import { ArrayTensor, attribute, Graph, type Value } from '../../src/ir/index.js'
import { type DType, type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { roundHalfEven } from '../../src/numbers/rounding.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { microsoft, pairs, scaleW, scaleX, zeroW, zeroX } from './cases/quantization.js'
import { random } from './differences.js'

const { int } = attribute

/** Gradients of sum(weights * outputs) by the float64 inputs, by name, and by others that `also` names: those of integers are floats. */
async function gradients(
  feeds: Readonly<Record<string, NDArray>>,
  build: (graph: Graph, inputs: Readonly<Record<string, Value>>) => Value,
  also: readonly string[] = [],
): Promise<Record<string, number[]>> {
  const graph = new Graph('quantized')
  const inputs = Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, graph.addInput(name, array.dtype, array.shape)]))
  const y = build(graph, inputs)
  graph.outputs.push(y)
  const shape = (await evaluateGraph(graph, feeds))[y.name].shape
  graph.outputs.pop()
  const weights = graph.addInput('weights', 'float64', shape)
  const product = graph.add('Mul', [y, weights]).output
  const loss = graph.add('ReduceSum', [product], { attributes: { keepdims: int(0) } }).output
  const names = Object.keys(feeds).filter((name) => feeds[name].dtype === 'float64' || also.includes(name))
  const found = gradient(graph, { loss, wrt: names.map((name) => inputs[name]) })
  graph.outputs.push(...found)
  graph.prune()
  const results = await evaluateGraph(graph, { ...feeds, weights: random(shape, 77) })
  return Object.fromEntries(names.map((name, i) => [name, Array.from(numbersOf(results[found[i].name]))]))
}

function close(have: readonly number[], want: readonly number[]): void {
  expect(have).toHaveLength(want.length)
  want.forEach((value, i) => void expect(have[i]).toBeCloseTo(value, 9))
}

/** How scales lie over an array: which of them an element has. */
interface Layout {
  readonly shape: readonly number[]
  readonly scales: readonly number[]
  readonly attributes: Record<string, number>
  readonly groupOf: (index: readonly number[]) => number
}

const layouts: Record<string, Layout> = {
  'per tensor': { shape: [3, 4], scales: [], attributes: {}, groupOf: () => 0 },
  'per row': { shape: [3, 4], scales: [3], attributes: { axis: 0 }, groupOf: ([row]) => row },
  'per column': { shape: [2, 3, 4], scales: [4], attributes: { axis: -1 }, groupOf: ([, , column]) => column },
  'in blocks': {
    shape: [2, 6],
    scales: [2, 3],
    attributes: { axis: 1, block_size: 2 },
    groupOf: ([row, column]) => row * 3 + Math.floor(column / 2),
  },
  'in blocks with a rest': {
    shape: [5, 2],
    scales: [2, 2],
    attributes: { axis: 0, block_size: 3 },
    groupOf: ([row, column]) => Math.floor(row / 3) * 2 + column,
  },
}

function* indices(shape: readonly number[]): Generator<number[]> {
  for (let i = 0; i < sizeOf(shape); i++) {
    let rest = i
    const index = new Array<number>(shape.length)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis]
      rest = Math.floor(rest / shape[axis])
    }
    yield index
  }
}

function quantizeAndBack(
  graph: Graph,
  { x, scale, zero }: Readonly<Record<string, Value>>,
  attributes: Record<string, number>,
  domain: string,
): Value {
  const all = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, int(value)]))
  const codes = graph.add('QuantizeLinear', [x, scale, zero], { attributes: all, domain }).output
  return graph.add('DequantizeLinear', [codes, scale, zero], { attributes: all, domain }).output
}

describe.each(Object.entries(layouts))('QuantizeLinear and DequantizeLinear %s', (_, layout) => {
  const limits: Record<string, [number, number]> = { int4: [-8, 7], uint4: [0, 15] }

  test('give the gradients of LSQ and LSQ+', async () => {
    const run = async (seed: number, dtype: 'int4' | 'uint4', shifted: boolean, domain: string) => {
      const x = random(layout.shape, seed, { scale: 1.5 })
      const scale = random(layout.scales, seed + 1, { scale: 0.05, shift: 0.12 })
      const [min, max] = limits[dtype]
      const zeros = Array.from({ length: sizeOf(layout.scales) }, (_, i) => (shifted ? Math.round((min + max) / 2) + ((i + seed) % 3) : 0))
      const feeds = { x, scale, zero: ndarray(dtype as DType, layout.scales, zeros) }
      const got = await gradients(feeds, (graph, inputs) => quantizeAndBack(graph, inputs, layout.attributes, domain), ['zero'])
      const flowing = numbersOf(random(layout.shape, 77))
      const dx = new Array<number>(sizeOf(layout.shape)).fill(0)
      const [ds, dz] = [0, 1].map(() => new Array<number>(sizeOf(layout.scales)).fill(0))
      let i = 0
      for (const index of indices(layout.shape)) {
        const group = layout.groupOf(index)
        const [s, z, v] = [numbersOf(scale)[group], zeros[group], numbersOf(x)[i] / numbersOf(scale)[group]]
        const code = roundHalfEven(v) + z
        if (code < min || code > max) {
          ds[group] += flowing[i] * ((code < min ? min : max) - z)
          // LSQ+ has an offset beta = -zero * scale, with derivative 1 outside of the grid.
          dz[group] += flowing[i] * -s
        } else {
          dx[i] = flowing[i]
          ds[group] += flowing[i] * (roundHalfEven(v) - v)
        }
        i++
      }
      close(got['x'], dx)
      close(got['scale'], ds)
      close(got['zero'], dz)
    }
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 10000 }),
        fc.constantFrom('int4' as const, 'uint4' as const),
        fc.boolean(),
        fc.constantFrom('', 'com.microsoft'),
        run,
      ),
      { numRuns: 15 },
    )
  })
})

test('a zero point may be absent', async () => {
  const feeds = { x: random([2, 3], 1), scale: ndarray('float64', [], [0.01]) }
  const got = await gradients(feeds, (graph, { x, scale }) => {
    const codes = graph.add('QuantizeLinear', [x, scale], { attributes: { output_dtype: int(3) } }).output
    return graph.add('DequantizeLinear', [codes, scale]).output
  })
  close(got['x'], Array.from(numbersOf(random([2, 3], 77))))
})

function nearest(array: NDArray, scale: NDArray): NDArray {
  const [s] = numbersOf(scale)
  return ndarray(
    'float64',
    array.shape,
    Array.from(numbersOf(array), (x) => roundHalfEven(x / s) * s),
  )
}

test.each(Object.entries(pairs))('%s passes gradients straight through', async (_, { x, w, codes, numbers }) => {
  const constant = (graph: Graph) => (array: NDArray) => graph.addConstant('parameter', ArrayTensor.of(array))
  const got = await gradients({ x, ...(w && { w }) }, (graph, inputs) => {
    const c = constant(graph)
    const quantized = (value: Value, scale: NDArray, zero: NDArray) => graph.add('QuantizeLinear', [value, c(scale), c(zero)]).output
    return codes(graph, quantized(inputs['x'], scaleX, zeroX), w ? quantized(inputs['w'], scaleW, zeroW) : inputs['x'], c)
  })
  const feeds = { x: nearest(x, scaleX), ...(w && { w: nearest(w, scaleW) }) }
  const want = await gradients(feeds, (graph, inputs) => numbers(graph, inputs['x'], inputs['w'] ?? inputs['x'], constant(graph)))
  for (const name of Object.keys(feeds)) close(got[name], want[name])
})

test('DynamicQuantizeLinear passes gradients straight through', async () => {
  const x: NDArray = { dtype: 'float32', shape: [3, 4], data: Float32Array.from(numbersOf(random([3, 4], 1))) }
  const real = (graph: Graph, value: Value) => graph.add('Cast', [value], { attributes: { to: int(11) } }).output
  const linear = await gradients(
    { x },
    (graph, inputs) => {
      const [codes, scale, zero] = graph.add('DynamicQuantizeLinear', [inputs['x']], { outputs: 3 }).outputs
      return real(graph, graph.add('DequantizeLinear', [codes, scale, zero]).output)
    },
    ['x'],
  )
  numbersOf(random([3, 4], 77)).forEach((flowing, i) => void expect(linear['x'][i]).toBeCloseTo(flowing, 5))
  const product = await gradients(
    { x },
    (graph, inputs) => {
      const weight = graph.addConstant('weight', ArrayTensor.of(ndarray('int8', [4, 1], [1, 2, -3, 4])))
      const scale = graph.addConstant('scale', ArrayTensor.of(ndarray('float32', [], [0.5])))
      return real(graph, graph.add('DynamicQuantizeMatMul', [inputs['x'], weight, scale], { domain: microsoft }).output)
    },
    ['x'],
  )
  const flowing = numbersOf(random([3, 1], 77))
  product['x'].forEach((value, i) => void expect(value).toBeCloseTo(flowing[Math.floor(i / 4)] * 0.5 * [1, 2, -3, 4][i % 4], 5))
})
