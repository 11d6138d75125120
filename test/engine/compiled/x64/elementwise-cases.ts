import { Random } from '../../../../src/base/random.js'
import type { ElementwiseKernel } from '../../../../src/engine/compiled/x64/elementwise.js'
import { Graph } from '../../../../src/ir/graph.js'
import type { Value } from '../../../../src/ir/node.js'
import { Net } from '../../../../src/nn/net.js'
import { type NDArray, ndarray } from '../../../../src/numbers/dtype.js'
import { evaluateGraph } from '../../../../src/ops/evaluate.js'
import { type Arena, numbersIn } from './arena.js'

/** A graph of elementwise operators and what it is called with. */
export interface ElementwiseCase {
  readonly graph: Graph
  readonly length: number
  readonly feeds: Readonly<Record<string, NDArray>>
  /** Whether the first outputs lie over the first inputs. */
  readonly inPlace: boolean
}

const special = [0, -0, 1, -1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, -1e-40, 3e38, -3e38, 1e-20]

/** A number of any kind: special in one of four cases. */
function numberFrom(random: Random): number {
  return random.integer(4) ? random.normal() : oneOf(random, special)
}

const unary = ['Neg', 'Abs', 'Sqrt', 'Round', 'Reciprocal', 'Sign']
const binary = ['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min']
const comparisons = ['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual']

/** A random graph over inputs v0, v1, ... of shape ['n'] and scalars s0, s1, ..., with outputs y0, y1, ... */
export function randomCase(seed: number, size: number, length: number, inPlace: boolean): ElementwiseCase {
  const random = new Random(seed)
  const net = new Net(new Graph())
  const named = (prefix: string, count: number, shape: readonly (number | string)[]) =>
    Array.from({ length: count }, (_, i) => net.input(`${prefix}${i}`, 'float32', shape))
  const vectors = named('v', 1 + random.integer(5), ['n'])
  const floats: Value[] = [...vectors, ...named('s', random.integer(4), []), net.float(0.3), net.float(-2)]
  const truths: Value[] = []
  const any = (values: readonly Value[]) => oneOf(random, values)
  for (let i = 0; i < size; i++) {
    const kind = random.integer(9)
    if (kind === 0) truths.push(net.op(oneOf(random, comparisons), [any(floats), any(floats)]))
    else if (kind === 8 && truths.length) truths.push(net.op('And', [any(truths), any(truths)]))
    else if (kind === 1 && truths.length) floats.push(net.op('Where', [any(truths), any(floats), any(floats)]))
    else if (kind < 4) floats.push(net.op(oneOf(random, unary), [any(floats)]))
    else floats.push(net.op(oneOf(random, binary), [any(floats), any(floats)]))
  }
  const results = floats.filter(({ shape }) => shape?.length === 1)
  for (let i = 0; i <= random.integer(4); i++) {
    const result = any(results)
    if (!net.graph.outputs.includes(result) && result.producer) net.output(`y${i}`, result)
  }
  if (!net.graph.outputs.length) net.output('y', net.op('Add', [vectors[0], vectors[0]]))
  return { graph: net.graph, length, feeds: feedsFor(net.graph, length, random), inPlace }
}

function oneOf<T>(random: Random, list: readonly T[]): T {
  return list[random.integer(list.length)]
}

/** Random arrays for a graph's inputs. */
export function feedsFor({ inputs }: Graph, length: number, random: Random): Record<string, NDArray> {
  const numbers = (count: number) => Array.from({ length: count }, () => numberFrom(random))
  return Object.fromEntries(
    inputs.map(({ name, shape }) => [
      name,
      shape!.length ? ndarray('float32', [length], numbers(length)) : ndarray('float32', [], numbers(1)),
    ]),
  )
}

/** Arrays as the reference evaluation has them. */
export async function expectedOutputs({ graph, feeds }: ElementwiseCase): Promise<Record<string, Float32Array>> {
  const results = await evaluateGraph(graph, feeds)
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]))
}

/** Puts the arrays of a case into an arena, each at the very end of its place. */
export function placeElementwise(arena: Arena, { graph, length, feeds, inPlace }: ElementwiseCase, { parameters }: ElementwiseKernel) {
  const array = () => {
    const place = arena.place(Math.max(1, Math.ceil(length / 16)) * 64)
    const offset = place.bytes.length - 4 * length
    const inside = { address: place.address + BigInt(offset), bytes: place.bytes.subarray(offset) }
    return { address: inside.address, before: place.bytes.subarray(0, offset), read: () => numbersIn(inside, Float32Array, length) }
  }
  const words: Record<string, bigint | number> = { count: length }
  const vectors = graph.inputs.filter(({ shape }) => shape!.length)
  const inputs = vectors.map(({ name }) => {
    const place = array()
    place.read().set(feeds[name].data as Float32Array)
    words[`input ${name}`] = place.address
    return place
  })
  for (const { name } of graph.inputs.filter(({ shape }) => !shape!.length))
    words[`scalar ${name}`] = new Uint32Array(Float32Array.from(feeds[name].data as Float32Array).buffer)[0]
  const outputs = graph.outputs.map(({ name }, i) => {
    const place = (inPlace && inputs[i]) || array()
    words[`output ${name}`] = place.address
    return { name, ...place }
  })
  return {
    parameters: parameters.block(words),
    read: () => Object.fromEntries(outputs.map(({ name, read }) => [name, read().slice()])),
    /** Whether what lies before the arrays is as it was. */
    isIntact: () => [...inputs, ...outputs].every(({ before }) => before.every((byte) => byte === 0)),
  }
}
