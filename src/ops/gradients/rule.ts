import type { Attribute } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import type { NDArray } from '../../numbers/dtype.js'

/** Adds operators to the graph that is being differentiated. Every value that it returns knows its dtype and, where possible, its shape. */
export interface GradientBuilder {
  /** Adds an operator of the standard and returns its first output. */
  op(operator: string, inputs: readonly (Value | null)[], attributes?: Readonly<Record<string, Attribute>>): Value
  /** Adds an operator with several outputs. */
  ops(
    operator: string,
    inputs: readonly (Value | null)[],
    outputs: number,
    attributes?: Readonly<Record<string, Attribute>>,
  ): readonly Value[]
  /** A constant; equal ones are shared. */
  constant(array: NDArray): Value
  /** Gives a node an output that it leaves out until now, so that the rule can use it. */
  output(node: Node, index: number): Value
}

/**
 * How gradients flow back through one node: takes d(loss)/d(output) for each output (null where the loss does not depend on
 * it) and returns d(loss)/d(input) for each input, null or nothing where none flows. What nobody needs is removed later, so a rule gives all.
 *
 * The value that stands for the gradient of an integer value (the codes between QuantizeLinear and DequantizeLinear) is a
 * float: the straight-through estimate.
 */
export type GradientRule = (node: Node, gradients: readonly (Value | null)[], g: GradientBuilder) => readonly (Value | null | undefined)[]

/** Spells a node out in simpler operators, put in its place before differentiation; one value for each output that is used. */
export interface Expansion {
  readonly expand: (node: Node, g: GradientBuilder) => readonly (Value | null)[]
}

/** Why an operator cannot be differentiated, as the end of the sentence "no gradient passes through X: ..." */
export interface NoGradient {
  readonly impossible: string
}

/** All ways in which an operator answers the question for its gradient. */
export type Gradient = GradientRule | Expansion | NoGradient

/** The rule of operators whose outputs do not change with small changes of their inputs (shapes, comparisons, indices, rounding). */
export const nothingFlows: GradientRule = () => []

export function impossible(reason: string): NoGradient {
  return { impossible: reason }
}
