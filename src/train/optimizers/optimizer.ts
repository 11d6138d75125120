import type { Feeds } from '../../engine/session.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'

/** What an update sees of one parameter, or of a piece of the flat memory. All are float32; hyperparameters are scalars. */
export interface UpdateInputs {
  readonly parameter: Value
  readonly gradient: Value
  readonly state: Readonly<Record<string, Value>>
  /** What the host feeds: by the names that {@link Update.scalars} and {@link MatrixUpdate.feeds} give. */
  readonly fed: Readonly<Record<string, Value>>
}

export interface UpdateOutputs {
  readonly parameter: Value
  readonly state: Readonly<Record<string, Value>>
}

/** What the host knows of the step. */
export interface StepFacts {
  /** Counts from 1. */
  readonly step: number
  readonly learningRate: number
  readonly weightDecay: number
}

/**
 * The graph of an update. Its results are written over what it reads: each new value must be computed by a last operator
 * that depends on every other one that reads the old value.
 */
export interface Update {
  /** Numbers that change from step to step, computed in float64. */
  scalars(facts: StepFacts): Readonly<Record<string, number>>
  /** Adds the update to a graph. */
  update(net: Net, inputs: UpdateInputs): UpdateOutputs
}

interface Description {
  readonly name: string
  readonly summary: string
  /** Paper and equation. */
  readonly source: string
}

/** An optimizer that treats each element by itself: it sees the flat memory in pieces. */
export interface ElementwiseOptimizer extends Description, Update {
  /** Names of its state, each as large as the parameter and zero at first. */
  readonly state: readonly string[]
}

/** What an optimizer knows of a parameter before it begins. */
export interface ParameterFacts {
  readonly name: string
  readonly shape: readonly number[]
  /** Whether it is the weight of a linear: of one in the blocks, where the model has blocks. */
  readonly isLinear: boolean
}

/** The update of one parameter as a whole, seen as a matrix [first dimension, all others], or as the vector that it is. */
export interface MatrixUpdate extends Update {
  /** The shapes of its state by name; zero at first. */
  readonly state: Readonly<Record<string, readonly number[]>>
  /** Arrays that the host feeds beside the scalars; always of the same shapes. */
  feeds?(step: number): Feeds
}

/** An optimizer that looks at whole matrices. */
export interface MatrixOptimizer extends Description {
  /** How a parameter is updated. The graph of a {@link MatrixUpdate} may depend on nothing but the parameter's shape. */
  updateOf(parameter: ParameterFacts): ElementwiseOptimizer | MatrixUpdate
}

/** What turns gradients into the next parameters: its state and the graph of its update. */
export type Optimizer = ElementwiseOptimizer | MatrixOptimizer

/** The shape under which a {@link MatrixUpdate} sees a parameter. */
export function matrixShape(shape: readonly number[]): readonly number[] {
  return shape.length < 2 ? shape : [shape[0], shape.slice(1).reduce((a, b) => a * b, 1)]
}

/** Options without those that are undefined, to be laid over defaults. */
export function withoutGaps<T extends object>(options: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> }
}
