import type { ElementwiseOptimizer } from './optimizer.js'

export interface LionOptions {
  /** How much of the moment is in the direction of the step. */
  readonly beta1?: number
  /** How much of the moment stays. */
  readonly beta2?: number
}

/**
 * Lion: steps of the sign of a mixture of moment and gradient, so that all elements move equally far; decoupled weight decay.
 * Its learning rates are three to ten times smaller than AdamW's, its weight decays as much larger.
 *
 * Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, Algorithm 2.
 *
 * @example
 * lion().state // ['moment']
 */
export function lion({ beta1 = 0.9, beta2 = 0.99 }: LionOptions = {}): ElementwiseOptimizer {
  return {
    name: 'lion',
    summary: 'the sign of an interpolated moment, decoupled weight decay',
    source: 'Chen et al. 2023, Algorithm 2',
    state: ['moment'],
    scalars: ({ learningRate, weightDecay }) => ({ learningRate, kept: 1 - learningRate * weightDecay }),
    update(net, { parameter, gradient, state: { moment }, fed: { learningRate, kept } }) {
      const difference = net.op('Sub', [gradient, moment])
      const mixed = net.op('Add', [moment, net.op('Mul', [difference, net.float(1 - beta1)])])
      const change = net.op('Mul', [net.op('Sign', [mixed]), learningRate])
      // From the mixture, since the new moment is written over the old one, which the mixture reads.
      const next = net.op('Add', [mixed, net.op('Mul', [difference, net.float(beta1 - beta2)])])
      return { parameter: net.op('Sub', [net.op('Mul', [parameter, kept]), change]), state: { moment: next } }
    },
  }
}
