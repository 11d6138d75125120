import { Random } from '../../base/random.js'
import type { Feeds } from '../../engine/session.js'
import { int } from '../../ir/attribute.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'
import { ndarray } from '../../numbers/dtype.js'
import { adamW } from './adamw.js'
import {
  type MatrixOptimizer,
  type MatrixUpdate,
  matrixShape,
  type ParameterFacts,
  type StepFacts,
  type UpdateInputs,
  withoutGaps,
} from './optimizer.js'

export interface ApolloOptions {
  /** Of the sketch. Default: a quarter of the smaller side, at most 256. */
  readonly rank?: number
  /** One factor for each row or column of the larger side, or one for the whole tensor. */
  readonly granularity?: 'channel' | 'tensor'
  /** The square of a factor on the update: how much the sketch is thought to underestimate. */
  readonly scale?: number
  /** Steps after which the projection is drawn anew. */
  readonly refresh?: number
  /** Largest growth of the norm of an update from step to step. */
  readonly growth?: number
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  /** Of the projections. */
  readonly seed?: number
}

/**
 * APOLLO: the gradient itself, scaled as Adam would scale it by what a random sketch of the gradient says. The state is that
 * of the sketch, two matrices [larger side, rank], and a norm; the projection comes from the seed and is kept between
 * refreshes only for speed. Weights of linears are updated so; embeddings, heads, vectors and matrices whose smaller side is no
 * larger than the rank have AdamW.
 *
 * Source: Zhu et al. 2025, APOLLO, Algorithm 1 and section 4.2 (norm-growth limiter).
 *
 * @example
 * apollo({ rank: 2 }).updateOf({ name: 'w', shape: [8, 4], isLinear: true }).state // { firstMoment: [8, 2], secondMoment: [8, 2], norm: [] }
 */
export function apollo(options: ApolloOptions = {}): MatrixOptimizer {
  const fallback = adamW({ beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon ?? 1e-6 })
  return {
    name: 'apollo',
    summary: "Adam's step sizes from a random sketch of the gradient: little state",
    source: 'Zhu et al. 2025, Algorithm 1',
    updateOf(parameter) {
      const shape = matrixShape(parameter.shape)
      const side = Math.min(...shape)
      const rank = options.rank ?? Math.min(Math.floor(side / 4), 256)
      return parameter.isLinear && shape.length === 2 && rank > 0 && side > rank ? new ApolloUpdate(parameter, rank, options) : fallback
    },
  }
}

/**
 * APOLLO-Mini: a sketch of rank 1 and one factor for each matrix; as little state as gradient descent.
 *
 * Source: Zhu et al. 2025, section 4.3.
 *
 * @example
 * apolloMini().updateOf({ name: 'w', shape: [8, 4], isLinear: true }).state // { firstMoment: [8, 1], secondMoment: [8, 1], norm: [] }
 */
export function apolloMini(options: Omit<ApolloOptions, 'rank' | 'granularity'> = {}): MatrixOptimizer {
  return {
    ...apollo({ scale: 128, ...options, rank: 1, granularity: 'tensor' }),
    name: 'apollo-mini',
    summary: "Adam's step sizes from a sketch of rank 1: hardly any state",
    source: 'Zhu et al. 2025, section 4.3',
  }
}

class ApolloUpdate implements MatrixUpdate {
  readonly state: Readonly<Record<string, readonly number[]>>
  readonly #options: Required<Omit<ApolloOptions, 'rank'>>
  readonly #random: Random
  /** Of the projection: [columns, rank] for tall matrices, [rank, rows] for wide ones. */
  readonly #shape: readonly [number, number]
  readonly #rank: number
  readonly #tall: boolean
  #projection: { readonly period: number; readonly values: Float32Array } | null = null

  constructor({ name, shape }: ParameterFacts, rank: number, options: ApolloOptions) {
    this.#options = { ...defaults, ...withoutGaps(options) }
    const [rows, columns] = matrixShape(shape)
    this.#rank = rank
    this.#tall = rows >= columns
    this.#shape = this.#tall ? [columns, rank] : [rank, rows]
    this.#random = new Random(this.#options.seed, `apollo/${name}`)
    const sketch = this.#tall ? [rows, rank] : [rank, columns]
    this.state = { firstMoment: sketch, secondMoment: sketch, norm: [] }
  }

  scalars({ step, learningRate, weightDecay }: StepFacts): Record<string, number> {
    const { beta1, beta2, scale } = this.#options
    const correction = Math.sqrt(1 - beta2 ** step) / (1 - beta1 ** step)
    return { stepSize: learningRate * correction * Math.sqrt(scale), kept: 1 - learningRate * weightDecay }
  }

  feeds(step: number): Feeds {
    const period = Math.floor((step - 1) / this.#options.refresh)
    if (this.#projection?.period !== period) {
      const [a, b] = this.#shape
      this.#projection = { period, values: this.#random.stream(`${period}`).normals(a * b, 1 / Math.sqrt(this.#rank)) }
    }
    return { projection: ndarray('float32', this.#shape, this.#projection.values) }
  }

  update(net: Net, { parameter, gradient, state, fed: { stepSize, kept, projection } }: UpdateInputs) {
    const { beta1, beta2, epsilon, granularity } = this.#options
    const sketch = net.op('MatMul', this.#tall ? [gradient, projection] : [projection, gradient])
    const mixed = (old: Value, seen: Value, beta: number) =>
      net.op('Add', [old, net.op('Mul', [net.op('Sub', [seen, old]), net.float(1 - beta)])])
    const firstMoment = mixed(state.firstMoment, sketch, beta1)
    const secondMoment = mixed(state.secondMoment, net.op('Mul', [sketch, sketch]), beta2)
    const adapted = net.op('Div', [firstMoment, net.op('Add', [net.op('Sqrt', [secondMoment]), net.float(epsilon)])])
    const axes = granularity === 'tensor' ? [0, 1] : [this.#tall ? 1 : 0]
    const length = (x: Value) => net.op('ReduceL2', [x, net.ints(axes)], { keepdims: int(1) })
    const factor = net.op('Div', [length(adapted), net.op('Add', [length(sketch), net.float(tiny)])])
    const { direction, norm } = limited(net, net.op('Mul', [gradient, factor]), state.norm, this.#options.growth)
    const change = net.op('Mul', [direction, stepSize])
    return { parameter: net.op('Mul', [net.op('Sub', [parameter, change]), kept]), state: { firstMoment, secondMoment, norm } }
  }
}

const tiny = 1e-8

const defaults = {
  granularity: 'channel',
  scale: 1,
  refresh: 200,
  growth: 1.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-6,
  seed: 0,
} as const

/** The update with a norm of at most `growth` times the last one's; the first, and one after an empty update, is as it is. */
function limited(net: Net, update: Value, last: Value, growth: number): { direction: Value; norm: Value } {
  const norm = net.op('ReduceL2', [update], { keepdims: int(0) })
  const ratio = net.op('Div', [norm, net.op('Add', [last, net.float(tiny)])])
  const excess = net.op('Div', [net.op('Max', [ratio, net.float(growth)]), net.float(growth)])
  const divisor = net.op('Where', [net.op('Greater', [last, net.float(0)]), excess, net.float(1)])
  return { direction: net.op('Div', [update, divisor]), norm: net.op('Div', [norm, divisor]) }
}
