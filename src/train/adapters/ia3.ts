import { unsupported } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'
import type { Adapter, Role } from './adapter.js'
import {
  adapt,
  changeVector,
  changeWeight,
  columnsOf,
  constantsEnding,
  netAt,
  onlyUser,
  type Place,
  placesOf,
  productBehind,
  restore,
} from './places.js'

export interface Ia3Options {
  /** `down` is scaled at its input, all others at their output. */
  readonly roles?: readonly Role[]
}

const [inputEnding, outputEnding] = ['.ia3_input', '.ia3_output']

/**
 * IA3: learned factors, 1 at first, on the channels of keys, of values, and of what the feed-forward's last linear reads.
 *
 * Source: Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper, section 3.3.
 *
 * @example
 * const names = ia3().insert(graph, new Random(1))
 */
export function ia3({ roles = ['k', 'v', 'down'] }: Ia3Options = {}): Adapter {
  return {
    name: 'ia3',
    summary: 'factors on the channels of keys, values and the feed-forward; merges',
    source: 'Liu et al. 2022, section 3.3',
    insert(graph) {
      const down = roles.includes('down') ? placesOf(graph, ['down']) : []
      const others = roles.filter((role) => role !== 'down')
      const places = others.length ? placesOf(graph, others) : []
      const names = [...places.map((place) => scaleOutput(graph, place)), ...down.map((place) => scaleInput(graph, place))]
      graph.sort()
      return names
    },
    merge(graph) {
      const found = [constantsEnding(graph, outputEnding), constantsEnding(graph, inputEnding)]
      for (const { constant } of found[0]) mergeOutput(graph, constant)
      for (const { constant } of found[1]) mergeInput(graph, constant)
      graph.prune()
      return found[0].length + found[1].length
    },
  }
}

function ones(net: Net, name: string, size: number): Value {
  return net.floats(name, [size], new Float32Array(size).fill(1))
}

function scaleOutput(graph: Graph, { name, output, outputs }: Place): string {
  const net = netAt(graph, name)
  const factors = ones(net, name + outputEnding, outputs)
  adapt(graph, output, () => net.op('Mul', [output, factors]))
  return factors.name
}

function scaleInput(graph: Graph, { name, linear, inputs }: Place): string {
  const net = netAt(graph, name)
  const factors = ones(net, name + inputEnding, inputs)
  linear.product.setInput(0, net.op('Mul', [linear.input, factors]))
  return factors.name
}

function mergeOutput(graph: Graph, factors: Value): void {
  const scaling = onlyUser(factors)
  const plain = scaling.input(0)!
  const { product, split, addition } = productBehind(plain)
  const width = Number(product.input(1)!.shape![1])
  const [start, end] = split ? columnsOf(split, plain) : [0, width]
  const scaled = async (numbers: Float32Array) => {
    const factor = (await factors.tensor!.read()) as Float32Array
    return Float64Array.from(numbers, (x, i) => (i % width >= start && i % width < end ? x * factor[(i % width) - start] : x))
  }
  changeWeight(graph, product, scaled)
  if (addition) changeVector(graph, addition, addition.input(0) === product.output ? 1 : 0, scaled)
  restore(graph, scaling.output, plain)
  graph.remove(scaling)
}

function mergeInput(graph: Graph, factors: Value): void {
  const scaling = onlyUser(factors)
  const product = onlyUser(scaling.output)
  if (product.type !== 'MatMul') throw unsupported(`${factors.name} does not stand before a linear any more, and cannot be merged`)
  product.setInput(0, scaling.input(0))
  graph.remove(scaling)
  const width = Number(product.input(1)!.shape![1])
  changeWeight(graph, product, async (weight) => {
    const factor = (await factors.tensor!.read()) as Float32Array
    return Float64Array.from(weight, (x, i) => x * factor[Math.floor(i / width)])
  })
}
