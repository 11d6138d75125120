import type { FlatGraph } from '../engine/compiled/flat-kernels.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import type { ParameterStore } from './parameters.js'
import { openFlat } from './pieces.js'

/**
 * An exponential moving average of the parameters, which begins at their first values.
 *
 * Source: Polyak and Juditsky 1992; with a decay as in Tarvainen and Valpola 2017, eq. 1.
 */
export class MovingAverage {
  readonly #graph: FlatGraph
  /** In the layout of the parameters. */
  readonly values: Float32Array

  private constructor(graph: FlatGraph, values: Float32Array) {
    this.#graph = graph
    this.values = values
  }

  static async create(store: ParameterStore, decay: number): Promise<MovingAverage> {
    const net = new Net(new Graph('moving-average'))
    const [average, parameter] = ['average', 'parameter'].map((name) => net.input(name, 'float32', ['n']))
    const difference = net.op('Mul', [net.op('Sub', [parameter, average]), net.float(1 - decay)])
    net.output('next', net.op('Add', [average, difference]))
    const values = await store.alike()
    values.set(store.values)
    return new MovingAverage(await openFlat(net.graph), values)
  }

  /** Moves the average towards the parameters. */
  update(parameters: Float32Array): Promise<void> {
    return this.#graph.run({ average: this.values, parameter: parameters }, { next: this.values })
  }

  dispose(): Promise<void> {
    return this.#graph.dispose()
  }
}
