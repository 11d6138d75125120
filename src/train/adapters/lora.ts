import type { Graph } from '../../ir/graph.js'
import type { Adapter } from './adapter.js'
import { endingA, endingB, type LowRankOptions, newBranch, withProduct } from './low-rank.js'
import { adapt, adapting, changeWeight, columnsOf, constantsEnding, netAt, onlyUser, placesOf, productBehind, restore } from './places.js'

/**
 * LoRA: x W + (alpha / rank) x A B, with B zero at first. Of packed linears each part is adapted by itself.
 *
 * Source: Hu et al. 2021, LoRA, section 4.1; queries and values by default, as in section 4.2.
 *
 * @example
 * const names = lora({ rank: 4 }).insert(graph, new Random(1))
 * await train(graph, objective, samples, { ...options, groups: onlyGroups(names) })
 * lora().merge(graph)
 */
export function lora({ roles = ['q', 'v'], ...options }: LowRankOptions = {}): Adapter {
  return {
    name: 'lora',
    summary: 'a product of two narrow matrices beside a weight; merges',
    source: 'Hu et al. 2021, section 4.1',
    insert(graph, random) {
      const names = placesOf(graph, roles).flatMap((place) => {
        const value = place.isWhole ? place.linear.product.output : place.output
        const net = netAt(graph, place.name)
        const { a, b, factor } = newBranch(net, place, options, random)
        adapt(graph, value, () => {
          const change = net.op('MatMul', [net.op('MatMul', [place.linear.input, a]), b])
          return adapting('lora', net.op('Add', [value, net.op('Mul', [change, factor])]))
        })
        return [a.name, b.name]
      })
      graph.sort()
      return names
    },
    merge,
  }
}

function merge(graph: Graph): number {
  const found = constantsEnding(graph, endingA)
  for (const { constant: a, name } of found) {
    const b = graph.constants.get(name + endingB)!
    const scaling = onlyUser(onlyUser(b).output)
    const factor = scaling.input(1)!
    const sum = onlyUser(scaling.output)
    const plain = sum.input(0)!
    const { product, split } = productBehind(plain)
    const width = Number(product.input(1)!.shape![1])
    const first = split ? columnsOf(split, plain)[0] : 0
    changeWeight(graph, product, (weight) => withProduct(weight, { a, b, factor }, width, first))
    restore(graph, sum.output, plain)
    graph.remove(sum)
  }
  graph.prune()
  return found.length
}
