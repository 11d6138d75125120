import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import { LazyTensor } from '../../ir/tensor.js'
import type { Adapter } from './adapter.js'
import { endingA, endingB, type LowRankOptions, newBranch, withProduct } from './low-rank.js'
import { adapt, adapting, changeWeight, constantsEnding, netAt, onlyUser, placesOf, plainWeight, productBehind, restore } from './places.js'

/** The ending of the magnitudes' names, as the PEFT library has it. */
const ending = '.lora_magnitude_vector.weight'

/**
 * DoRA: the direction of each column of W + (alpha / rank) A B, times a magnitude that is trained too and is that of W at
 * first. Gradients flow through the norms of the columns as well (the paper's equation 10, not the cheaper 11).
 *
 * Source: Liu et al. 2024, DoRA, section 4.1, eq. 5; all linears of the blocks by default, as in section 5.1.
 *
 * @example
 * const names = dora({ rank: 4, roles: ['q', 'v'] }).insert(graph, new Random(1))
 */
export function dora({ roles = ['q', 'k', 'v', 'up', 'down'], ...options }: LowRankOptions = {}): Adapter {
  return {
    name: 'dora',
    summary: 'magnitudes and low-rank directions of the columns of weights; merges',
    source: 'Liu et al. 2024, eq. 5',
    insert(graph, random) {
      const names = placesOf(graph, roles).flatMap((place) => {
        if (!place.isWhole)
          throw unsupported(`${place.name} is a part of a packed linear, and DoRA takes linears whole`, {
            hint: 'Adapt it by its own role.',
          })
        const { product, input } = place.linear
        const weight = product.input(1)!
        const tensor = plainWeight(weight)
        const net = netAt(graph, place.name)
        const { a, b, factor } = newBranch(net, place, options, random)
        const magnitude = graph.addConstant(
          place.name + ending,
          new LazyTensor('float32', [place.outputs], async () =>
            Float32Array.from(lengths((await tensor.read()) as Float32Array, place.outputs)),
          ),
        )
        adapt(graph, product.output, () => {
          const change = net.op('Mul', [net.op('MatMul', [net.op('MatMul', [input, a]), b]), factor])
          const changed = net.op('Add', [weight, net.op('Mul', [net.op('MatMul', [a, b]), factor])])
          const length = net.op('ReduceL2', [changed, net.ints([0])], { keepdims: int(0) })
          const sum = adapting('dora', net.op('Add', [product.output, change]))
          return adapting('dora', net.op('Mul', [sum, net.op('Div', [magnitude, length])]))
        })
        return [a.name, b.name, magnitude.name]
      })
      graph.sort()
      return names
    },
    merge,
  }
}

function merge(graph: Graph): number {
  const found = constantsEnding(graph, ending)
  for (const { constant: magnitude, name } of found) {
    const [a, b] = [endingA, endingB].map((each) => graph.constants.get(name + each)!)
    const scaled = onlyUser(onlyUser(magnitude).output)
    const sum = scaled.input(0)!.producer!
    const [plain, change] = [sum.input(0)!, sum.input(1)!]
    const { product } = productBehind(plain)
    const branch = { a, b, factor: change.producer!.input(1)! }
    restore(graph, scaled.output, plain)
    graph.remove(scaled)
    graph.prune()
    changeWeight(graph, product, async (weight) => {
      const width = Number(b.shape![1])
      const changed = await withProduct(weight, branch, width, 0)
      const norms = lengths(changed, width)
      const wanted = (await magnitude.tensor!.read()) as Float32Array
      return changed.map((x, i) => (x * wanted[i % width]) / norms[i % width])
    })
  }
  return found.length
}

/** Euclidean lengths of the columns of a matrix [rows, width]. */
function lengths(matrix: ArrayLike<number>, width: number): Float64Array {
  const squares = new Float64Array(width)
  for (let i = 0; i < matrix.length; i++) squares[i % width] += matrix[i] * matrix[i]
  return squares.map(Math.sqrt)
}
