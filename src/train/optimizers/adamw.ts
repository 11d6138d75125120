import type { ElementwiseOptimizer } from './optimizer.js'

export interface AdamWOptions {
  readonly beta1?: number
  readonly beta2?: number
  /** Added to the root of the second moment. */
  readonly epsilon?: number
}

/**
 * AdamW: first and second moments with bias correction, weight decay apart from them.
 *
 * Source: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, Algorithm 2.
 *
 * @example
 * adamW({ beta2: 0.98 }).state // ['firstMoment', 'secondMoment']
 */
export function adamW({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: AdamWOptions = {}): ElementwiseOptimizer {
  return {
    name: 'adamw',
    summary: 'moments with bias correction, decoupled weight decay',
    source: 'Loshchilov and Hutter 2019, Algorithm 2',
    state: ['firstMoment', 'secondMoment'],
    scalars: ({ step, learningRate, weightDecay }) => ({
      kept: 1 - learningRate * weightDecay,
      stepSize: learningRate / (1 - beta1 ** step),
      inverseRoot: 1 / Math.sqrt(1 - beta2 ** step),
    }),
    update(net, { parameter, gradient, state: { firstMoment, secondMoment }, fed: { kept, stepSize, inverseRoot } }) {
      const first = net.op('Add', [firstMoment, net.op('Mul', [net.op('Sub', [gradient, firstMoment]), net.float(1 - beta1)])])
      const square = net.op('Mul', [gradient, gradient])
      const second = net.op('Add', [secondMoment, net.op('Mul', [net.op('Sub', [square, secondMoment]), net.float(1 - beta2)])])
      const root = net.op('Mul', [net.op('Sqrt', [second]), inverseRoot])
      const change = net.op('Mul', [net.op('Div', [first, net.op('Add', [root, net.float(epsilon)])]), stepSize])
      return {
        parameter: net.op('Sub', [net.op('Mul', [parameter, kept]), change]),
        state: { firstMoment: first, secondMoment: second },
      }
    },
  }
}
