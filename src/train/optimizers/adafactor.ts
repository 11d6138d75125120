import { int } from '../../ir/attribute.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'
import {
  type MatrixOptimizer,
  type MatrixUpdate,
  matrixShape,
  type ParameterFacts,
  type StepFacts,
  type UpdateInputs,
  withoutGaps,
} from './optimizer.js'

export interface AdafactorOptions {
  /** Steps relative to the size of the parameter, of at most the learning rate and 1/sqrt(step): the paper's, with 0.01. */
  readonly relativeStep?: boolean
  /** Largest root mean square of an update before the learning rate. */
  readonly clipThreshold?: number
  /** How fast the decay of the second moments goes to 1: 1 - step^-decayRate. */
  readonly decayRate?: number
  /** Added to squared gradients. */
  readonly epsilon?: number
  /** Least root mean square of a parameter that relative steps assume. */
  readonly smallest?: number
}

/**
 * Adafactor: the second moments of a matrix from those of its rows and of its columns alone, updates clipped by their own root
 * mean square, no first moment. Vectors have a whole second moment; tensors of more dimensions are matrices
 * [first, all others].
 *
 * Source: Shazeer and Stern 2018, Adafactor, Algorithms 4 and 5.
 *
 * @example
 * adafactor().updateOf({ name: 'w', shape: [8, 4], isLinear: true }).state // { rows: [8, 1], columns: [1, 4] }
 */
export function adafactor(options: AdafactorOptions = {}): MatrixOptimizer {
  return {
    name: 'adafactor',
    summary: 'second moments factored into rows and columns, clipped updates, no first moment',
    source: 'Shazeer and Stern 2018, Algorithms 4 and 5',
    updateOf: (parameter) => new AdafactorUpdate(parameter, options),
  }
}

const defaults = { relativeStep: false, clipThreshold: 1, decayRate: 0.8, epsilon: 1e-30, smallest: 1e-3 }

class AdafactorUpdate implements MatrixUpdate {
  readonly state: Readonly<Record<string, readonly number[]>>
  readonly #options: Required<AdafactorOptions>

  constructor(parameter: ParameterFacts, options: AdafactorOptions) {
    this.#options = { ...defaults, ...withoutGaps(options) }
    const shape = matrixShape(parameter.shape)
    this.state = shape.length < 2 ? { secondMoment: shape } : { rows: [shape[0], 1], columns: [1, shape[1]] }
  }

  scalars({ step, learningRate, weightDecay }: StepFacts): Record<string, number> {
    const stepSize = this.#options.relativeStep ? Math.min(learningRate, 1 / Math.sqrt(step)) : learningRate
    return { stepSize, kept: 1 - learningRate * weightDecay, fresh: step ** -this.#options.decayRate }
  }

  update(net: Net, { parameter, gradient, state, fed: { stepSize, kept, fresh } }: UpdateInputs) {
    const { relativeStep, clipThreshold, epsilon, smallest } = this.#options
    const square = net.op('Add', [net.op('Mul', [gradient, gradient]), net.float(epsilon)])
    const mixed = (old: Value, seen: Value) => net.op('Add', [old, net.op('Mul', [net.op('Sub', [seen, old]), fresh])])
    const averages = { rows: () => mean(net, square, [1]), columns: () => mean(net, square, [0]), secondMoment: () => square }
    const next = Object.fromEntries(
      Object.entries(state).map(([name, old]) => [name, mixed(old, averages[name as keyof typeof averages]())]),
    )
    const direction = scaled(net, gradient, next)
    const excess = net.op('Max', [net.op('Div', [rootMeanSquare(net, direction), net.float(clipThreshold)]), net.float(1)])
    const size = relativeStep ? net.op('Mul', [net.op('Max', [rootMeanSquare(net, parameter), net.float(smallest)]), stepSize]) : stepSize
    const change = net.op('Mul', [direction, net.op('Div', [size, excess])])
    return { parameter: net.op('Sub', [net.op('Mul', [parameter, kept]), change]), state: next }
  }
}

/** The gradient over the root of the second moments: of rows relative to their mean, times columns; in two divisions, since products of tiny moments vanish. */
function scaled(net: Net, gradient: Value, { secondMoment, rows, columns }: Readonly<Record<string, Value>>): Value {
  if (secondMoment) return net.op('Div', [gradient, net.op('Sqrt', [secondMoment])])
  const share = net.op('Div', [rows, mean(net, rows, [0])])
  return net.op('Div', [net.op('Div', [gradient, net.op('Sqrt', [share])]), net.op('Sqrt', [columns])])
}

function mean(net: Net, x: Value, axes: readonly number[]): Value {
  return net.op('ReduceMean', [x, net.ints(axes)], { keepdims: int(1) })
}

function rootMeanSquare(net: Net, x: Value): Value {
  return net.op('Sqrt', [net.op('ReduceMean', [net.op('Mul', [x, x])], { keepdims: int(0) })])
}
