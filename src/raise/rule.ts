import type { Value } from '../ir/node.js'
import type { Rule } from '../ir/rewrite.js'

/** What raising rules share: values made once for many nodes. */
export interface RaiseContext {
  /** Bool masks by the padding they were made of. */
  readonly masks: Map<Value, Value>
  /** Dequantized activations by their codes. */
  readonly dequantized: Map<Value, Value>
}

export type RaiseRule = Rule<RaiseContext>
