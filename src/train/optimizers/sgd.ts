import type { Value } from '../../ir/node.js'
import type { ElementwiseOptimizer } from './optimizer.js'

export interface SgdOptions {
  /** Share of the last change that goes on. Default 0: plain gradient descent, without state. */
  readonly momentum?: number
  /** Nesterov's form: the gradient is followed a step ahead. */
  readonly nesterov?: boolean
}

/**
 * Stochastic gradient descent with momentum; weight decay apart from the gradient.
 *
 * Source: Sutskever et al. 2013, On the importance of initialization and momentum, eq. 1 to 4, with the velocity in units of
 * the gradient; the decay of Loshchilov and Hutter 2019, Algorithm 1.
 *
 * @example
 * sgd({ momentum: 0.9 }).state // ['velocity']
 */
export function sgd({ momentum = 0, nesterov = false }: SgdOptions = {}): ElementwiseOptimizer {
  return {
    name: 'sgd',
    summary: 'gradient descent with momentum, plain or as Nesterov has it',
    source: 'Sutskever et al. 2013, eq. 1 to 4',
    state: momentum ? ['velocity'] : [],
    scalars: ({ learningRate, weightDecay }) => ({ learningRate, kept: 1 - learningRate * weightDecay }),
    update(net, { parameter, gradient, state, fed: { learningRate, kept } }) {
      const follow = (velocity: Value) => net.op('Add', [net.op('Mul', [velocity, net.float(momentum)]), gradient])
      const next: Record<string, Value> = momentum ? { velocity: follow(state['velocity']) } : {}
      const direction = momentum ? (nesterov ? follow(next['velocity']) : next['velocity']) : gradient
      const change = net.op('Mul', [direction, learningRate])
      return { parameter: net.op('Sub', [net.op('Mul', [parameter, kept]), change]), state: next }
    },
  }
}
