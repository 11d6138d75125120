import { anatomyOf } from '../../anatomy/index.js'
import { unsupported } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import { activation } from '../../nn/activations.js'
import type { Adapter, Role } from './adapter.js'
import { adapt, adapting, netAt, placesOf } from './places.js'

export interface BottleneckOptions {
  /** Channels between the two linears. */
  readonly width?: number
  readonly activation?: 'gelu' | 'relu' | 'silu' | 'tanh'
  readonly roles?: readonly Role[]
  /** Whether the gains and biases of the blocks' norms are trained too. */
  readonly norms?: boolean
}

/**
 * Bottleneck adapters: y + act(y D + d) U + u behind the linears that write to the residual stream, with U and u zero at first.
 * They hold a nonlinearity, so they stay in the graph.
 *
 * Source: Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, section 2.1.
 *
 * @example
 * const names = bottleneck({ width: 16 }).insert(graph, new Random(1))
 */
export function bottleneck({
  width = 64,
  activation: name = 'gelu',
  roles = ['o', 'down'],
  norms = true,
}: BottleneckOptions = {}): Adapter {
  return {
    name: 'bottleneck',
    summary: 'two small linears with a nonlinearity behind attention and feed-forward; stays in the graph',
    source: 'Houlsby et al. 2019, section 2.1',
    insert(graph, random) {
      const trained = norms ? normParameters(graph) : []
      const added = placesOf(graph, roles).flatMap(({ name: module, output, outputs }) => {
        const net = netAt(graph, module)
        const constant = (part: string, shape: readonly number[], values: ArrayLike<number>) =>
          net.floats(`${module}.adapter_${part}`, shape, values)
        const down = constant('down.weight', [outputs, width], random.stream(module).normals(outputs * width, 0.01))
        const downBias = constant('down.bias', [width], new Float32Array(width))
        const up = constant('up.weight', [width, outputs], new Float32Array(width * outputs))
        const upBias = constant('up.bias', [outputs], new Float32Array(outputs))
        adapt(graph, output, () => {
          const narrow = net.op('Add', [net.op('MatMul', [output, down]), downBias])
          const active = activation(net, name, narrow)
          return adapting('bottleneck', net.op('Add', [output, net.op('Add', [net.op('MatMul', [active, up]), upBias])]))
        })
        return [down, downBias, up, upBias].map((value) => value.name)
      })
      graph.sort()
      return [...added, ...trained]
    },
    merge() {
      throw unsupported('bottleneck adapters hold a nonlinearity and cannot be merged into weights', { hint: 'Write the graph as it is.' })
    },
  }
}

function normParameters(graph: Graph): string[] {
  const constants = anatomyOf(graph).blocks.flatMap(({ norms }) => norms.flatMap(({ node }) => [node.input(1), node.input(2)]))
  return [...new Set(constants.flatMap((value) => (value?.tensor ? [value.name] : [])))]
}
