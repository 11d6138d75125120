import { openGraph } from '../engine/open.js'
import type { Session } from '../engine/session.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import { flatMemory, piece, pieceSize } from './pieces.js'

/**
 * An exponential moving average of the parameters, which begins at their first values.
 *
 * Source: Polyak and Juditsky 1992; with a decay as in Tarvainen and Valpola 2017, eq. 1.
 */
export class MovingAverage {
  readonly #session: Session
  /** In the layout of the parameters. */
  readonly values: Float32Array

  private constructor(session: Session, values: Float32Array) {
    this.#session = session
    this.values = values
  }

  static async create(parameters: Float32Array, decay: number): Promise<MovingAverage> {
    const net = new Net(new Graph('moving-average'))
    const [average, parameter] = ['average', 'parameter'].map((name) => net.input(name, 'float32', ['n']))
    const difference = net.op('Mul', [net.op('Sub', [parameter, average]), net.float(1 - decay)])
    net.output('next', net.op('Add', [average, difference]))
    const values = flatMemory(parameters.length)
    values.set(parameters)
    return new MovingAverage(await openGraph(net.graph), values)
  }

  /** Moves the average towards the parameters. */
  async update(parameters: Float32Array): Promise<void> {
    for (let start = 0; start < parameters.length; start += pieceSize) {
      const end = Math.min(start + pieceSize, parameters.length)
      const average = piece(this.values, start, end)
      await this.#session.run({ average, parameter: piece(parameters, start, end) }, { into: { next: average } })
    }
  }

  dispose(): Promise<void> {
    return this.#session.dispose()
  }
}
