/** Gradients against central differences, both in float64 by the operators' reference evaluation. */

import { gradient } from '../../src/grad/index.js'
import { ArrayTensor, type Attributes, attribute, Graph, type Value, verify } from '../../src/ir/index.js'
import { type DType, type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { inferShapes } from '../../src/ops/infer.js'

/** What is differentiated: a graph of one or more nodes over random inputs. */
export interface Case {
  /** Arrays by input name; float64 ones are differentiated unless `constant` names them. */
  readonly feeds: Readonly<Record<string, NDArray>>
  /** Adds the nodes and returns the values that the loss is made of. */
  build(graph: Graph, inputs: Readonly<Record<string, Value>>): readonly Value[]
  readonly constant?: readonly string[]
  /** Gives symbolic dimensions to inputs, as models have them. */
  readonly symbols?: Readonly<Record<string, readonly (number | string)[]>>
  readonly step?: number
  readonly tolerance?: number
  /** Second derivatives are not defined (kinks) or zero. */
  readonly first?: boolean
}

/** Cases by operator, as in `Pad` or `Pad edge`: the type of the node, then what is special. */
export type Cases = Readonly<Record<string, Case>>

interface CallOptions extends Omit<Case, 'feeds' | 'build'> {
  readonly attributes?: Attributes
  readonly domain?: string
  /** How many outputs the node has; default 1. */
  readonly outputs?: number
  /** Which of them the loss sees; default all. */
  readonly seen?: readonly number[]
}

/** float64 as float32; other arrays as they are. */
export function narrow(array: NDArray): NDArray {
  return array.dtype === 'float64' ? ndarray('float32', array.shape, numbersOf(array)) : array
}

/** Attributes that name float64 name float32 instead. */
function narrowAttributes(attributes: Attributes): Attributes {
  const narrowed = Object.entries(attributes).map(([name, value]) => [name, ['to', 'stash_type'].includes(name) ? attribute.int(1) : value])
  return Object.fromEntries(narrowed)
}

/** One node on inputs in the order of `feeds`; names that begin with `none` are absent inputs, constants are arrays in `fixed`. */
export function call(
  operator: string,
  feeds: Readonly<Record<string, NDArray | null>>,
  { attributes = {}, domain = '', outputs = 1, seen, ...rest }: CallOptions = {},
): Case {
  const given = Object.fromEntries(Object.entries(feeds).filter((entry): entry is [string, NDArray] => entry[1] !== null))
  const isFixed = (name: string) => name.startsWith('fixed')
  return {
    ...rest,
    feeds: Object.fromEntries(Object.entries(given).filter(([name]) => !isFixed(name))),
    build(graph, inputs) {
      const isNarrow = Object.values(inputs).some((input) => input.dtype === 'float32')
      const values = Object.entries(feeds).map(([name, array]) => {
        if (!array) return null
        return isFixed(name) ? graph.addConstant(name, ArrayTensor.of(isNarrow ? narrow(array) : array)) : inputs[name]
      })
      const node = graph.add(operator, values, { domain, attributes: isNarrow ? narrowAttributes(attributes) : attributes, outputs })
      return node.outputs.filter((_, i) => seen?.includes(i) ?? true)
    },
  }
}

/** A float64 array of numbers that a seed determines, away from zero by at least `gap`. */
export function random(shape: readonly number[], seed: number, { gap = 0, scale = 1, shift = 0 } = {}): NDArray {
  let state = (seed * 2654435761 + 12345) >>> 0
  const next = (): number => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32
  }
  const values = Array.from({ length: sizeOf(shape) }, () => {
    const x = 2 * next() - 1
    return shift + scale * (x + Math.sign(x) * gap)
  })
  return ndarray('float64', shape, values)
}

export function integersArray(shape: readonly number[], values: readonly number[], dtype: DType = 'int64'): NDArray {
  return ndarray(dtype, shape, values)
}

/** The sum of w (y + y^2 / 2) with fixed weights: every element of every output counts differently, and no derivative is constant. */
export function weightedLoss(
  graph: Graph,
  outputs: readonly Value[],
  shapes: readonly (readonly number[])[],
  dtype: DType = 'float64',
): Value {
  const terms = outputs.map((output, i) => {
    const weights = graph.addInput(`weights_${i}`, dtype, shapes[i])
    const half = graph.add('Mul', [weights, graph.addConstant('half', ArrayTensor.of(ndarray(dtype, [], [0.5])))]).output
    const factor = graph.add('Add', [weights, graph.add('Mul', [half, output]).output]).output
    const product = graph.add('Mul', [output, factor]).output
    return graph.add('ReduceSum', [product], { attributes: { keepdims: attribute.int(0) } }).output
  })
  return terms.length === 1 ? terms[0] : graph.add('Sum', terms).output
}

export function buildGraph({ feeds, build, symbols }: Case): { graph: Graph; inputs: Record<string, Value>; outputs: readonly Value[] } {
  const graph = new Graph('case')
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, array]) => [name, graph.addInput(name, array.dtype, symbols?.[name] ?? array.shape)]),
  )
  const outputs = build(graph, inputs)
  inferShapes(graph)
  return { graph, inputs, outputs }
}

async function shapesOf(spec: Case): Promise<(readonly number[])[]> {
  const { graph, outputs } = buildGraph(spec)
  graph.outputs.push(...outputs)
  const arrays = await evaluateGraph(graph, spec.feeds)
  return outputs.map((output) => arrays[output.name].shape)
}

/** Along each axis of a small space, and some directions of a large one: what is wrong anywhere shows in all of them. */
function directions(shape: readonly number[]): readonly number[][] {
  const count = sizeOf(shape)
  if (count <= 4) return Array.from({ length: count }, (_, i) => Array.from({ length: count }, (_, k) => Number(i === k)))
  return [0, 1, 2].map((i) => Array.from(numbersOf(random(shape, 500 + i, { gap: 0.3 }))))
}

/**
 * The largest difference between gradients and central differences, relative to the largest gradient (at least 1).
 * `order` 2 checks the gradient of a weighted sum of the gradients.
 */
export async function deviation(spec: Case, order: 1 | 2 = 1): Promise<number> {
  const shapes = await shapesOf(spec)
  const { graph, inputs, outputs } = buildGraph(spec)
  const names = Object.keys(spec.feeds).filter((name) => spec.feeds[name].dtype === 'float64' && !spec.constant?.includes(name))
  const wrt = names.map((name) => inputs[name])
  const feeds: Record<string, NDArray> = { ...spec.feeds }
  shapes.forEach((shape, i) => {
    feeds[`weights_${i}`] = random(shape, 900 + i)
  })
  let loss = weightedLoss(graph, outputs, shapes)
  if (order === 2) {
    const first = gradient(graph, { loss, wrt })
    const terms = first.map((value, i) => {
      const weights = graph.addInput(`second_${i}`, 'float64', wrt[i].shape)
      feeds[weights.name] = random(spec.feeds[names[i]].shape, 700 + i)
      return graph.add('ReduceSum', [graph.add('Mul', [value, weights]).output], { attributes: { keepdims: attribute.int(0) } }).output
    })
    loss = terms.length === 1 ? terms[0] : graph.add('Sum', terms).output
    inferShapes(graph)
  }
  graph.outputs.push(loss)
  const plain = graph.clone()
  plain.prune()
  const expected = numbersOf((await evaluateGraph(plain, feeds))[plain.outputs[0].name])[0]
  const gradients = gradient(graph, { loss, wrt })
  graph.outputs.push(...gradients)
  graph.prune()
  verify(graph)
  const results = await evaluateGraph(graph, feeds)
  const spelledOut = numbersOf(results[graph.outputs[0].name])[0]
  if (!(Math.abs(spelledOut - expected) <= (spec.tolerance ?? 1e-9) * Math.max(1, Math.abs(expected))))
    throw new Error(`spelled out the loss is ${spelledOut} instead of ${expected}`)
  const lossAt = async (changed: Record<string, NDArray>): Promise<number> =>
    numbersOf((await evaluateGraph(plain, { ...feeds, ...changed }))[plain.outputs[0].name])[0]
  const step = spec.step ?? 1e-5
  let worst = 0
  let scale = 1
  for (const [i, name] of names.entries()) {
    const [x, got] = [spec.feeds[name], results[gradients[i].name]]
    if (got.shape.join() !== x.shape.join()) throw new Error(`the gradient of ${name} has shape [${got.shape}]`)
    for (const direction of directions(x.shape)) {
      const moved = (by: number): NDArray =>
        ndarray(
          'float64',
          x.shape,
          numbersOf(x).map((value, k) => value + by * direction[k]),
        )
      const slope = ((await lossAt({ [name]: moved(step) })) - (await lossAt({ [name]: moved(-step) }))) / (2 * step)
      const have = direction.reduce((sum, along, k) => sum + along * numbersOf(got)[k], 0)
      scale = Math.max(scale, Math.abs(slope))
      worst = Math.max(worst, Number.isFinite(have) ? Math.abs(slope - have) : Infinity)
    }
  }
  return worst / scale
}
